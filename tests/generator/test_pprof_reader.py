"""pprof bytes to columns: every field against the message's own objects, and what is refused."""

import gzip
import time
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import PprofError
from pyro_assets.generator.counts import KINDS, count
from pyro_assets.generator.fleet import SERVICES, Pod
from pyro_assets.generator.pprof import profile_pb2
from pyro_assets.generator.pprof.profile import Profile
from pyro_assets.generator.pprof.reader import MOST_BYTES, parse_profile
from pyro_assets.generator.programs import build_program
from pyro_assets.generator.upload import ProfileEncoder
from tests.support import made_pprof
from tests.support.memory import at_most


def assert_says_the_same(profile: Profile, message: profile_pb2.Profile) -> None:
    """Column by column, ids resolved by plain search."""
    texts = list(message.string_table)

    def rows(table, numbers: list[int]) -> list[int]:
        ids = [one.id for one in table]
        return [ids.index(number) if number in ids else -1 for number in numbers]

    assert profile.strings.to_pylist() == texts
    assert [(one.type, one.unit) for one in message.sample_type] == list(
        zip(profile.sample_type.tolist(), profile.sample_unit.tolist(), strict=True)
    )
    samples = message.sample
    assert profile.value.tolist() == [list(sample.value) for sample in samples]
    starts = profile.stack_start.tolist()
    assert [profile.stack_location[starts[i] : starts[i + 1]].tolist() for i in range(len(samples))] == [
        rows(message.location, list(sample.location_id)) for sample in samples
    ]
    labels = [
        (number, label.key, label.str, label.num, label.num_unit)
        for number, sample in enumerate(samples)
        for label in sample.label
    ]
    starts = profile.label_start.tolist()
    owner = [number for number in range(len(samples)) for _ in range(starts[number], starts[number + 1])]
    columns = (profile.label_key, profile.label_text, profile.label_number, profile.label_unit)
    assert list(zip(owner, *(column.tolist() for column in columns), strict=True)) == labels
    assert [
        (
            int(profile.mapping_memory_start[row]), int(profile.mapping_memory_limit[row]),
            int(profile.mapping_file_offset[row]), int(profile.mapping_file_name[row]),
            int(profile.mapping_build_id[row]), f"{profile.mapping_flags[row]:04b}",
        )
        for row in range(len(message.mapping))
    ] == [
        (
            one.memory_start, one.memory_limit, one.file_offset, one.filename, one.build_id,
            f"{one.has_functions:d}{one.has_filenames:d}{one.has_line_numbers:d}{one.has_inline_frames:d}",
        )
        for one in message.mapping
    ]  # fmt: skip
    assert profile.location_mapping.tolist() == rows(message.mapping, [one.mapping_id for one in message.location])
    assert profile.location_address.tolist() == [one.address for one in message.location]
    assert profile.location_is_folded.tolist() == [one.is_folded for one in message.location]
    lines = [line for location in message.location for line in location.line]
    assert profile.line_start.tolist()[1:] == [
        sum(len(one.line) for one in message.location[: number + 1]) for number in range(len(message.location))
    ]
    assert profile.line_function.tolist() == rows(message.function, [line.function_id for line in lines])
    assert profile.line_number.tolist() == [line.line for line in lines]
    assert profile.line_column.tolist() == [line.column for line in lines]
    assert list(
        zip(
            profile.function_name.tolist(),
            profile.function_system_name.tolist(),
            profile.function_file_name.tolist(),
            profile.function_start_line.tolist(),
            strict=True,
        )
    ) == [(one.name, one.system_name, one.filename, one.start_line) for one in message.function]
    assert profile.comments.tolist() == list(message.comment)
    assert (profile.drop_frames, profile.keep_frames) == (message.drop_frames, message.keep_frames)
    assert (profile.default_sample_type, profile.doc_url) == (message.default_sample_type, message.doc_url)
    assert (profile.time_ns, profile.duration_ns) == (message.time_nanos, message.duration_nanos)
    assert profile.period == message.period
    assert (profile.period_type, profile.period_unit) == (message.period_type.type, message.period_type.unit)
    functions, mappings = {one.id for one in message.function}, {one.id for one in message.mapping}
    assert profile.dangling == sum(line.function_id not in functions | {0} for line in lines) + sum(
        one.mapping_id not in mappings | {0} for one in message.location
    )


