"""Reading TSDB indices: real ones, and one corruption for every checksum, length, count, offset and version."""

from collections.abc import Callable

import numpy as np
import pytest

from pyro_assets import errors
from pyro_assets.block.columns import SeriesTable
from pyro_assets.block.cursor import uvarint, varint
from pyro_assets.block.object import dataset_sections, index_section, parse_object
from pyro_assets.block.tsdb.labels import fingerprint
from pyro_assets.block.tsdb.reader import read_series
from pyro_assets.block.tsdb.writer import write_index
from pyro_assets.errors import BlockError, Where
from tests.support import golden_bucket
from tests.support.index_surgery import PARTS, IndexSurgery, read_uvarint

HERE = Where("segments/1/x/block.bin", "tsdb", "checkout")
SERIES = [
    ((b"__profile_type__", b"cpu"), (b"__service_name__", b"checkout"), (b"pod", b"a")),
    ((b"__profile_type__", b"cpu"), (b"__service_name__", b"checkout"), (b"pod", b"b")),
    ((b"__profile_type__", b"mem"), (b"__service_name__", b"checkout")),
]
TIMES = np.array([1_795_600_274_688_835_971, 1_795_600_274_684_337_372, 1_795_600_274_000_000_000])


def good_index() -> bytes:
    prints = np.array([fingerprint(one) for one in SERIES], np.uint64)
    return write_index(SERIES, prints, np.arange(3), TIMES, TIMES + 5)


def many_names(count: int) -> bytes:
    """An index with so many symbols that label references need two bytes."""
    labels = [tuple((b"name%04d" % i, b"value%04d" % i) for i in range(n, n + 3)) for n in range(count)]
    zero = np.zeros(count, np.int64)
    return write_index(labels, zero.astype(np.uint64), np.arange(count), zero, zero)


# --- Good ones --------------------------------------------------------------------------------------------------


def test_reads_what_was_written() -> None:
    table = read_series([good_index()], [HERE])
    assert table.labels == SERIES
    assert table.fingerprint.tolist() == [fingerprint(one) for one in SERIES]
    assert table.series_index.tolist() == [0, 1, 2]
    assert (table.min_time_ns == TIMES).all()
    assert (table.max_time_ns == TIMES + 5).all()
    assert table.dataset_start.tolist() == [0, 3]


def test_sections_stand_end_to_end_and_empty_ones_take_no_place() -> None:
    empty = write_index([], *[np.empty(0, t) for t in (np.uint64, np.int64, np.int64, np.int64)])
    table = read_series([good_index(), empty, many_names(200), good_index()], [HERE] * 4)
    assert table.dataset_start.tolist() == [0, 3, 3, 203, 206]
    assert table.labels[:3] == table.labels[203:] == SERIES
    assert table.labels[202][2] == (b"name0201", b"value0201")


def test_nothing_to_read() -> None:
    table = read_series([], [])
    assert table.dataset_start.tolist() == [0]
    assert table.labels == []
    assert len(table.series_index) == len(table.min_time_ns) == len(table.max_time_ns) == 0


def test_equal_look_up_parts_with_other_times() -> None:
    """Such parts are checked once a job; the series must still be each section's own."""
    prints = np.array([fingerprint(one) for one in SERIES], np.uint64)
    later = write_index(SERIES, prints, np.arange(3), TIMES + 1000, TIMES + 2000)
    table = read_series([good_index(), later], [HERE, HERE])
    assert table.min_time_ns.tolist() == [*TIMES.tolist(), *(TIMES + 1000).tolist()]


