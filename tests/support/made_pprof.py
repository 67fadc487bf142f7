"""Made-up pprof messages, and what they say by plain loops over the message's own objects.

Add here what uploads may hold: gaps in ids, inlining, folded and native frames, missing functions, numeric labels,
spans, values of all signs. Nothing of the package's own reading is used.
"""

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import strategies as st

from pyro_assets.generator.pprof import profile_pb2

I64 = st.one_of(st.integers(-5, 50), st.integers(-(2**62), 2**62))
NAMES = st.sampled_from([b"main", b"main.work", b"net/http.Serve", b"\xff\xfe", b"x" * 70, b"libc.so", b"a", b"b"])
HEX = st.sampled_from([b"00f067aa0ba902b7", b"00000000000000ff", b"not a span", b"00F067AA0BA902B7", b""])
LABEL_KEYS = (b"vehicle", b"pod", b"span_id", b"profile_id", b"trace_id", b"bytes", b"region")
TYPES = ((b"samples", b"count"), (b"cpu", b"nanoseconds"), (b"alloc_space", b"bytes"))


class MadeLine(NamedTuple):
    """A line of a frame, with the names that its function has."""

    name: bytes
    system_name: bytes
    filename: bytes
    start_line: int
    line: int


class MadeMapping(NamedTuple):
    """A mapping as a segment has it: flags are what is known, and a mapping with functions has no place."""

    filename: bytes = b""
    build_id: bytes = b""
    flags: int = 8
    memory_start: int = 0
    memory_limit: int = 0
    file_offset: int = 0


#: (lines, address, mapping, is folded), leaf first
MadeStack = tuple[tuple[tuple[MadeLine, ...], int, MadeMapping, bool], ...]
#: (series labels, stack, span id, trace id)
MadeFact = tuple[frozenset[tuple[bytes, bytes]], MadeStack, int | None, bytes | None]


class Strings:
    """A string table that grows as strings are used."""

    def __init__(self) -> None:
        self.texts = [b""]

    def __call__(self, text: bytes) -> int:
        if text not in self.texts:
            self.texts.append(text)
        return self.texts.index(text)


@st.composite
def messages(draw: Any) -> profile_pb2.Profile:
    """A valid message."""
    string = Strings()
    types = draw(st.integers(1, 3))
    message = profile_pb2.Profile(
        sample_type=[{"type": string(name), "unit": string(unit)} for name, unit in TYPES[:types]],
        period_type={"type": string(b"cpu"), "unit": string(b"nanoseconds")},
        period=draw(I64),
        time_nanos=draw(st.one_of(st.just(0), st.integers(0, 2**62))),
        duration_nanos=draw(st.integers(0, 10**11)),
        comment=[string(text) for text in draw(st.lists(NAMES, max_size=2))],
        default_sample_type=string(draw(st.sampled_from([b"", b"cpu"]))),
        drop_frames=string(draw(st.sampled_from([b"", b"runtime.*"]))),
        doc_url=string(b"https://example.org") if draw(st.booleans()) else 0,
    )
    gap = draw(st.integers(1, 1000))
    for number in range(draw(st.integers(0, 3))):
        message.mapping.add(
            id=number * gap + 1,
            memory_start=draw(st.integers(0, 2**64 - 1)),
            memory_limit=draw(st.integers(0, 2**64 - 1)),
            file_offset=draw(st.integers(0, 9)),
            filename=string(draw(NAMES)),
            build_id=string(draw(NAMES)),
            has_functions=draw(st.booleans()),
            has_filenames=draw(st.booleans()),
            has_line_numbers=draw(st.booleans()),
            has_inline_frames=draw(st.booleans()),
        )
    for number in range(draw(st.integers(0, 4))):
        message.function.add(
            id=7 + number * gap,
            name=string(draw(NAMES)),
            system_name=string(draw(NAMES)),
            filename=string(draw(NAMES)),
            start_line=draw(st.integers(0, 99)),
        )
    functions = st.sampled_from([*(function.id for function in message.function), 0, 999_999_999])
    mappings = st.sampled_from([0, *(mapping.id for mapping in message.mapping), 888_888_888])
    for number in draw(st.permutations(range(draw(st.integers(0, 5))))):
        location = message.location.add(
            id=3 + number * gap,
            mapping_id=draw(mappings),
            address=draw(st.integers(0, 2**64 - 1)),
            is_folded=draw(st.booleans()),
        )
        for _ in range(draw(st.integers(0, 3))):
            location.line.add(function_id=draw(functions), line=draw(st.integers(0, 2**31 - 1)), column=draw(I64))
    ids = [location.id for location in message.location]
    for _ in range(draw(st.integers(0, 6))):
        stack = draw(st.lists(st.sampled_from(ids), max_size=5)) if ids else []
        sample = message.sample.add(location_id=stack, value=draw(st.lists(I64, min_size=types, max_size=types)))
        for key in draw(st.lists(st.sampled_from(LABEL_KEYS), max_size=3, unique=True)):
            if key == b"bytes":
                sample.label.add(key=string(key), num=draw(I64), num_unit=string(b"bytes"))
            else:
                values = HEX if key.endswith(b"_id") else NAMES
                sample.label.add(key=string(key), str=string(draw(values)))
    message.string_table.extend(string.texts)
    return message


