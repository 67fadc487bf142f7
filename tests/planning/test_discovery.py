"""Discovery as a table of cases: nothing new, new, late, future, strays, pages, failures, cursors that lie."""

from collections.abc import Iterable

import pytest

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.records import Lane, lane_of_shard
from pyro_assets.planning.listing import Discovery, Window, discover
from pyro_assets.storage.keys import block_key, segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes

NOW_MS = 1_795_600_000_000
FOLDER = "segments/4/anonymous/"


def ulid(seconds: float, salt: int = 0) -> str:
    """The ULID of so many seconds after (before, if negative) NOW_MS."""
    return make_ulid(NOW_MS + round(seconds * 1000), salt.to_bytes(10))


def bucket_of(seconds: Iterable[float], shard: int = 4) -> fakes.MemoryBucket:
    return fakes.MemoryBucket({segment_key(shard, ulid(second)): b"12345" for second in seconds})


def look(bucket: fakes.MemoryBucket, cursors: dict[str, str] | None = None, **window: int) -> Discovery:
    return discover(bucket, "segments", cursors or {}, Window(**{"now_ms": NOW_MS, "lookback_ms": 60_000} | window))


def seconds_of(result: Discovery) -> list[float]:
    return [(found.block.created_ms - NOW_MS) / 1000 for found in result.found]


@pytest.mark.parametrize(
    ("there", "cursor", "expected", "moved"),
    [
        pytest.param([], None, [], None, id="nothing"),
        pytest.param([-900, -5], None, [-900, -5], -5, id="first look takes everything"),
        pytest.param([-900, -5], -5, [-5], None, id="nothing new"),
        pytest.param([-900, -5, -1], -5, [-5, -1], -1, id="new"),
        pytest.param([-900, -64, -5], -5, [-64, -5], None, id="late, within the window"),
        pytest.param([-900, -66, -5], -5, [-5], None, id="late, before the window"),
        pytest.param([-900, -5, 9999], None, [-900, -5, 9999], -5, id="a future key does not move the cursor"),
        pytest.param([9999], None, [9999], None, id="only future keys"),
        pytest.param([-70, -5, 9999], 9999, [-70, -5, 9999], -5, id="a cursor set ahead begins anew"),
        pytest.param([-70, -5], 30, [-5], -5, id="a cursor of a clock that was a little ahead"),
        pytest.param([-900, -5], -2000, [-900, -5], -5, id="a cursor set back lists again"),
    ],
)
def test_window(there: list[float], cursor: float | None, expected: list[float], moved: float | None) -> None:
    result = look(bucket_of(there), {} if cursor is None else {FOLDER: ulid(cursor)})
    assert seconds_of(result) == expected
    assert result.cursors == ({} if moved is None else {FOLDER: ulid(moved)})
    assert (result.failures, result.truncated, result.not_block_keys) == ([], False, 0)


def test_sizes_and_shards() -> None:
    bucket = bucket_of([-5], 4)
    bucket.objects |= {segment_key(11, ulid(-3)): b"", segment_key(2, ulid(-2)): b"1"}
    result = look(bucket)
    assert {(found.block.shard, found.size_bytes) for found in result.found} == {(4, 5), (11, 0), (2, 1)}
    assert set(result.cursors) == {f"segments/{shard}/anonymous/" for shard in (2, 4, 11)}


def test_keys_that_name_no_block_are_counted() -> None:
    bucket = bucket_of([-5])
    strays = [
        "segments/readme.txt",
        "segments/notashard/x/y",
        "segments/4/anonymous/hello/block.bin",
        f"segments/4/anonymous/{ulid(-1)}/other.bin",
        f"segments/4/someone/{ulid(-1)}/block.bin",
        "segments/4/a.txt",
    ]
    bucket.objects |= dict.fromkeys(strays, b"")
    result = look(bucket)
    assert seconds_of(result) == [-5]
    assert result.not_block_keys == len(strays)
    assert len(result.examples) == 5
    # Nor may they move the cursor beyond a block that is still to come.
    assert result.cursors[FOLDER] in (ulid(-5), ulid(-1))


def test_a_backlog_comes_in_slices_oldest_first_with_the_live_edge_beside_it() -> None:
    bucket = bucket_of(range(-500, 0))
    result = look(bucket, page_keys=50, max_keys=50, lookback_ms=10_000)
    slice_and_edge = [*range(-500, -450), *range(-10, 0)]
    assert (seconds_of(result), result.truncated, len(bucket.calls)) == (slice_and_edge, True, 3)
    # The edge does not move the cursor past what is left.
    assert result.cursors == {FOLDER: ulid(-451)}
    seen, cursors = set(seconds_of(result)), dict(result.cursors)
    for _ in range(20):
        result = look(bucket, cursors, page_keys=50, max_keys=100)
        seen |= set(seconds_of(result))
        cursors |= result.cursors
        if not result.truncated:
            break
    assert seen == set(range(-500, 0))
    assert not result.truncated


