"""Changes one field of a good TSDB index and puts the checksums around it right again.

So a test reaches the check that lies behind a checksum. Add here where a field lies; what must come of a change
stands in the tests. Finds its way by the format alone, without the package's reader.
"""

import struct

from tests.oracle.bytes import crc32c

TOC_BYTES = 76
PARTS = ("symbols", "series", "label_indices", "label_index_table", "postings", "postings_table", "fingerprints")


def read_uvarint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    """A LEB128 number and the position after it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


class IndexSurgery:
    """A mutable TSDB index: `data`, `toc` (name -> offset) and where its parts are."""

    def __init__(self, index: bytes) -> None:
        self.data = bytearray(index)
        self.end = len(index) - TOC_BYTES
        self.toc = dict(zip(PARTS, struct.unpack_from(">7Q", index, self.end), strict=True))
        self.entries: list[tuple[int, int, int]] = []
        at = self.toc["series"]
        while (at := at + -at % 16) < self.toc["label_indices"]:
            length, body = read_uvarint(index, at)
            self.entries.append((at, body, body + length))
            at = body + length + 4

    def u32(self, at: int) -> int:
        return int.from_bytes(self.data[at : at + 4], "big")

    def put32(self, at: int, value: int) -> None:
        self.data[at : at + 4] = value.to_bytes(4, "big")

    def lists(self, part: str) -> list[int]:
        """Offsets of the lists of `label_indices` or `postings`."""
        end = self.toc["postings" if part == "label_indices" else "label_index_table"]
        at = self.toc[part]
        starts = []
        while (at := at + -at % 4) < end:
            starts.append(at)
            at += 8 + self.u32(at)
        return starts

    def seal(self, at: int) -> None:
        """Puts the checksum of a part or list right that starts with its length at `at`."""
        stop = at + 4 + self.u32(at)
        self.put32(stop, crc32c(bytes(self.data[at + 4 : stop])))

    def seal_entry(self, number: int) -> None:
        """Puts the checksum of a series entry right."""
        _, body, stop = self.entries[number]
        self.put32(stop, crc32c(bytes(self.data[body:stop])))

    def set_toc(self, part: str, offset: int) -> int:
        """Changes an offset in the table of contents, with its checksum; returns where the offset stands."""
        at = self.end + 8 * PARTS.index(part)
        self.data[at : at + 8] = offset.to_bytes(8, "big")
        self.put32(self.end + 72, crc32c(bytes(self.data[self.end : self.end + 72])))
        return at

    def replace_entry(self, number: int, body: bytes) -> None:
        """Puts another body of the same length into a series entry."""
        _, start, stop = self.entries[number]
        assert len(body) == stop - start
        self.data[start:stop] = body
        self.seal_entry(number)

    def with_only_entry(self, entry: bytes) -> bytes:
        """The index of one series with another entry of any length: what lies behind it moves."""
        start = self.entries[0][0]
        out = self.data[:start] + uvarint(len(entry)) + entry + crc32c(entry).to_bytes(4, "big")
        toc = {**self.toc, "label_indices": len(out)}
        out += bytes(-len(out) % 4)
        first_list = self.lists("label_indices")[0]
        moved = len(out) - first_list
        out += self.data[first_list : self.toc["label_index_table"]]
        toc["postings"] += moved
        for part, strings in (("label_index_table", 1), ("postings_table", 2)):
            toc[part] = len(out)
            out += framed(self._moved_table(self.toc[part], strings, moved))
        toc["fingerprints"] = len(out)
        out += framed((1).to_bytes(4, "big") + (start // 16).to_bytes(8, "big") + entry[:8])
        table = b"".join(toc[part].to_bytes(8, "big") for part in PARTS) + bytes(self.data[-20:-4])
        return bytes(out + table + crc32c(table).to_bytes(4, "big"))

    def _moved_table(self, at: int, strings: int, moved: int) -> bytes:
        """The payload of an offset table, `moved` added to every offset."""
        position, end = at + 8, at + 4 + self.u32(at)
        out = self.data[at + 4 : at + 8]
        while position < end:
            first = position
            position += 1
            for _ in range(strings):
                size, position = read_uvarint(self.data, position)
                position += size
            out += self.data[first:position]
            offset, position = read_uvarint(self.data, position)
            out += uvarint(offset + moved)
        return bytes(out)


def uvarint(number: int) -> bytes:
    """LEB128, low seven bits first."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def framed(payload: bytes) -> bytes:
    """Length, payload, checksum."""
    return len(payload).to_bytes(4, "big") + payload + crc32c(payload).to_bytes(4, "big")