@given(message=made_pprof.messages(), form=st.sampled_from(["plain", "gzip", "members"]))
def test_every_field(message: profile_pb2.Profile, form: str) -> None:
    data = message.SerializeToString()
    if form == "gzip":
        data = gzip.compress(data, mtime=0)
    elif form == "members":
        data = gzip.compress(data[:7], mtime=0) + gzip.compress(data[7:])
    assert_says_the_same(parse_profile(data), message)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.key)
def test_what_the_generator_encodes_by_hand(kind) -> None:
    service = next(service for service in SERVICES if service.language in kind.languages)
    program = build_program(service, 1)
    counts = count(program, Pod(service, 0), kind, 1_795_608_000_123_456_789, 1)
    data = ProfileEncoder(program, kind).encode(counts)
    profile = parse_profile(data)
    message = profile_pb2.Profile()
    message.ParseFromString(gzip.decompress(data))
    assert_says_the_same(profile, message)
    assert profile.value.tolist() == [list(sample.values) for sample in counts.samples]
    assert profile.dangling == 0


def small(**changes) -> profile_pb2.Profile:
    """A message with one of everything."""
    message = profile_pb2.Profile(
        sample_type=[{"type": 1, "unit": 2}],
        sample=[{"location_id": [5], "value": [3], "label": [{"key": 1, "str": 2}]}],
        mapping=[{"id": 9, "filename": 1, "has_functions": True}],
        location=[{"id": 5, "mapping_id": 9, "line": [{"function_id": 4, "line": 1}]}],
        function=[{"id": 4, "name": 1}],
        string_table=[b"", b"a", b"b"],
        time_nanos=1,
    )
    for name, change in changes.items():
        change(getattr(message, name))
    return message