def unhex(text: bytes, size: int) -> bytes | None:
    """The bytes that hexadecimal digits name, None if they are something else."""
    digits = text.decode("latin-1").lower()
    good = len(digits) == 2 * size and all(digit in "0123456789abcdef" for digit in digits)
    return bytes(int(digits[at : at + 2], 16) for at in range(0, 2 * size, 2)) if good else None


def frames_of(message: profile_pb2.Profile, sample: profile_pb2.Sample) -> MadeStack:
    """A sample's stack, leaf first, as a segment has it: names, without what differs from process to process."""
    text = message.string_table
    frames = []
    for number in sample.location_id:
        [location] = [one for one in message.location if one.id == number]
        lines = []
        for line in location.line:
            named = [one for one in message.function if one.id == line.function_id]
            names = [(text[one.name], text[one.system_name], text[one.filename], one.start_line) for one in named]
            lines.append(MadeLine(*(names[0] if names else (b"", b"", b"", 0)), line.line))
        mapping = MadeMapping()
        for one in [one for one in message.mapping if one.id == location.mapping_id][:1]:
            flags = one.has_functions << 3 | one.has_filenames << 2 | one.has_line_numbers << 1 | one.has_inline_frames
            place = (0, 0, 0) if one.has_functions else (one.memory_start, one.memory_limit, one.file_offset)
            mapping = MadeMapping(text[one.filename], text[one.build_id], flags, *place)
        address = 0 if lines and mapping.flags & 8 else location.address
        frames.append((tuple(lines), address, mapping, location.is_folded))
    return tuple(frames)


def facts_of(message: profile_pb2.Profile, labels: dict[bytes, bytes]) -> Counter[MadeFact]:
    """(series labels, stack, span id, trace id) -> value, zeros left out, of one upload with these labels."""
    text = message.string_table
    totals: Counter[MadeFact] = Counter()
    for sample in message.sample:
        series = dict(labels)
        span: int | None = None
        trace: bytes | None = None
        for label in sample.label:
            key, named = text[label.key], text[label.str]
            if not named:
                continue
            if key in (b"span_id", b"profile_id"):
                raw = unhex(named, 8)
                span = None if raw is None else int.from_bytes(raw, "little")
            elif key == b"trace_id":
                trace = unhex(named, 16)
            else:
                series[key] = named
        for kind, value in zip(message.sample_type, sample.value, strict=True):
            own = {
                b"__type__": text[kind.type],
                b"__unit__": text[kind.unit],
                b"__period_type__": text[message.period_type.type],
                b"__period_unit__": text[message.period_type.unit],
                b"__service_name__": labels[b"service_name"],
                b"__name__": labels[b"__name__"],
            }
            parts = (b"__name__", b"__type__", b"__unit__", b"__period_type__", b"__period_unit__")
            own[b"__profile_type__"] = b":".join(own[part] for part in parts)
            totals[frozenset((series | own).items()), frames_of(message, sample), span, trace] += value
    return Counter({fact: (value + 2**63) % 2**64 - 2**63 for fact, value in totals.items() if value % 2**64})
