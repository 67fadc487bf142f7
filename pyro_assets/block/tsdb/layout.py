"""The frame of a TSDB index: its head, its table of contents and the integers inside.

What both reader and writer need to agree on belongs here, once. Parts of the index do not (FORMAT.md, 5.1).
"""

import struct
from typing import Final, NamedTuple

from pyro_assets.block.cursor import Cursor
from pyro_assets.errors import BadIndex, BadMagic, Truncated, UnsupportedVersion, Where
from pyro_assets.storage.checksum import check_crc, crc32c

MAGIC: Final = 0xBAAAD700
VERSION: Final = 2
HEAD: Final = struct.pack(">IB", MAGIC, VERSION)
#: Series entries start at multiples of this, their references count in it.
SERIES_ALIGNMENT: Final = 16
#: Every such series has an entry among the fingerprint offsets, starting with the first.
FINGERPRINT_STEP: Final = 1024

_TOC: Final = struct.Struct(">7Q2q")
TOC_BYTES: Final = _TOC.size + 4
U32: Final = struct.Struct(">I")
U64: Final = struct.Struct(">Q")


class Toc(NamedTuple):
    """Where the parts of an index start, in bytes from its start, and the bounds of its times.

    The fields stand in the order of the bytes; the parts themselves lie in another order: postings come before the
    label-index table. `from_ns` and `through_ns` are Unix nanoseconds, both included.
    """

    symbols: int
    series: int
    label_indices: int
    label_index_table: int
    postings: int
    postings_table: int
    fingerprints: int
    from_ns: int
    through_ns: int

    def encode(self) -> bytes:
        """The last 76 bytes of an index."""
        packed = _TOC.pack(*self)
        return packed + U32.pack(crc32c(packed))


def read_toc(index: bytes, where: Where) -> Toc:
    """Checks the head of an index and reads its table of contents.

    Returns:
        The table; its parts lie in their order, between the head and the table itself.

    Raises:
        Truncated, BadMagic, UnsupportedVersion, ChecksumMismatch, BadIndex.
    """
    end = len(index) - TOC_BYTES
    if end < len(HEAD):
        smallest = len(HEAD) + TOC_BYTES
        raise Truncated("TSDB index", where, offset=0, expected=f"at least {smallest} bytes", actual=len(index))
    if index[:5] != HEAD:
        magic = U32.unpack_from(index)[0]
        if magic != MAGIC:
            raise BadMagic("TSDB index", where, offset=0, expected=f"{MAGIC:#010x}", actual=f"{magic:#010x}")
        raise UnsupportedVersion("version of the TSDB index", where, offset=4, expected=VERSION, actual=index[4])
    check_crc(index[end:-4], U32.unpack_from(index, len(index) - 4)[0], "table of contents", where, end)
    toc = Toc(*_TOC.unpack_from(index, end))
    symbols, series, label_indices, label_index_table, postings, postings_table, fingerprints, _, _ = toc
    if not (
        len(HEAD) <= symbols <= series <= label_indices <= postings
        and postings <= label_index_table <= postings_table <= fingerprints <= end
    ):
        _refuse_order(toc, end, where)
    return toc


def _refuse_order(toc: Toc, end: int, where: Where) -> None:
    """Raises the error that names the first part which starts before the one in front of it, or too late."""
    before = len(HEAD)
    for name in (
        "symbols",
        "series",
        "label_indices",
        "postings",
        "label_index_table",
        "postings_table",
        "fingerprints",
    ):
        start = getattr(toc, name)
        if not before <= start <= end:
            raise BadIndex(
                f"offset of {name}",
                where,
                offset=end + 8 * Toc._fields.index(name),
                expected=f"{before} to {end}",
                actual=start,
            )
        before = start


def align(offset: int, to: int) -> int:
    """The first multiple of `to` (a power of two) that is not before `offset`."""
    return (offset + to - 1) & -to


def read_uvarint(data: bytes, position: int, base: int, where: Where) -> tuple[int, int]:
    """Reads a number: one of two bytes quickly, a longer one through a cursor.

    Args:
        data: what it stands in.
        position: of its first byte in `data`.
        base: offset of `data` in its section, for messages.
        where: for messages.

    Returns:
        The number and the position after it.

    Raises:
        IndexError: the bytes end at once; every caller reads many and translates it once.
        Truncated, BadLength: from the cursor.
    """
    first, second = data[position], data[position + 1]
    if first < 0x80:
        return first, position + 1
    if second < 0x80:
        return first & 0x7F | second << 7, position + 2
    cursor = Cursor(data, where, base)
    cursor.position = position
    return cursor.uvarint(), cursor.position