def setter(**fields):
    """Sets fields of the first of a repeated message."""

    def change(repeated) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                getattr(repeated[0], name)[:] = value
            else:
                setattr(repeated[0], name, value)

    return change


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (small(sample_type=lambda types: types.pop()), "no sample types"),
        (small(string_table=lambda texts: texts.pop(0)), "string 0 must be empty"),
        (small(string_table=lambda texts: texts.__delitem__(slice(None))), "string 0 must be empty"),
        (small(sample=setter(value=[])), "sample 0 has 0 values for 1 sample types"),
        (small(sample=setter(value=[1, 2])), "sample 0 has 2 values for 1 sample types"),
        (small(sample=setter(location_id=[6])), "names location 6, which is not in the profile"),
        (small(sample=setter(location_id=[5, 0])), "names location 0, which is not in the profile"),
        (small(sample=setter(location_id=[2**64 - 1])), "names location 18446744073709551615"),
        (small(location=lambda locations: locations.pop()), "names location 5"),
        (small(location=lambda locations: locations.add(id=5)), "the location id 5 stands twice"),
        (small(location=setter(id=0)), "a location has the id 0"),
        (small(function=lambda functions: functions.add(id=4)), "the function id 4 stands twice"),
        (small(function=setter(id=0)), "a function has the id 0"),
        (small(mapping=lambda mappings: mappings.add(id=9)), "the mapping id 9 stands twice"),
        (small(mapping=setter(id=0)), "a mapping has the id 0"),
        (small(sample_type=setter(type=3)), "sample_type refers to string 3 of 3"),
        (small(sample_type=setter(unit=-1)), "sample_unit refers to string -1 of 3"),
        (small(function=setter(name=77)), "function_name refers to string 77 of 3"),
        (small(function=setter(system_name=3)), "function_system_name refers to string 3"),
        (small(function=setter(filename=3)), "function_file_name refers to string 3"),
        (small(mapping=setter(filename=3)), "mapping_file_name refers to string 3"),
        (small(mapping=setter(build_id=3)), "mapping_build_id refers to string 3"),
        (small(sample=lambda samples: samples[0].label.add(key=3)), "label_key refers to string 3"),
        (small(sample=lambda samples: samples[0].label.add(str=3)), "label_text refers to string 3"),
        (small(sample=lambda samples: samples[0].label.add(num_unit=3)), "label_unit refers to string 3"),
        (small(comment=lambda comments: comments.append(2**62)), "comments refers to string"),
        (small(period_type=lambda kind: setattr(kind, "type", 3)), "period_type refers to string 3"),
        (small(period_type=lambda kind: setattr(kind, "unit", 3)), "period_unit refers to string 3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_reference_is_named(message: profile_pb2.Profile, match: str) -> None:
    with pytest.raises(PprofError, match=f"pprof: .*{match}.*the upload is refused"):
        parse_profile(message.SerializeToString())


@pytest.mark.parametrize("name", ["drop_frames", "keep_frames", "default_sample_type", "doc_url"])
def test_a_wrong_string_of_the_profile_is_named(name: str) -> None:
    message = small()
    setattr(message, name, 3)
    with pytest.raises(PprofError, match=f"{name} refers to string 3 of 3"):
        parse_profile(message.SerializeToString())


def test_missing_functions_and_mappings_are_counted() -> None:
    message = small(
        location=lambda locations: locations[0].line.add(function_id=77), mapping=lambda mappings: mappings.pop()
    )
    profile = parse_profile(message.SerializeToString())
    assert profile.dangling == 2
    assert profile.line_function.tolist() == [0, -1]
    assert profile.location_mapping.tolist() == [-1]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no bytes"),
        (gzip.compress(b"", mtime=0), "no bytes"),
        (b"\xff\xff\xff", "does not decode"),
        (b"GET / HTTP/1.1", "does not decode|no sample types"),
        (b"\x1f\x8b", "the gzip ends too early"),
        (b"\x1f\x8b\x09\x00", "the gzip ends too early"),
        (gzip.compress(b"\x0a\x00" * 99, mtime=0)[:-9], "the gzip ends too early"),
        (gzip.compress(b"\x0a\x00" * 99, mtime=0) + b"rest", "the gzip does not unpack"),
        (gzip.compress(b"\x0a\x00" * 99, mtime=0)[:-5] + b"\x00\x00\x00\x00\x00", "the gzip does not unpack"),
    ],
)
def test_what_is_no_profile(data: bytes, match: str) -> None:
    with pytest.raises(PprofError, match=match):
        parse_profile(data)


def test_a_bomb_is_not_unpacked() -> None:
    """A gigabyte of zeros in a megabyte: no more than the limit is ever unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    # After a full flush nothing refers to what was before: the second block can be repeated as it is.
    first, again = (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    bomb = first + 1023 * again + packer.flush()
    with at_most(8 * MOST_BYTES):
        with pytest.raises(PprofError, match=f"unpacks to more than {MOST_BYTES} bytes"):
            parse_profile(bomb)
        with pytest.raises(PprofError, match="unpacks to more than 1000 bytes"):
            parse_profile(bomb, most_bytes=1000)
        with pytest.raises(PprofError, match="unpacks to more than 1000 bytes"):
            parse_profile(gzip.compress(bytes(600)) * 2, most_bytes=1000)
        with pytest.raises(PprofError, match="2000 bytes, at most 1000 are read"):
            parse_profile(bytes(2000), most_bytes=1000)


def test_empty_gzip_members_take_linear_time():
    begun = time.process_time()
    with pytest.raises(PprofError, match="no bytes"):
        parse_profile(gzip.compress(b"", mtime=0) * 200_000)
    assert time.process_time() - begun < 15  # copying the rest for each member took forty seconds


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for form in (data, b"\x1f\x8b" + data, gzip.compress(data, mtime=0)):
        try:
            parse_profile(form)
        except PprofError as error:
            assert str(error).startswith("pprof: ")


@given(message=made_pprof.messages(), data=st.data())
def test_damaged_messages(message: profile_pb2.Profile, data) -> None:
    raw = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_profile(bytes(raw))
    except PprofError as error:
        assert "refused" in str(error)
