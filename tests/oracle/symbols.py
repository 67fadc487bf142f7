"""A slow decoder of symbols sections: every partition's strings, functions, mappings, locations and tree.

Shares nothing with the package. The format is explained in pyro_assets/block/FORMAT.md.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.oracle.bytes import Reader, check_crc, delta_binary_packed, must
from tests.oracle.values import EMPTY_STACK, Frame, Line, Mapping, Stack


class Partition:
    """The resolved tables of one stack-trace partition."""

    def __init__(
        self,
        strings: list[bytes],
        mappings: list[Mapping],
        functions: list[tuple[bytes | None, bytes | None, bytes | None, int]],
        locations: list[Frame],
        nodes: list[tuple[int, int]],
        dangling: int,
    ) -> None:
        self.strings, self.mappings, self.functions = strings, mappings, functions
        self.locations, self.nodes, self.dangling = locations, nodes, dangling
        self._stacks: list[Stack] | None = None

    def stack(self, node: int) -> Stack:
        """The stack that ends at a node."""
        if self._stacks is None:
            self._stacks = []
            for parent, location in self.nodes:
                if parent < 0:
                    self._stacks.append(EMPTY_STACK)
                else:
                    self._stacks.append(Stack.of(self.locations[location], self._stacks[parent]))
        must(0 <= node < len(self._stacks), "stack id out of range", node, len(self._stacks))
        return self._stacks[node]


def read_tree(data: bytes, count: int) -> list[tuple[int, int]]:
    """Nodes as (parent, location): group varint, zig-zag differences of parents."""
    nodes: list[tuple[int, int]] = []
    reader, parent = Reader(data), 0
    while len(nodes) < count:
        control = reader.u8()
        numbers = [int.from_bytes(reader.take(((control >> 2 * i) & 3) + 1), "little") for i in range(4)]
        for delta, location in (numbers[:2], numbers[2:]):
            if len(nodes) == count:
                must(delta == 0 and location == 0, "padding of a tree")
                break
            parent += (delta >> 1) ^ -(delta & 1)
            must(parent < len(nodes), "a parent after its child", parent, len(nodes))
            must((parent == -1) == (not nodes), "a root elsewhere than first", parent, len(nodes))
            nodes.append((parent, location))
    must(reader.at_end(), "bytes after a tree", reader.position, len(data))
    return nodes


class _BlockHeader(NamedTuple):
    offset: int
    size: int
    crc: int
    items: int
    per_block: int
    header_size: int
    format: int


def _inner_blocks(
    section: bytes, header: _BlockHeader, kind: int, header_size: int
) -> Iterator[tuple[Reader, bytes, int]]:
    """Inner blocks of a symbol block: a reader that stands after the header, the header, the item count."""
    must(header.format == kind, "format of a symbol block", header.format, kind)
    must(header.header_size == header_size, "size of inner headers", header.header_size, header_size)
    must(header.per_block == 1024, "items per block", header.per_block)
    must(header.offset + header.size <= len(section), "a symbol block past the end", header)
    data = section[header.offset : header.offset + header.size]
    check_crc(data, header.crc, f"symbol block {kind}")
    reader, left = Reader(data), header.items
    while left:
        n = min(left, header.per_block)
        raw = reader.take(header_size)
        check_crc(raw[:-4], int.from_bytes(raw[-4:], "big"), f"inner header of symbol block {kind}")
        must(int.from_bytes(raw[:4], "big") == n, "items of an inner block", n)
        yield reader, raw, n
        left -= n
    must(reader.at_end(), "bytes after a symbol block", kind)


def read_symbols(data: bytes) -> dict[int, Partition]:
    """All partitions of a symbols section."""
    must(len(data) >= 24, "too short for a symbols section")
    footer = Reader(data[-24:])
    must(footer.take(4) == b"sym1", "magic of the symbols footer")
    must(footer.u32() == 3, "version of the symbols")
    index_offset = footer.u64()
    must(footer.u32() == 0, "reserved field of the symbols footer")
    check_crc(data[-24:-4], footer.u32(), "symbols footer")
    must(index_offset <= len(data) - 24, "index offset past the end", index_offset)
    index = data[index_offset:-24]
    check_crc(index[:-4], int.from_bytes(index[-4:], "big"), "symbols index")
    reader = Reader(index[:-4])
    must(reader.take(4) == b"sym1" and reader.u32() == 3, "header of the symbols index")
    reader.zeros(8, "reserved bytes of the index header")
    size, offset = reader.i64(), reader.i64()
    must(offset == reader.position and size == len(index) - 4 - offset, "entry of the index", size, offset)
    partitions: dict[int, Partition] = {}
    for _ in range(reader.u32()):
        partition_id = reader.u64()
        must(partition_id not in partitions, "a partition twice", partition_id)
        chunk_count = reader.u32()
        must(chunk_count == 1, "number of stack-trace chunks", chunk_count)
        chunk_at, chunk_size, chunk_partition = reader.i64(), reader.i64(), reader.u64()
        chunk_index, zero, encoding = reader.u16(), reader.u8(), reader.u8()
        reader.zeros(4, "reserved bytes of a chunk header")
        stack_count, node_count, max_depth, max_nodes = reader.u32(), reader.u32(), reader.u32(), reader.u32()
        reader.zeros(12, "reserved bytes of a chunk header")
        chunk_crc = reader.u32()
        must(
            (chunk_partition, chunk_index, zero, encoding) in ((0, 0, 0, 1), (partition_id, 0, 0, 1)),
            "chunk header",
        )
        must(max_depth == 0 and max_nodes >= node_count, "limits of a chunk", max_depth, max_nodes)
        must(chunk_at >= 0 and chunk_size >= 0 and chunk_at + chunk_size <= index_offset, "chunk past the end")
        chunk = data[chunk_at : chunk_at + chunk_size]
        check_crc(chunk, chunk_crc, "stack traces")
        nodes = read_tree(chunk, node_count)
        must(stack_count <= node_count, "more stacks than nodes", stack_count, node_count)
        headers = []
        for _kind in range(4):
            headers.append(
                _BlockHeader(
                    reader.u64(),
                    reader.u32(),
                    reader.u32(),
                    reader.u32(),
                    reader.u32(),
                    reader.u16(),
                    reader.u16(),
                )
            )
            reader.zeros(4, "padding of a symbol-block header")
        partitions[partition_id] = _read_partition(data[:index_offset], headers, nodes)
    must(reader.at_end(), "bytes after the partition headers")
    return partitions


def _read_partition(section: bytes, headers: list[_BlockHeader], nodes: list[tuple[int, int]]) -> Partition:
    location_header, mapping_header, function_header, string_header = headers
    dangling = 0

    strings: list[bytes] = []
    for reader, raw, n in _inner_blocks(section, string_header, 4, 12):
        # The byte at index 4 is not initialised by the original and may hold anything.
        must(raw[5:8] in (b"\x08\x00\x00", b"\x10\x00\x00"), "header of strings", raw)
        width = raw[5] // 8
        lengths = [int.from_bytes(reader.take(width), "big") for _ in range(n)]
        strings += [reader.take(length) for length in lengths]

    def string(index: int) -> bytes | None:
        nonlocal dangling
        if 0 <= index < len(strings):
            return strings[index]
        dangling += 1
        return None

    functions: list[tuple[bytes | None, bytes | None, bytes | None, int]] = []
    for reader, header, n in _inner_blocks(section, function_header, 2, 24):
        sizes = struct.unpack(">4I", header[4:20])
        columns = [delta_binary_packed(reader.take(size), 32) for size in sizes]
        must(all(len(column) == n for column in columns), "items of a functions column")
        for name, system_name, file_name, start_line in zip(*columns, strict=True):
            functions.append((string(name), string(system_name), string(file_name), start_line))

    mappings: list[Mapping] = []
    for reader, header, n in _inner_blocks(section, mapping_header, 3, 32):
        sizes = struct.unpack(">6I", header[4:28])
        columns = []
        for i, size in enumerate(sizes):
            raw = reader.take(size)
            columns.append(delta_binary_packed(raw, 64 if i > 2 else 32) if size or i < 3 else [0] * n)
        must(all(len(column) == n for column in columns), "items of a mappings column")
        for file_name, build_id, flags, start, limit, file_offset in zip(*columns, strict=True):
            mappings.append(
                Mapping(
                    string(file_name),
                    string(build_id),
                    flags,
                    start % (1 << 64),
                    limit % (1 << 64),
                    file_offset % (1 << 64),
                )
            )

    locations: list[Frame] = []
    for reader, header, n in _inner_blocks(section, location_header, 1, 28):
        mapping_size, line_count, lines_size, address_size, folded_size = struct.unpack(">5I", header[4:24])
        mapping_ids = delta_binary_packed(reader.take(mapping_size), 32)
        counts = list(reader.take(n))
        numbers = delta_binary_packed(reader.take(lines_size), 32) if lines_size or line_count else []
        addresses = delta_binary_packed(reader.take(address_size), 64) if address_size else [0] * n
        bits = reader.take(folded_size)
        must(len(mapping_ids) == n and len(addresses) == n, "items of a locations column")
        must(sum(counts) == line_count and len(numbers) == 2 * line_count, "number of lines", line_count)
        must(folded_size in (0, (n + 7) // 8), "size of is-folded", folded_size, n)
        at = 0
        for i in range(n):
            lines = []
            for _ in range(counts[i]):
                function, line = numbers[2 * at], numbers[2 * at + 1]
                at += 1
                if 0 <= function < len(functions):
                    lines.append(Line(*functions[function], line))
                else:
                    dangling += 1
                    lines.append(Line(None, None, None, 0, line))
            mapping = mappings[mapping_ids[i]] if 0 <= mapping_ids[i] < len(mappings) else None
            dangling += mapping is None
            folded = bool(folded_size and bits[i // 8] >> (i % 8) & 1)
            locations.append(Frame(tuple(lines), addresses[i] % (1 << 64), mapping, folded))

    for parent, location in nodes:
        must(parent < 0 or 0 <= location < len(locations), "location of a node", location, len(locations))
    return Partition(strings, mappings, functions, locations, nodes, dangling)
