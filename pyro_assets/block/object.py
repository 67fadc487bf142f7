"""The object as a whole: footer, metadata and where each dataset's sections lie.

Reads from untrusted bytes or by ranges from the end, and seals what a writer made. What is inside a section does not
belong here (FORMAT.md, 2).
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from operator import itemgetter
from typing import Final, NamedTuple

from pyro_assets.block.metadata import FORMAT_INDEX, BlockMeta, Dataset, encode_metadata, parse_metadata
from pyro_assets.errors import BadCount, BadLength, BadMetadata, Truncated, Unwritable, Where
from pyro_assets.storage.checksum import check_crc, crc32c

_FOOTER: Final = struct.Struct(">II")
#: What a ranged read fetches first; real metadata has a few hundred bytes to a few KiB.
TAIL_BYTES: Final = 16 * 1024

#: Sections of a dataset by its format.
_SECTIONS: Final = {0: ("profiles", "tsdb", "symbols"), 1: ("dataset index",)}


class Sections(NamedTuple):
    """The three sections of a dataset of format 0, as views of the object."""

    profiles: memoryview
    tsdb: memoryview
    symbols: memoryview


def read_footer(read_range: Callable[[int, int], bytes], size_bytes: int, object_key: str) -> BlockMeta:
    """Reads an object's metadata with one ranged read from the end, or two if the metadata is long.

    Args:
        read_range: (start, length) -> exactly these bytes of the object.
        size_bytes: the object's size, from the listing.
        object_key: for messages.

    Returns:
        The metadata, its offsets checked, `size` set to `size_bytes`.

    Raises:
        Truncated, BadLength, ChecksumMismatch, BadMetadata, BadCount, BadIndex, UnsupportedVersion.
    """
    tail_bytes = min(size_bytes, TAIL_BYTES)
    tail = _exactly(read_range, size_bytes - tail_bytes, tail_bytes, object_key)
    length = _metadata_length(tail, size_bytes, object_key)
    needed = length + _FOOTER.size
    if needed > tail_bytes:
        tail = _exactly(read_range, size_bytes - needed, needed - tail_bytes, object_key) + tail
    return _parse_tail(memoryview(tail), length, size_bytes, object_key)


def parse_object(data: bytes | memoryview, object_key: str, meta: BlockMeta | None = None) -> BlockMeta:
    """Checks an object's footer and where its sections lie.

    Args:
        data: the whole object.
        object_key: for messages.
        meta: metadata from outside, for blocks that have no footer; then the end of `data` is not looked at.

    Returns:
        The metadata with `size` set to the object's; every range in it lies inside the object and no two datasets
        overlap.

    Raises:
        Truncated, BadLength, ChecksumMismatch, BadMetadata, BadCount, BadIndex, UnsupportedVersion.
    """
    view = memoryview(data)
    if meta is None:
        length = _metadata_length(view, len(view), object_key)
        return _parse_tail(view, length, len(view), object_key)
    if len(view) == 0:
        raise Truncated("the object is empty", Where(object_key), offset=0)
    known = replace(meta, size=len(view))
    _check_layout(known, len(view), object_key)
    return known


def _exactly(read_range: Callable[[int, int], bytes], start: int, length: int, object_key: str) -> bytes:
    data = bytes(read_range(start, length)) if length else b""
    if len(data) != length:
        raise Truncated("a ranged read", Where(object_key), offset=start, expected=f"{length} bytes", actual=len(data))
    return data


def _metadata_length(tail: bytes | memoryview, size_bytes: int, object_key: str) -> int:
    """Length of the message, from the eight bytes at the object's end."""
    if len(tail) < _FOOTER.size:
        what = "the object ends before its footer does" if size_bytes else "the object is empty"
        raise Truncated(what, Where(object_key), offset=size_bytes, expected=f"{_FOOTER.size} bytes", actual=len(tail))
    length = int(_FOOTER.unpack_from(tail, len(tail) - _FOOTER.size)[0])
    if length > size_bytes - _FOOTER.size:
        raise BadLength(
            "length of the metadata",
            Where(object_key, "footer"),
            offset=size_bytes - _FOOTER.size,
            expected=f"at most {size_bytes - _FOOTER.size}",
            actual=length,
        )
    return length


def _parse_tail(tail: memoryview, length: int, size_bytes: int, object_key: str) -> BlockMeta:
    """Metadata from the last bytes of an object; `tail` holds at least message and footer."""
    where = Where(object_key, "metadata")
    start = len(tail) - _FOOTER.size - length
    offset = size_bytes - _FOOTER.size - length
    expected = _FOOTER.unpack_from(tail, len(tail) - _FOOTER.size)[1]
    check_crc(tail[start : start + length + 4], expected, "metadata", where, offset)
    meta = parse_metadata(tail[start : start + length], where)
    # Zero is "not stored"; any other value must be the truth.
    if meta.metadata_offset not in (0, offset):
        raise BadMetadata("metadata_offset", where, offset=offset, expected=offset, actual=meta.metadata_offset)
    meta.metadata_offset = offset
    meta.size = size_bytes
    _check_layout(meta, offset, object_key)
    return meta