def test_real_indices_of_all_kinds() -> None:
    bucket = golden_bucket.committed()
    keys = [key for job in bucket.jobs for key in (*job, *bucket.level1_keys(job))]
    seen = 0
    for key in keys:
        data = bucket.read(key)
        meta = parse_object(data, key)
        sections = [
            dataset_sections(data, meta, i).tsdb if one.format == 0 else index_section(data, meta, i)
            for i, one in enumerate(meta.datasets)
        ]
        table = read_series(sections, [Where(key)] * len(sections))
        assert [fingerprint(one) for one in table.labels] == table.fingerprint.tolist()
        # A tenant's dataset index comes last and holds the series of all its datasets.
        last = int(table.dataset_start[-2])
        assert table.labels[:last] == table.labels[last:]
        seen += len(sections)
    assert seen > 100


def test_several_chunks_of_a_series() -> None:
    """Never seen in real blocks: later chunks count from the last time of the one before."""
    first = varint(10) + b"\x05\x00\x07" + bytes(4)
    second = varint(3) + b"\x01\x00\x08" + bytes(4)
    table = _with_chunks(2, first + second)
    assert table.min_time_ns.tolist() == [10, 18]
    assert table.max_time_ns.tolist() == [15, 19]
    assert table.series_index.tolist() == [7, 8]
    assert table.labels == [SERIES[2]] * 2
    assert len(set(table.fingerprint.tolist())) == 1


def test_a_series_without_chunks_has_no_rows() -> None:
    table = _with_chunks(0, b"")
    assert table.dataset_start.tolist() == [0, 0]
    assert table.labels == []


# --- Corrupt ones -----------------------------------------------------------------------------------------------

Change = Callable[[IndexSurgery], int | None]
CASES: dict[str, tuple[type[BlockError], Change]] = {}


def case(name: str, error: type[BlockError]) -> Callable[[Change], Change]:
    """Registers a change, which returns the offset that the message must name (None: any)."""

    def register(change: Change) -> Change:
        CASES[name] = (error, change)
        return change

    return register


@case("magic", errors.BadMagic)
def _(s: IndexSurgery) -> int:
    s.data[0] ^= 1
    return 0


@case("version 1", errors.UnsupportedVersion)
def _(s: IndexSurgery) -> int:
    s.data[4] = 1
    return 4


@case("version 3", errors.UnsupportedVersion)
def _(s: IndexSurgery) -> int:
    s.data[4] = 3
    return 4


@case("table of contents: checksum", errors.ChecksumMismatch)
def _(s: IndexSurgery) -> int:
    s.data[-1] ^= 1
    return s.end


def _offset_case(part: str, where: str) -> None:
    @case(f"table of contents: {part} {where}", errors.BadIndex)
    def _(s: IndexSurgery) -> int:
        return s.set_toc(part, 1 << 63 if where == "past the end" else 4)


for _part in PARTS:
    _offset_case(_part, "past the end")
    _offset_case(_part, "before the part in front")


def _framed_cases(part: str, title: str) -> None:
    @case(f"{title}: checksum", errors.ChecksumMismatch)
    def _(s: IndexSurgery) -> int:
        at = s.toc[part]
        s.data[at + 4 + s.u32(at)] ^= 1
        return at + 4

    for name, value in (("longer", 1), ("shorter", -1), ("2^32-1", None)):

        @case(f"{title}: length {name}", errors.BadLength)
        def _(s: IndexSurgery, value: int | None = value) -> int:
            at = s.toc[part]
            s.put32(at, 0xFFFFFFFF if value is None else s.u32(at) + value)
            return at

    @case(f"{title}: 2^31 items", errors.BadCount)
    def _(s: IndexSurgery) -> int:
        at = s.toc[part]
        s.put32(at + 4, 1 << 31)
        s.seal(at)
        return at + 4


for _part, _title in (
    ("symbols", "symbols"),
    ("label_index_table", "label-index table"),
    ("postings_table", "postings table"),
    ("fingerprints", "fingerprint offsets"),
):
    _framed_cases(_part, _title)


@case("symbols: one more than there are", errors.Truncated)
def _(s: IndexSurgery) -> None:
    at = s.toc["symbols"]
    s.put32(at + 4, s.u32(at + 4) + 1)
    s.seal(at)


