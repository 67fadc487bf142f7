"""Counts -> the pprof bytes that an agent sends, encoded by hand from parts that are prepared once per program.

Only a profile's samples and times are encoded anew, which makes an upload cheap. Reading pprof is the business of
`pyro_assets.pprof`; that its reader agrees with this writer is a test.
"""

import zlib
from collections.abc import Iterable

from pyro_assets.block.cursor import uvarint
from pyro_assets.generator.counts import PROFILE_SECONDS, Counts, Kind
from pyro_assets.generator.programs import Program, Stack

#: Negative numbers are in two's complement of 64 bits.
_MASK = (1 << 64) - 1


class ProfileEncoder:
    """Encodes all profiles of one kind of one program.

    As an agent does, it sends only the functions and locations that the kind's stacks use; their ids keep gaps.
    """

    def __init__(self, program: Program, kind: Kind, *, compress: bool = True) -> None:
        self._compress = compress
        self._strings: dict[str, int] = {"": 0}
        stacks = [stack for stack in program.stacks if kind.key in stack.weights]
        self._symbols = self._encode_symbols(program, kind, stacks)
        self._span_key = self._string("span_id")
        self._stacks = {stack.locations: _packed(1, stack.locations) for stack in stacks}
        self._labels = {
            labels: b"".join(
                _message(3, _number(1, self._string(name)) + _number(2, self._string(value))) for name, value in labels
            )
            for labels in {kind.labels_of(stack) for stack in stacks}
        }
        self._table = b"".join(_message(6, text.encode()) for text in self._strings)

    def encode(self, counts: Counts) -> bytes:
        """The profile as gzip-compressed pprof (plain when `compress` is off); equal counts give equal bytes."""
        parts = [self._symbols]
        spans: dict[str, int] = {}
        for sample in counts.samples:
            body = (
                self._stacks[sample.stack.locations]
                + _packed(2, sample.values)
                + self._labels[counts.kind.labels_of(sample.stack)]
            )
            if sample.span_id:
                number = spans.setdefault(sample.span_id, len(self._strings) + len(spans))
                body += _message(3, _number(1, self._span_key) + _number(2, number))
            parts.append(_message(2, body))
        parts.append(self._table)
        parts.extend(_message(6, span.encode()) for span in spans)
        parts.append(_number(9, counts.time_ns) + _number(10, PROFILE_SECONDS * 1_000_000_000))
        plain = b"".join(parts)
        if not self._compress:
            return plain
        # Level 1 as agents do; zlib writes no time into the gzip header, so the bytes can be repeated.
        packer = zlib.compressobj(1, zlib.DEFLATED, 31)
        return packer.compress(plain) + packer.flush()

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))

    def _encode_symbols(self, program: Program, kind: Kind, stacks: Iterable[Stack]) -> bytes:
        parts = [_message(1, self._value_type(*value_type)) for value_type in kind.sample_types]
        parts.append(_message(11, self._value_type(*kind.period_type)) + _number(12, kind.period))
        for number, mapping in enumerate(program.mappings, start=1):
            body = _number(1, number) + _number(2, mapping.memory_start) + _number(3, mapping.memory_start + 0x800_0000)
            body += _number(5, self._string(mapping.file_name)) + _number(6, self._string(mapping.build_id))
            if mapping.has_symbols:
                body += b"".join(_number(flag, 1) for flag in (7, 8, 9, 10))
            parts.append(_message(3, body))
        locations = sorted({number for stack in stacks for number in stack.locations})
        functions: set[int] = set()
        for number in locations:
            location = program.locations[number - 1]
            body = _number(1, number) + _number(2, location.mapping) + _number(3, location.address)
            for function, line in location.lines:
                functions.add(function)
                body += _message(4, _number(1, function) + _number(2, line))
            parts.append(_message(4, body))
        for number in sorted(functions):
            one = program.functions[number - 1]
            body = _number(1, number) + _number(2, self._string(one.name)) + _number(3, self._string(one.system_name))
            body += _number(4, self._string(one.file_name)) + _number(5, one.start_line)
            parts.append(_message(5, body))
        return b"".join(parts)

    def _value_type(self, name: str, unit: str) -> bytes:
        return _number(1, self._string(name)) + _number(2, self._string(unit))


def _number(field: int, value: int) -> bytes:
    return uvarint(field << 3) + uvarint(value & _MASK) if value else b""


def _message(field: int, body: bytes) -> bytes:
    return uvarint(field << 3 | 2) + uvarint(len(body)) + body


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _message(field, b"".join([uvarint(value & _MASK) for value in values]))
