"""The frame of a symbols section: footer, index, and a header for every partition, chunk and symbol block.

Fields of these fixed-size headers belong here, reading beside writing; what stands inside the symbol blocks is
known by `inner`, what stands in a chunk by `tree`. FORMAT.md has the layout.
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import google_crc32c

from pyro_assets.block.columns import U8
from pyro_assets.block.symbols.delta import MOST_VALUES_PER_BYTE
from pyro_assets.block.symbols.group_varint import MAX_GROUP_BYTES, MIN_GROUP_BYTES
from pyro_assets.errors import BadCount, BadEncoding, BadLength, BadMagic, Truncated, UnsupportedVersion, Where
from pyro_assets.storage.checksum import check_crc, crc32c

MAGIC: Final = b"sym1"
VERSION: Final = 3
#: Items of an inner block, as the original writes them.
ITEMS_PER_BLOCK: Final = 1024
# What a reader accepts instead: bounds what a header can make it allocate.
_MAX_ITEMS_PER_BLOCK: Final = 1 << 16

LOCATIONS, FUNCTIONS, MAPPINGS, STRINGS = 1, 2, 3, 4
KIND_NAMES: Final = {LOCATIONS: "locations", FUNCTIONS: "functions", MAPPINGS: "mappings", STRINGS: "strings"}
#: Bytes of the header of an inner block, its CRC included.
INNER_HEADER_BYTES: Final = {LOCATIONS: 28, FUNCTIONS: 24, MAPPINGS: 32, STRINGS: 12}
#: The order of the symbol-block headers in a partition header.
HEADER_ORDER: Final = (LOCATIONS, MAPPINGS, FUNCTIONS, STRINGS)

_FOOTER: Final = struct.Struct(">4sIQII")
_INDEX_HEADER: Final = struct.Struct(">4sI8xqqI")  # magic, version, one entry (size, offset), number of partitions
_PARTITION: Final = struct.Struct(">QI")
_CHUNK: Final = struct.Struct(">qqQHxB4xIIII12xI")
_SYMBOL_BLOCK: Final = struct.Struct(">QIIIIHH4x")
_FOUR_SYMBOL_BLOCKS: Final = struct.Struct(">" + 4 * "QIIIIHH4x")
_HEADER_FIELDS: Final = tuple((kind, 7 * number) for number, kind in enumerate(HEADER_ORDER))
_U32: Final = struct.Struct(">I")
_ENTRY_OFFSET: Final = 32  # where the partition headers start, from the index's start
_GROUP_VARINT: Final = 1
#: What compacted blocks say of the most nodes a chunk may have.
UNLIMITED_NODES: Final = (1 << 32) - 1


class StackChunk(NamedTuple):
    """Where a tree of stack traces lies: `size` bytes from `offset` of the section; distinct ids and nodes in it."""

    offset: int
    size: int
    crc: int
    stack_traces: int
    nodes: int


class SymbolBlock(NamedTuple):
    """Where a table lies: `size` bytes from `offset` of the section, `items` of it in inner blocks."""

    offset: int
    size: int
    crc: int
    items: int
    items_per_block: int


class Partition(NamedTuple):
    """Headers of one partition; its number is the StacktracePartition of profiles."""

    number: int
    chunk: StackChunk
    locations: SymbolBlock
    mappings: SymbolBlock
    functions: SymbolBlock
    strings: SymbolBlock


_EMPTY_CHUNK: Final = StackChunk(0, 0, 0, 0, 0)


def parse_index(data: memoryview, array: U8, where: Where) -> list[Partition]:
    """Read footer and index of a section and check them and every CRC that they hold.

    Args:
        data: the whole section.
        array: the same bytes as uint8.
        where: for messages.

    Returns:
        The partitions, every range inside the section, every count possible for its size.

    Raises:
        BlockError: the frame is not what the format says.
        ChecksumMismatch: footer, index, a chunk or a symbol block is damaged.
    """
    footer_offset = len(data) - _FOOTER.size
    if footer_offset < _INDEX_HEADER.size + 4:
        _refuse_old_version(data, where)
        raise Truncated(
            "symbols section is too short",
            where,
            offset=0,
            expected=f"at least {_FOOTER.size + _INDEX_HEADER.size + 4} bytes",
            actual=len(data),
        )
    magic, version, index_offset, _, footer_crc = _FOOTER.unpack_from(data, footer_offset)
    if magic != MAGIC or version != VERSION:
        _refuse_old_version(data, where)
        _check_version("footer", magic, version, where, footer_offset)
    _check_crc(array, footer_offset, len(data) - 4, footer_crc, "symbols footer", where)
    crc_offset = footer_offset - 4
    if index_offset > crc_offset - _INDEX_HEADER.size:
        raise BadLength(
            "symbols index lies outside the section",
            where,
            offset=footer_offset + 8,
            expected=f"at most {crc_offset - _INDEX_HEADER.size}",
            actual=index_offset,
        )
    magic, version, size, offset, count = _INDEX_HEADER.unpack_from(data, index_offset)
    _check_version("index", magic, version, where, index_offset)
    _check_crc(array, index_offset, crc_offset, _U32.unpack_from(data, crc_offset)[0], "symbols index", where)
    if offset != _ENTRY_OFFSET or size != crc_offset - index_offset - _ENTRY_OFFSET:
        raise BadLength(
            "entry of the symbols index",
            where,
            offset=index_offset + 16,
            expected=(crc_offset - index_offset - _ENTRY_OFFSET, _ENTRY_OFFSET),
            actual=(size, offset),
        )
    position = index_offset + _INDEX_HEADER.size
    least = _PARTITION.size + 4 * _SYMBOL_BLOCK.size
    if count * least > crc_offset - position:
        raise BadCount(
            "number of partitions",
            where,
            offset=position - 4,
            expected=f"at most {(crc_offset - position) // least}",
            actual=count,
        )
    partitions: list[Partition] = []
    left = index_offset
    for _ in range(count):
        number, chunks = _PARTITION.unpack_from(data, position)
        needed = _PARTITION.size + chunks * _CHUNK.size + 4 * _SYMBOL_BLOCK.size
        if needed > crc_offset - position:
            raise BadCount(
                "number of stack-trace chunks or partitions",
                where,
                offset=position + 8,
                expected=f"headers within {crc_offset - position} bytes",
                actual=chunks,
            )
        if chunks > 1:
            raise UnsupportedVersion(
                "partition with several stack-trace chunks", where, offset=position + 8, expected=1, actual=chunks
            )
        position += _PARTITION.size
        chunk = _EMPTY_CHUNK
        if chunks:
            chunk = _parse_chunk(data, position, index_offset, where)
            left = _take(chunk.size, left, position, where)
            _check_crc(array, chunk.offset, chunk.offset + chunk.size, chunk.crc, "stack-trace chunk", where)
            position += _CHUNK.size
        tables = []
        headers = _FOUR_SYMBOL_BLOCKS.unpack_from(data, position)
        for kind, begin in _HEADER_FIELDS:
            offset, size, crc, items, per_block, header_size, encoding = headers[begin : begin + 7]
            table = SymbolBlock(offset, size, crc, items, per_block)
            _check_symbol_block(table, header_size, encoding, position, index_offset, kind, where)
            left = _take(size, left, position, where)
            _check_crc(array, offset, offset + size, crc, KIND_NAMES[kind], where)
            tables.append(table)
            position += _SYMBOL_BLOCK.size
        partitions.append(Partition(number, chunk, *tables))
    if position != crc_offset:
        raise BadCount(
            "number of partitions leaves bytes", where, offset=position, expected=crc_offset, actual=position
        )
    if count > 1 and len({partition.number for partition in partitions}) < count:
        raise BadCount("partition twice in the symbols index", where, offset=index_offset + _ENTRY_OFFSET)
    return partitions


def _take(size: int, left: int, position: int, where: Where) -> int:
    """What is left of the data when no byte is read twice: small sections could otherwise ask for any amount."""
    if size > left:
        raise BadLength(
            "sizes of the symbols together", where, offset=position, expected=f"at most {left}", actual=size
        )
    return left - size


def _check_crc(array: U8, begin: int, end: int, stored: int, what: str, where: Where) -> None:
    # The library takes NumPy arrays as they are, which spares looking at the type; a job has some hundred sums.
    if google_crc32c.value(array[begin:end]) != stored:
        check_crc(array[begin:end], stored, what, where, begin)


def _check_version(what: str, magic: bytes, version: int, where: Where, offset: int) -> None:
    if magic != MAGIC:
        raise BadMagic(f"symbols {what}", where, offset=offset, expected=MAGIC, actual=magic)
    if version != VERSION:
        raise UnsupportedVersion(
            f"symbols {what} of version {version}", where, offset=offset + 4, expected=VERSION, actual=version
        )


def _refuse_old_version(data: memoryview, where: Where) -> None:
    """Versions 1 and 2 had no footer: their index, a file of its own, starts with magic and version."""
    if bytes(data[:4]) == MAGIC and len(data) >= 8:
        version = int.from_bytes(data[4:8], "big")
        if version != VERSION:
            raise UnsupportedVersion(
                f"symbols of version {version}, a directory of files", where, offset=4, expected=VERSION, actual=version
            )


def _parse_chunk(data: memoryview, position: int, data_end: int, where: Where) -> StackChunk:
    offset, size, _, number, encoding, stack_traces, nodes, _, _, crc = _CHUNK.unpack_from(data, position)
    if encoding != _GROUP_VARINT or number:
        raise BadEncoding(
            "number and encoding of the stack-trace chunk",
            where,
            offset=position + 24,
            expected=(0, _GROUP_VARINT),
            actual=(number, encoding),
        )
    if offset < 0 or size < 0 or offset + size > data_end:
        raise BadLength(
            "stack-trace chunk lies outside the data",
            where,
            offset=position,
            expected=f"within {data_end} bytes",
            actual=(offset, size),
        )
    groups = (nodes + 1) // 2
    if not groups * MIN_GROUP_BYTES <= size <= groups * MAX_GROUP_BYTES:
        raise BadCount(
            "number of nodes", where, offset=position + 36, expected=f"a count for {size} bytes", actual=nodes
        )
    return StackChunk(offset, size, crc, stack_traces, nodes)


def _check_symbol_block(
    table: SymbolBlock, header_size: int, encoding: int, position: int, data_end: int, kind: int, where: Where
) -> None:
    offset, size, _, items, per_block = table
    if encoding != kind or header_size != INNER_HEADER_BYTES[kind]:
        raise UnsupportedVersion(
            f"format and inner header size of the {KIND_NAMES[kind]}",
            where,
            offset=position + 24,
            expected=(kind, INNER_HEADER_BYTES[kind]),
            actual=(encoding, header_size),
        )
    if offset + size > data_end:
        raise BadLength(
            f"{KIND_NAMES[kind]} lie outside the data",
            where,
            offset=position,
            expected=f"within {data_end} bytes",
            actual=(offset, size),
        )
    if items and not 1 <= per_block <= _MAX_ITEMS_PER_BLOCK:
        raise BadCount(
            f"items per inner block of the {KIND_NAMES[kind]}",
            where,
            offset=position + 20,
            expected=f"1 to {_MAX_ITEMS_PER_BLOCK}",
            actual=per_block,
        )
    # Strings and locations take at least a byte each, the others some streams, which are checked when decoded.
    inner_blocks = -(-items // per_block) if items else 0
    least = inner_blocks * header_size + (items if kind in (STRINGS, LOCATIONS) else items // MOST_VALUES_PER_BYTE)
    if least > size or (size and not items):
        raise BadCount(
            f"number of {KIND_NAMES[kind]}",
            where,
            offset=position + 16,
            expected=f"a count for {size} bytes",
            actual=items,
        )


def encode_index(partitions: Sequence[Partition], index_offset: int) -> bytes:
    """Index and footer of a section whose data takes `index_offset` bytes."""
    parts = []
    for number, chunk, *tables in partitions:
        parts.append(_PARTITION.pack(number, 1))
        parts.append(
            _CHUNK.pack(
                chunk.offset,
                chunk.size,
                number,
                0,
                _GROUP_VARINT,
                chunk.stack_traces,
                chunk.nodes,
                0,
                UNLIMITED_NODES,
                chunk.crc,
            )
        )
        for kind, table in zip(HEADER_ORDER, tables, strict=True):
            parts.append(_SYMBOL_BLOCK.pack(*table, INNER_HEADER_BYTES[kind], kind))
    headers = b"".join(parts)
    index = _INDEX_HEADER.pack(MAGIC, VERSION, len(headers) + 4, _ENTRY_OFFSET, len(partitions)) + headers
    index += crc32c(index).to_bytes(4, "big")
    footer = _FOOTER.pack(MAGIC, VERSION, index_offset, 0, 0)[:-4]
    return index + footer + crc32c(footer).to_bytes(4, "big")