def test_a_slice_is_shared_by_all_shards_and_those_furthest_behind_come_first() -> None:
    shards = range(1, 9)
    bucket = fakes.MemoryBucket(
        {segment_key(shard, ulid(second)): b"1" for shard in shards for second in range(-400, 0, 4)}
    )
    # Shard 8 has caught up; what lands there needs no share.
    cursors = {"segments/8/anonymous/": ulid(-8)}
    rounds, backlog = 0, [set(range(-400, -10, 4)) for _ in shards]
    while any(backlog[:7]):
        rounds += 1
        bucket.calls.clear()
        result = look(bucket, cursors, page_keys=20, max_keys=60, lookback_ms=10_000)
        cursors |= result.cursors
        for found in result.found:
            backlog[found.block.shard - 1].discard((found.block.created_ms - NOW_MS) / 1000)
        edges = {(found.block.shard, found.block.created_ms) for found in result.found}
        assert {(shard, NOW_MS - ms) for shard in shards for ms in (8_000, 4_000)} <= edges
        # The slice, and for each shard its window and its edge.
        assert len(result.found) <= 60 + 20 + len(shards) * 6
        assert len(bucket.calls) <= 1 + 2 * len(shards) + 3
    assert rounds <= 15


def test_shards_that_appear_and_vanish_are_noticed() -> None:
    bucket = bucket_of([-9], 4)
    cursors = look(bucket).cursors
    bucket.objects |= {segment_key(7, ulid(-5)): b"1"}
    assert [found.block.shard for found in look(bucket, cursors).found] == [7, 4]
    del bucket.objects[segment_key(4, ulid(-9))]
    bucket.calls.clear()
    assert [found.block.shard for found in look(bucket, cursors).found] == [7]
    # A folder that is gone costs nothing any more.
    assert bucket.calls == [("list_folder", "segments/"), ("list_after", "segments/7/")]


def test_a_window_larger_than_a_page_does_not_stop_progress() -> None:
    bucket = bucket_of(range(-55, 0))
    result = look(bucket, {FOLDER: ulid(-10)}, page_keys=10, max_keys=10)
    assert result.cursors == {FOLDER: ulid(-1)}


def test_cost_does_not_grow_with_what_lies_behind() -> None:
    for count in (100, 5000):
        bucket = bucket_of(range(-count, 0))
        look(bucket, {FOLDER: ulid(-1)})
        assert len(bucket.calls) == 2


def test_a_listing_that_fails_keeps_what_others_found() -> None:
    bucket = bucket_of([-5], 4)
    bucket.objects |= {segment_key(2, ulid(-2)): b"1"}

    def fault(method: str, key: str) -> None:
        if key == "segments/2/":
            raise StorageUnavailable("503 SlowDown", key=key)

    bucket.before = fault
    result = look(bucket)
    assert seconds_of(result) == [-5]
    assert result.failures == ["503 SlowDown"]
    assert set(result.cursors) == {FOLDER}
    bucket.before = None
    assert sorted(seconds_of(look(bucket, result.cursors))) == [-5, -2]


def test_a_listing_that_fails_half_way_keeps_its_first_pages() -> None:
    bucket = bucket_of(range(-30, 0))

    def fault(method: str, key: str) -> None:
        if len(bucket.calls) > 3:
            raise StorageUnavailable("half-way", key=key)

    bucket.before = fault
    result = look(bucket, page_keys=10)
    assert (seconds_of(result), result.failures) == (list(range(-30, -10)), ["half-way"])
    assert result.cursors == {FOLDER: ulid(-11)}


def test_a_slow_bucket_costs_no_tick_what_it_has_and_every_shard_gets_its_turn() -> None:
    bucket = fakes.MemoryBucket({segment_key(shard, ulid(-5)): b"1" for shard in range(5)})
    cursors: dict[str, str] = {}
    for turn in range(5):
        result = look(bucket, cursors, max_seconds=0)
        cursors |= result.cursors
        assert (len(result.found), result.truncated) == (1, True)
        assert result.failures == [
            "memory://fake answers slowly: 4 of 5 folders were not listed within 0 s and come first with the next tick"
        ]
        assert len(cursors) == turn + 1


def test_known_shards_are_listed_where_the_list_of_shards_fails() -> None:
    bucket = bucket_of([-5])

    def fault(method: str, key: str) -> None:
        if method == "list_folder":
            raise StorageUnavailable("no folders", key=key)

    bucket.before = fault
    result = look(bucket, {FOLDER: ulid(-900)})
    assert (seconds_of(result), result.failures) == ([-5], ["no folders"])


def test_a_lane_lists_its_shards_only() -> None:
    bucket = bucket_of([-5], 1)
    for shard in (2, 3, 4):
        bucket.objects |= bucket_of([-5], shard).objects
    asked: list[str] = []
    bucket.before = lambda method, key: asked.append(key) if method == "list_after" else None
    bucket.objects |= {block_key(shard, b"acme", ulid(-1)): b"x" for shard in (3, 4)}
    assert [lane_of_shard(shard, 2) for shard in (1, 2, 3, 4)] == [1, 0, 1, 0]
    for kind, shards in (("segments", {2, 4}), ("blocks", {4})):
        asked.clear()
        found = discover(bucket, kind, {}, Window(NOW_MS, 60_000, lane=Lane(0, 2))).found
        assert {item.block.shard for item in found} == shards
        assert {int(key.split("/")[1]) for key in asked} == shards


def test_blocks_of_all_tenants() -> None:
    keys = [block_key(4, tenant, ulid(-second)) for second, tenant in enumerate((b"acme", b"a/b", b"globex"), 1)]
    bucket = fakes.MemoryBucket(dict.fromkeys(keys, b"x") | {"blocks/4/stray": b""})
    result = discover(bucket, "blocks", {}, Window(NOW_MS, 60_000))
    assert sorted(found.block.key for found in result.found) == sorted(keys)
    assert result.not_block_keys == 1
    assert set(result.cursors) == {key.rsplit("/", 2)[0] + "/" for key in keys}