def dataset_where(dataset: Dataset, object_key: str, section: str) -> Where:
    """The place of one of a dataset's sections, for messages."""
    return Where(object_key, section, dataset.name.decode("utf-8", "backslashreplace"))


def _check_layout(meta: BlockMeta, end: int, object_key: str) -> None:
    """Every section inside its dataset, every dataset inside [0, end), none overlapping another.

    Overlaps are refused because a small object could otherwise ask for its bytes to be read any number of times.
    """
    bounds = []
    for dataset in meta.datasets:
        toc, size = dataset.toc, dataset.size
        names = _SECTIONS[dataset.format]
        if len(toc) != len(names):
            where = dataset_where(dataset, object_key, "metadata")
            raise BadCount("sections in the table of contents", where, expected=len(names), actual=len(toc))
        start, stop = toc[0], toc[0] + size
        # Sections are never empty, so offsets ascend strictly up to the dataset's end.
        if stop > end or not (start < stop if len(toc) == 1 else start < toc[1] < toc[2] < stop):
            _refuse_layout(dataset, end, object_key)
        bounds.append((start, stop, dataset))
    if len(bounds) > 1:
        bounds.sort(key=itemgetter(0, 1))
    for (_, stop, _), (start, _, dataset) in pairwise(bounds):
        if start < stop:
            where = dataset_where(dataset, object_key, "metadata")
            raise BadMetadata("datasets overlap", where, expected=f"start at {stop} or later", actual=start)


def _refuse_layout(dataset: Dataset, end: int, object_key: str) -> None:
    """Raises the error that names the first section that lies wrong."""
    where = dataset_where(dataset, object_key, "metadata")
    stop = dataset.toc[0] + dataset.size
    if stop > end:
        raise BadMetadata("end of the dataset", where, expected=f"at most {end}", actual=stop)
    for name, start, limit in zip(_SECTIONS[dataset.format], dataset.toc, (*dataset.toc[1:], stop), strict=True):
        if start >= limit:
            raise BadMetadata(f"offsets of section {name}", where, expected=f"start before {limit}", actual=start)


def dataset_sections(data: bytes | memoryview, meta: BlockMeta, position: int) -> Sections:
    """The sections of dataset `position` of format 0, as views; `meta` must come from `parse_object`.

    Raises:
        BadMetadata: the dataset is an index, which has no such sections.
    """
    dataset = meta.datasets[position]
    if dataset.format == FORMAT_INDEX:
        raise BadMetadata(
            "profiles asked of a dataset index", dataset_where(dataset, meta.id, "metadata"), expected=0, actual=1
        )
    view = memoryview(data)
    profiles, tsdb, symbols = dataset.toc
    return Sections(view[profiles:tsdb], view[tsdb:symbols], view[symbols : profiles + dataset.size])


def index_section(data: bytes | memoryview, meta: BlockMeta, position: int) -> memoryview:
    """The section of dataset `position` of format 1, as a view; `meta` must come from `parse_object`.

    Raises:
        BadMetadata: the dataset is not an index.
    """
    dataset = meta.datasets[position]
    if dataset.format != FORMAT_INDEX:
        raise BadMetadata(
            "index asked of a dataset of profiles", dataset_where(dataset, meta.id, "metadata"), expected=1, actual=0
        )
    start = dataset.toc[0]
    return memoryview(data)[start : start + dataset.size]


def seal_object(body: Sequence[bytes | memoryview], meta: BlockMeta) -> bytes:
    """Appends metadata, its length and their checksum to a block's sections.

    Args:
        body: everything before the metadata, in order; datasets' offsets count from its start.
        meta: what to write; `metadata_offset` and `size` are filled in by this function (size as 0, as objects do).

    Returns:
        The whole object.

    Raises:
        Unwritable: a dataset lies outside the body, or the metadata is 4 GiB or longer.
    """
    offset = sum(len(part) for part in body)
    try:
        _check_layout(meta, offset, meta.id)
    except (BadMetadata, BadCount) as error:
        raise Unwritable(str(error.what), error.where, expected=error.expected, actual=error.actual) from error
    message = encode_metadata(replace(meta, metadata_offset=offset, size=0))
    if len(message) >> 32:
        raise Unwritable("metadata is too long", Where(meta.id, "metadata"), actual=len(message))
    tail = message + struct.pack(">I", len(message))
    return b"".join((*body, tail, struct.pack(">I", crc32c(tail))))