@case("symbols: one fewer than there are", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = s.toc["symbols"]
    s.put32(at + 4, s.u32(at + 4) - 1)
    s.seal(at)
    return at


@case("symbols: a string past the end", errors.Truncated)
def _(s: IndexSurgery) -> None:
    at = s.toc["symbols"]
    s.data[at + 8] = 0x7F
    s.seal(at)


@case("symbols: a length of more than 64 bits", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = s.toc["symbols"]
    s.data[at + 8 : at + 19] = b"\xff" * 11
    s.seal(at)
    return at + 8


@case("series entry: checksum", errors.ChecksumMismatch)
def _(s: IndexSurgery) -> int:
    _, body, stop = s.entries[1]
    s.data[stop] ^= 1
    return body


@case("series entry: longer than the part", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = s.entries[2][0]
    s.data[at] = 0x7F
    return at


@case("series entry: shorter than its fixed fields", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = s.entries[0][0]
    s.data[at] = 9
    return at


@case("series entry: a length of more than 64 bits", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = s.entries[0][0]
    s.data[at : at + 11] = b"\xff" * 11
    return at


@case("series entry: the last one ends before the part does", errors.BadLength)
def _(s: IndexSurgery) -> None:
    at, body, stop = s.entries[2]
    s.data[at] -= 1
    s.entries[2] = (at, body, stop - 1)
    s.seal_entry(2)


@case("series entry: number of labels", errors.BadCount)
def _(s: IndexSurgery) -> int:
    body = s.entries[0][1]
    s.data[body + 8] = 0x7F
    s.seal_entry(0)
    return body + 8


@case("series entry: 2^31 labels", errors.BadCount)
def _(s: IndexSurgery) -> int:
    body = s.entries[0][1]
    s.data[body + 8 : body + 13] = uvarint(1 << 31)
    s.seal_entry(0)
    return body + 8


@case("series entry: label symbol", errors.BadIndex)
def _(s: IndexSurgery) -> int:
    body = s.entries[1][1]
    s.data[body + 10] = 0x7F
    s.seal_entry(1)
    return body + 10


@case("series entry: label symbol of two bytes", errors.BadIndex)
def _(s: IndexSurgery) -> int:
    body = s.entries[1][1]
    s.data[body + 10 : body + 12] = uvarint(300)
    s.seal_entry(1)
    return body + 10


def _chunk_at(s: IndexSurgery, number: int) -> int:
    """Where the number of chunks stands."""
    _, body, _ = s.entries[number]
    count, at = read_uvarint(s.data, body + 8)
    for _ in range(2 * count):
        _, at = read_uvarint(s.data, at)
    return at


@case("series entry: number of chunks", errors.BadCount)
def _(s: IndexSurgery) -> int:
    at = _chunk_at(s, 0)
    s.data[at] = 0x7F
    s.seal_entry(0)
    return at


@case("series entry: no chunk, but bytes of one", errors.BadLength)
def _(s: IndexSurgery) -> None:
    s.data[_chunk_at(s, 0)] = 0
    s.seal_entry(0)


@case("chunk: ends late", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = _chunk_at(s, 2) + 1
    # The last byte of the first time goes on now, so one number too few is left.
    s.data[at + 8] |= 0x80
    s.seal_entry(2)
    return at


@case("chunk: ends early", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = _chunk_at(s, 2) + 1
    s.data[at] &= 0x7F
    s.seal_entry(2)
    return at


@case("chunk: only bytes that go on", errors.BadLength)
def _(s: IndexSurgery) -> int:
    at = _chunk_at(s, 2) + 1
    stop = s.entries[2][2]
    s.data[at:stop] = b"\xff" * (stop - at)
    s.seal_entry(2)
    return at


def _list_cases(part: str, title: str, head: int) -> None:
    @case(f"{title}: checksum", errors.ChecksumMismatch)
    def _(s: IndexSurgery) -> int:
        at = s.lists(part)[2]
        s.data[at + 4 + s.u32(at)] ^= 1
        return at + 4

    @case(f"{title}: an item, checksum as before", errors.ChecksumMismatch)
    def _(s: IndexSurgery) -> int:
        at = s.lists(part)[1]
        s.data[at + 4 + 4 * head + 3] ^= 1
        return at + 4

    for name, value in (("past the end", 1 << 31), ("odd", 5), ("too short", 0)):

        @case(f"{title}: length {name}", errors.BadLength)
        def _(s: IndexSurgery, value: int = value) -> int:
            at = s.lists(part)[1]
            s.put32(at, value)
            return at

    @case(f"{title}: 2^31 items", errors.BadCount)
    def _(s: IndexSurgery) -> int:
        at = s.lists(part)[1]
        s.put32(at + 4 * head, 1 << 31)
        s.seal(at)
        return at + 4 * head

    @case(f"{title}: an item that does not exist", errors.BadIndex)
    def _(s: IndexSurgery) -> int:
        at = s.lists(part)[1] + 4 * (1 + head)
        s.put32(at, 1 << 20)
        s.seal(s.lists(part)[1])
        return at


_list_cases("label_indices", "label index", 2)
_list_cases("postings", "postings list", 1)


@case("label index: number of names", errors.BadCount)
def _(s: IndexSurgery) -> int:
    at = s.lists("label_indices")[1]
    s.put32(at + 4, 2)
    s.seal(at)
    return at + 4


def _table_cases(part: str, title: str, lists: str) -> None:
    @case(f"{title}: one entry more than there are", errors.Truncated)
    def _(s: IndexSurgery) -> None:
        at = s.toc[part]
        s.put32(at + 4, s.u32(at + 4) + 1)
        s.seal(at)

    @case(f"{title}: one entry fewer than there are", errors.BadLength)
    def _(s: IndexSurgery) -> int:
        at = s.toc[part]
        s.put32(at + 4, s.u32(at + 4) - 1)
        s.seal(at)
        return at

    @case(f"{title}: number of strings", errors.BadCount)
    def _(s: IndexSurgery) -> int:
        at = s.toc[part]
        s.data[at + 8] = 3
        s.seal(at)
        return at + 8

    @case(f"{title}: a string past the end", errors.Truncated)
    def _(s: IndexSurgery) -> None:
        at = s.toc[part]
        s.data[at + 9 : at + 11] = uvarint(0x3FFF)
        s.seal(at)

    @case(f"{title}: an offset that is no list's", errors.BadIndex)
    def _(s: IndexSurgery) -> None:
        at = s.toc[part]
        # The last entry's offset ends where the table's checksum begins.
        s.data[at + 4 + s.u32(at) - 2] ^= 1
        s.seal(at)

    @case(f"{title}: an offset past the end", errors.BadIndex)
    def _(s: IndexSurgery) -> None:
        at = s.toc[part]
        s.data[at + 4 + s.u32(at) - 1] = 0x7F
        s.seal(at)


_table_cases("label_index_table", "label-index table", "label_indices")
_table_cases("postings_table", "postings table", "postings")


@case("fingerprint offsets: reference", errors.BadIndex)
def _(s: IndexSurgery) -> int:
    at = s.toc["fingerprints"]
    s.data[at + 15] ^= 1
    s.seal(at)
    return at + 8


@case("fingerprint offsets: fingerprint", errors.BadIndex)
def _(s: IndexSurgery) -> int:
    at = s.toc["fingerprints"]
    s.data[at + 23] ^= 1
    s.seal(at)
    return at + 8


@pytest.mark.parametrize("name", list(CASES))
def test_one_field_changed_is_one_named_error(name: str) -> None:
    error, change = CASES[name]
    surgery = IndexSurgery(good_index())
    offset = change(surgery)
    good, bad = Where("good", "tsdb"), Where("bad", "tsdb", "checkout")
    with pytest.raises(BlockError) as caught:
        read_series([good_index(), bytes(surgery.data), many_names(3)], [good, bad, good])
    assert type(caught.value) is error
    assert caught.value.where == bad
    if offset is not None:
        assert caught.value.offset == offset
    assert "section tsdb" in str(caught.value)
    # Its neighbours are what they would be without it.
    assert read_series([good_index(), many_names(3)], [good, good]).labels[:3] == SERIES


def test_truncated_anywhere_is_an_error() -> None:
    index = good_index()
    for size in range(len(index)):
        with pytest.raises(BlockError):
            read_series([index[:size]], [HERE])
    for size in range(5 + 76):
        with pytest.raises(errors.Truncated):
            read_series([index[:size]], [HERE])


def test_every_byte_is_vouched_for_except_padding() -> None:
    index = good_index()
    surgery = IndexSurgery(index)
    padding = set()
    for (_, _, stop), (start, _, _) in zip(surgery.entries, surgery.entries[1:], strict=False):
        padding |= set(range(stop + 4, start))
    padding |= set(range(surgery.toc["series"], surgery.entries[0][0]))
    padding |= set(range(surgery.toc["label_indices"], surgery.lists("label_indices")[0]))
    unnoticed = set()
    for position in range(len(index)):
        changed = bytearray(index)
        changed[position] ^= 0xFF
        try:
            read_series([bytes(changed)], [HERE])
        except BlockError:
            continue
        unnoticed.add(position)
    assert unnoticed == padding


# --- Numbers of chunks ------------------------------------------------------------------------------------------


def _with_chunks(count: int, chunks: bytes) -> SeriesTable:
    """What is read of an index whose only series has these chunks."""
    index = write_index(SERIES[2:], np.array([7], np.uint64), np.zeros(1, np.int64), TIMES[:1], TIMES[:1])
    surgery = IndexSurgery(index)
    body = surgery.entries[0][1]
    head = bytes(surgery.data[body : _chunk_at(surgery, 0)])
    return read_series([surgery.with_only_entry(head + bytes([count]) + chunks)], [HERE])


LARGEST, SMALLEST = (1 << 63) - 1, -(1 << 63)


@pytest.mark.parametrize(
    ("first", "duration", "index"),
    [
        (0, 0, 0),
        (-1, 1, 1),
        (SMALLEST, (1 << 64) - 1, (1 << 32) - 1),
        (LARGEST, 0, 300),
        (TIMES[0].item(), 1 << 40, 128),
    ],
)
def test_extreme_numbers_of_a_chunk(first: int, duration: int, index: int) -> None:
    table = _with_chunks(1, varint(first) + uvarint(duration) + uvarint(77) + uvarint(index) + bytes(4))
    assert table.min_time_ns.tolist() == [first]
    assert table.max_time_ns.tolist() == [first + duration]
    assert table.series_index.tolist() == [index]


@pytest.mark.parametrize(
    ("chunk", "error"),
    [
        (varint(LARGEST) + uvarint(1) + bytes(2) + bytes(4), errors.BadEncoding),
        (varint(0) + uvarint(1 << 63) + bytes(2) + bytes(4), errors.BadEncoding),
        (b"\xff" * 9 + b"\x02" + bytes(3) + bytes(4), errors.BadEncoding),
        (b"\x80" * 10 + b"\x00" + bytes(3) + bytes(4), errors.BadEncoding),
        (bytes(3) + uvarint(1 << 32) + bytes(4), errors.BadIndex),
        (b"", errors.BadLength),
        (bytes(3), errors.BadLength),
        (bytes(7), errors.BadLength),
        (bytes(9), errors.BadLength),
        (b"\x80" * 41 + bytes(4), errors.BadLength),
    ],
)
def test_impossible_numbers_of_a_chunk(chunk: bytes, error: type[BlockError]) -> None:
    with pytest.raises(BlockError) as caught:
        _with_chunks(1, chunk)
    assert type(caught.value) is error
