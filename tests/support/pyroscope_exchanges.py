"""What a real Pyroscope answered, and answers as facts: comparable whatever the order of equal things is.

The exchanges are those of tests/golden/data/api-2026; its passport says what they are.
"""

import base64
import gzip
import io
import json
import tarfile
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "api-2026"

#: The names on a path from the root down.
Path_ = tuple[str, ...]


@dataclass(frozen=True)
class Exchange:
    """A question and its answer, the answer unpacked."""

    number: int
    method: str
    path: str
    request_headers: dict[str, str]
    request: bytes
    status: int
    response_headers: dict[str, str]
    response: bytes

    @property
    def name(self) -> str:
        """The method of the service; the path where there is none."""
        return self.path.rpartition("/")[2] if "QuerierService" in self.path or "RulesService" in self.path else ""

    @property
    def tenant(self) -> str:
        return self.request_headers["x-scope-orgid"]

    @property
    def is_json(self) -> bool:
        return self.request_headers.get("content-type") == "application/json"

    def asked(self, kind: type[Message]) -> Any:
        """The request as a message."""
        return read_message(kind, self.request, self.is_json)

    def answered(self, kind: type[Message]) -> Any:
        """The response as a message."""
        return read_message(kind, self.response, self.is_json)


def read_message(kind: type[Message], body: bytes, is_json: bool) -> Any:
    """A message from either form. What the recorded server has beyond our messages is left out."""
    message = kind()
    if is_json:
        return json_format.Parse(body, message, ignore_unknown_fields=True)
    message.ParseFromString(body)
    return message


@cache
def recorded() -> tuple[Exchange, ...]:
    """All exchanges, in their order."""
    found = []
    for number, line in enumerate(gzip.decompress((GOLDEN / "exchanges.jsonl.gz").read_bytes()).splitlines()):
        fields = json.loads(line)
        response = base64.b64decode(fields["response"])
        if fields["response_headers"].get("content-encoding") == "gzip":
            response = gzip.decompress(response)
        request = base64.b64decode(fields["request"])
        found.append(Exchange(number, **fields | {"request": request, "response": response}))
    return tuple(found)


def unpack_blocks(folder: Path) -> Path:
    """The committed level-1 blocks as a bucket."""
    with tarfile.open(fileobj=io.BytesIO((GOLDEN / "blocks.tar.xz").read_bytes()), mode="r:xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def paths_of(names: list[str], levels: list[list[int]], width: int = 4) -> dict[Path_, tuple[int, ...]]:
    """A flame graph as paths with their totals and own values, of each side; widths and places are checked.

    `width` is 4 for one side, 7 for two.
    """
    sides = width // 3
    above: list[tuple[list[int], list[int], Path_]] = []
    found: dict[Path_, tuple[int, ...]] = {}
    for level in levels:
        here, end = [], [0] * sides
        for start in range(0, len(level), width):
            *figures, name = level[start : start + width]
            offset, total, own = figures[0::3], figures[1::3], figures[2::3]
            begin = [one + shift for one, shift in zip(end, offset, strict=True)]
            end = [one + size for one, size in zip(begin, total, strict=True)]
            inside = [
                path
                for first, last, path in above
                if all(a <= b and c <= d for a, b, c, d in zip(first, begin, end, last, strict=True))
            ]
            path = (*(inside[0] if above else ()), names[name])
            assert path not in found
            found[path] = (*total, *own)
            here.append((begin, end, path))
        above = here
    return found


def stacks_of(profile: Any) -> Counter[tuple[Any, ...]]:
    """A pprof profile (the message) as stacks of all that is known of their frames, with the values."""
    text = profile.string_table
    functions = {
        one.id: (text[one.name], text[one.system_name], text[one.filename], one.start_line) for one in profile.function
    }
    mappings = {
        one.id: (
            text[one.filename], text[one.build_id], one.memory_start, one.memory_limit, one.file_offset,
            one.has_functions, one.has_filenames, one.has_line_numbers, one.has_inline_frames,
        )
        for one in profile.mapping
    }  # fmt: skip
    locations = {
        one.id: (
            mappings.get(one.mapping_id), one.address, one.is_folded,
            tuple((functions[line.function_id], line.line) for line in one.line),
        )
        for one in profile.location
    }  # fmt: skip
    found: Counter[tuple[Any, ...]] = Counter()
    for sample in profile.sample:
        stack = tuple(locations[one] for one in sample.location_id)
        assert stack not in found
        found[stack] = sample.value[0]
    return found


def head_of(profile: Any) -> tuple[Any, ...]:
    """A pprof profile without its stacks."""
    text = profile.string_table
    return (
        [(text[one.type], text[one.unit]) for one in profile.sample_type],
        (text[profile.period_type.type], text[profile.period_type.unit]),
        profile.period,
        profile.time_nanos,
        profile.duration_nanos,
        text[profile.default_sample_type],
    )
