"""The quick judgement over all lists of a job agrees with the walk that names what is wrong."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyro_assets.block.tsdb.lists import Lists, check_lists, lists_are_right
from pyro_assets.errors import BlockError, Where
from tests.support.index_surgery import framed

REFERENCES = (6, 9, 11, 1 << 27)


def _lists(items: list[list[int]], head: int, start: int = 8) -> tuple[bytes, list[int]]:
    """Lists that begin at `start`, and their offsets."""
    data = bytearray(start)
    offsets = []
    for one in items:
        offsets.append(len(data))
        data += framed(struct.pack(f">{head + len(one)}I", *([1] * (head - 1)), len(one), *one))
    return bytes(data), offsets


def _whole(data: bytes, offsets: list[int], head: int, start: int = 8) -> Lists:
    allowed = range(5) if head == 2 else REFERENCES
    return Lists(data, start, len(data), head, offsets, allowed, "list", Where("job", "tsdb"))


def _walk_agrees(job: list[Lists]) -> bool:
    """Whether both ways agree; and the verdict."""
    try:
        for one in job:
            check_lists(one)
    except BlockError:
        verdict = False
    else:
        verdict = True
    quick = lists_are_right(job)
    # The quick way may be unsure (offsets not ascending); it may never accept what the walk refuses.
    assert not quick or verdict
    return verdict


symbols = st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=5)
postings = st.lists(st.lists(st.sampled_from(REFERENCES), max_size=6), max_size=5)


@given(st.lists(st.one_of(st.tuples(symbols, st.just(2)), st.tuples(postings, st.just(1))), max_size=5))
def test_good_lists_of_several_indices_are_right(indices: list[tuple[list[list[int]], int]]) -> None:
    job = [_whole(*_lists(items, head), head) for items, head in indices]
    assert _walk_agrees(job)
    assert lists_are_right(job)


@given(st.data(), symbols, postings)
def test_a_changed_byte_is_noticed_by_both(
    data: st.DataObject, first: list[list[int]], second: list[list[int]]
) -> None:
    good, offsets = _lists(second, 1)
    if not second:
        return
    position = data.draw(st.integers(8, len(good) - 1))
    changed = bytearray(good)
    changed[position] ^= data.draw(st.integers(1, 255))
    job = [
        _whole(*_lists(first, 2), 2),
        _whole(bytes(changed), offsets, 1),
        _whole(*_lists(first, 2), 2),
    ]
    assert not _walk_agrees(job)
    assert not lists_are_right(job)


@given(st.data(), postings)
@example(None, [[6], [9]])
def test_wrong_offsets_are_never_accepted(data: st.DataObject | None, items: list[list[int]]) -> None:
    good, offsets = _lists(items, 1)
    if data is None:
        wrong = [offsets[0], 1 << 64]
    else:
        wrong = data.draw(st.lists(st.one_of(st.integers(0, 200), st.sampled_from([*offsets, 1 << 63])), max_size=6))
    job = [_whole(good, wrong, 1)]
    assert _walk_agrees(job) == (sorted(wrong) == offsets)


def test_a_list_that_reaches_into_the_next_index_is_refused() -> None:
    """Side by side in memory, two indices must still be two."""
    one, offsets = _lists([[6, 9, 11]], 1)
    two, _ = _lists([[6]], 1)
    joined = one[:8] + framed(struct.pack(">8I", 7, *[6] * 7))
    cut = 8 + 16
    job = [_whole(joined[:cut], [8], 1), _whole(b"\0" * 8 + joined[cut:], [], 1)]
    assert not _walk_agrees(job)
    assert _walk_agrees([_whole(one, offsets, 1), _whole(two, [8], 1)])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_part_that_is_no_multiple_of_four(size: int) -> None:
    data, offsets = _lists([[6]], 1)
    assert not _walk_agrees([_whole(data + bytes(size), offsets, 1)])


def test_two_wrong_checksums_do_not_cancel() -> None:
    """The same error in two lists, and a swap of two lists' checksums."""
    good, offsets = _lists([[6], [9], [6]], 1)
    changed = bytearray(good)
    for offset in (offsets[0], offsets[2]):
        changed[offset + 12] ^= 0x40
    assert not _walk_agrees([_whole(bytes(changed), offsets, 1)])
    changed = bytearray(good)
    first, second = (slice(offset + 12, offset + 16) for offset in offsets[:2])
    changed[first], changed[second] = good[second], good[first]
    assert not _walk_agrees([_whole(bytes(changed), offsets, 1)])


def test_an_index_without_lists() -> None:
    assert lists_are_right([])
    assert _walk_agrees([_whole(bytes(8), [], 1)])
    # A part may begin behind its end where the alignment of an empty one says so.
    assert _walk_agrees([_whole(bytes(8), [], 1, start=12)])
    assert not _walk_agrees([_whole(bytes(8), [8], 1)])
