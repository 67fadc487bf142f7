"""What a Pyroscope deletes before we came: measured, warned of, found, never quiet, and recovered in observe mode."""

import pytest

from pyro_assets.errors import StorageUnavailable
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.tick import Lifetime, measure
from pyro_assets.storage.keys import block_key, segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledgers import HOUR, NOW_MS
from tests.support.worlds import SETTINGS, World

MINUTE_MS = 60_000


def bucket(segments: list[int], blocks: list[int]) -> fakes.MemoryBucket:
    """Segments and blocks of so many minutes of age."""
    made = fakes.MemoryBucket()
    for age in segments:
        made.objects[segment_key(4, make_ulid(NOW_MS - age * MINUTE_MS, bytes(10)))] = b"x"
    for age in blocks:
        made.objects[block_key(4, "acme", make_ulid(NOW_MS - age * MINUTE_MS, bytes(10)))] = b"x"
    return made


@pytest.mark.parametrize(
    ("segments", "blocks", "expected", "short"),
    [
        ([], [], Lifetime(), False),
        ([5, 1], [], Lifetime(), False),
        ([30, 1], [30, 20], Lifetime(True, False, 30 * MINUTE_MS), False),
        ([16, 1], [60, 40, 20], Lifetime(True, True, 16 * MINUTE_MS), True),
        ([1000, 1], [2000, 40], Lifetime(True, True, 1000 * MINUTE_MS), False),
        ([], [20], Lifetime(True, True, None), True),
    ],
)
def test_lifetimes(segments: list[int], blocks: list[int], expected: Lifetime, short: bool) -> None:
    found = measure(bucket(segments, blocks), NOW_MS)
    assert (found, found.is_short) == (expected, short)
    assert bool(found.sentence) == bool(blocks)


def test_own_mode_warns_at_every_start_where_segments_live_short(world: World) -> None:
    world.source = bucket([16, 1], [60, 20])
    own, observe = world.open(), world.open(settings=SETTINGS.model_copy(update={"compaction": "observe"}))
    for _ in range(2):
        (sentence,) = ticks.warnings(own)
        assert "deletes segments about 16 minutes after they were created: an outage of ours" in sentence
        assert "choose observe" in sentence
    assert ticks.warnings(observe) == []

    def down(method: str, key: str) -> None:
        raise StorageUnavailable("down")

    world.source.before = down
    assert ticks.warnings(own) == []


def gone_unseen(world: World) -> None:
    """A tick, an outage in which segments came, were compacted and deleted, and the first segment after it."""
    world.segment(-50, "acme 1")
    world.tick_and_run()
    world.source.objects.clear()
    for seconds, values in ((30, (2, 3)), (60, (4,))):
        lines = ["level 1", *(f"acme {value}" for value in values)]
        key = block_key(4, "acme", make_ulid(NOW_MS + seconds * 1000, bytes(10)))
        world.source.objects[key] = "\n".join(lines).encode()
    world.clock.forward(1000)
    world.segment(990, "acme 5")


def test_segments_deleted_before_any_tick_listed_them_are_lost_and_loudly_so(world: World) -> None:
    gone_unseen(world)
    (sentence,) = ticks.tick(world.pipeline).failures
    assert sentence.startswith("segments of shard 4 were deleted before they were listed: 2 blocks were made of them")
    assert Pardons(world.ledger).count_unheld() == {"lost": 2}
    assert runs.hour_report(world.pipeline, HOUR).sources_by_state["lost"] == 2
    # Said once: from then on the list of what was lost says it.
    assert ticks.tick(world.pipeline).failures == ()
    assert Pardons(world.ledger).count_unheld() == {"lost": 2}


def test_they_are_recovered_in_observe_mode(world: World) -> None:
    gone_unseen(world)
    world.tick_and_run()
    world.clock.forward(10)
    world.tick_and_run()
    observe = world.open(settings=SETTINGS.model_copy(update={"compaction": "observe"}))
    ticks.tick(observe)
    for source in Pardons(world.ledger).unheld_sources():
        Pardons(world.ledger).retry_source(source.key)
    world.tick_and_run(observe)
    assert [value for _, value in world.archived_values()] == [1, 2, 3, 4, 5]
    assert Pardons(world.ledger).count_unheld() == {}


def test_a_quiet_time_without_blocks_is_no_loss(world: World) -> None:
    world.segment(-50, "acme 1")
    world.tick_and_run()
    world.source.objects.clear()
    world.clock.forward(1000)
    world.segment(990, "acme 5")
    assert ticks.tick(world.pipeline).failures == ()
    assert Pardons(world.ledger).count_unheld() == {}


def test_a_bucket_that_does_not_answer_meanwhile_is_asked_again(world: World) -> None:
    gone_unseen(world)

    def down(method: str, key: str) -> None:
        if key.startswith("blocks/"):
            raise StorageUnavailable("down")

    world.source.before = down
    cursors = SourceRecords(world.ledger).cursors()
    assert ticks.tick(world.pipeline).failures == ("down",)
    assert SourceRecords(world.ledger).cursors() == cursors
    world.source.before = None
    assert len(ticks.tick(world.pipeline).failures) == 1
    assert Pardons(world.ledger).count_unheld() == {"lost": 2}
