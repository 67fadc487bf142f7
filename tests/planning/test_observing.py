"""Observe mode: level-1 blocks that are there, gone, or merged into higher levels; nothing lost, nothing doubled."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_assets.app import App, open_app
from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import compact
from pyro_assets.compaction.rest import compact_rest
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import KINDS, Settings
from pyro_assets.storage.keys import block_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes, mutations
from tests.support.golden_bucket import GoldenBucket
from tests.support.ledgers import HOUR, LEASE_MS, NOW_MS, RETRY
from tests.support.worlds import SETTINGS, World

OBSERVE = SETTINGS.model_copy(update={"compaction": "observe"})


@dataclass
class Observed:
    """A world beside a Pyroscope of which a test plays the compactor; values tell profiles apart."""

    world: World

    def __post_init__(self) -> None:
        self.world.pipeline = self.world.open(settings=OBSERVE)

    def block(self, seconds: float, *values: int, level: int = 1, salt: int = 0, tenant: str = "acme") -> str:
        """Puts a block whose first segment was created so many seconds after NOW_MS."""
        ulid = make_ulid(NOW_MS + round(seconds * 1000), (1000 * level + salt).to_bytes(10))
        lines = [f"level {level}", *(f"{tenant} {value}" for value in values)]
        key = block_key(4, tenant, ulid)
        self.world.source.objects[key] = "\n".join(lines).encode()
        return key

    def delete(self, *keys: str) -> None:
        for key in keys:
            del self.world.source.objects[key]

    def values(self) -> list[int]:
        """Of every profile in a committed block: each once where nothing is lost or doubled."""
        return [value for _, value in self.world.archived_values()]

    def sums(self) -> dict[int, int]:
        """Second of a sample, counted from NOW_MS -> its value."""
        return {round((row["time"] - NOW_MS) / 1000): row["value"] for row in self.world.series()}

    def go_on(self) -> None:
        """Ticks and runs until nothing is due."""
        while ticks.tick(self.world.pipeline).due:
            report = self.world.tick_and_run()
            assert report.run.errors == []


@pytest.fixture
def observed(world: World) -> Observed:
    return Observed(world)


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder))
        return made[-1]

    yield make
    for one in made:
        one.ledger.close()


def test_a_block_of_level_2_whose_sources_were_seen_counts_nothing(observed: Observed) -> None:
    first, second = observed.block(-60, 1, 2), observed.block(-40, 3)
    observed.go_on()
    observed.block(-60, 1, 2, 3, level=2)
    observed.delete(first, second)
    observed.go_on()
    assert observed.values() == [1, 2, 3]
    assert observed.sums() == {-60: 3, -40: 3}
    report = runs.hour_report(observed.world.pipeline, HOUR)
    assert report.sources_by_state == {"done": 3}
    assert report.facts["known_profiles"] == 3
    assert report.set_aside_total == report.undone_jobs == report.pending == 0


def test_a_look_between_ticks_takes_blocks_of_its_hours_and_leaves_others_to_ticks(observed: Observed) -> None:
    pipeline = observed.world.pipeline
    observed.block(-90, 1)
    observed.go_on()
    observed.block(-60, 2)
    observed.block(-1_900, 3, tenant="beta")
    assert ticks.look(pipeline, [HOUR]) == 1
    assert ticks.look(pipeline, [HOUR]) == 0
    assert DueJobs(pipeline.ledger).due_hours(pipeline.clock(), KINDS) == {HOUR: 1}
    tick = ticks.tick(pipeline)
    assert list(tick.arrivals) == ["2026-11-25-12:00"]
    assert set(tick.due) == {"2026-11-25-12:00", HOUR}


def test_a_block_that_went_into_level_2_before_it_was_seen_is_recovered(observed: Observed) -> None:
    observed.block(-60, 1, 2)
    observed.go_on()
    # 3 and 4 were made, merged and deleted while we were away.
    observed.block(-60, 1, 2, 3, 4, level=2)
    observed.go_on()
    assert observed.values() == [1, 2, 3, 4]
    assert runs.hour_report(observed.world.pipeline, HOUR).facts == {
        "known_profiles": 2,
        "recovered_profiles": 2,
        "negative_samples": 2,
    }


def test_where_no_source_was_seen_level_2_counts_whole_at_the_time_of_its_first(observed: Observed) -> None:
    key = observed.block(-60, 1, 2, 3, level=2)
    observed.go_on()
    assert observed.sums() == {-60: 6}
    # As it is, under its own name.
    assert observed.world.blocks() == {key: observed.world.source.objects[key]}


def test_level_3_is_compared_with_what_level_2_gave(observed: Observed) -> None:
    observed.block(-60, 1, 2, level=2)
    observed.go_on()
    observed.block(-60, 1, 2, 3, level=3)
    observed.go_on()
    assert observed.values() == [1, 2, 3]


def test_all_levels_found_at_once_count_each_profile_once_lower_levels_first(observed: Observed) -> None:
    observed.block(-60, 1, 2, 3, 4, 5, level=3)
    observed.block(-60, 1, 2, 3, level=2)
    observed.block(-60, 1)
    observed.block(-50, 2)
    observed.go_on()
    assert observed.values() == [1, 2, 3, 4, 5]
    # Lower levels gave what they have at their own times.
    assert sorted((row["time"] - NOW_MS, row["value"]) for row in observed.world.series())[-1] == (-50_000, 2)
    assert sum(row["value"] for row in observed.world.series()) == 15


def test_a_listed_block_that_is_gone_is_lost_and_loudly_so(observed: Observed) -> None:
    gone = observed.block(-60, 1)
    ticks.tick(observed.world.pipeline)
    observed.delete(gone)
    observed.go_on()
    report = runs.hour_report(observed.world.pipeline, HOUR)
    assert report.sources_by_state == {"lost": 1}
    assert report.jobs_by_state == {"lost": 1}
    assert [(item.key, item.state) for item in report.set_aside] == [(gone, "lost")]
    assert Pardons(observed.world.ledger).count_unheld() == {"lost": 1}


def test_a_lost_block_is_found_again_in_level_2(observed: Observed) -> None:
    gone = [observed.block(-60, 1), observed.block(-40, 2)]
    ticks.tick(observed.world.pipeline)
    observed.delete(*gone)
    observed.go_on()
    assert Pardons(observed.world.ledger).count_unheld() == {"lost": 2}
    # The text engine's profiles end at 2 s after the epoch: say when the last profile of this one was.
    engine = observed.world.engine
    engine.newest_ms = NOW_MS - 30_000
    observed.block(-60, 1, 2, level=2)
    later = observed.block(-20, 3)
    ticks.tick(observed.world.pipeline)
    observed.delete(later)
    observed.go_on()
    assert observed.values() == [1, 2]
    # The one from after its last profile cannot have been in it.
    assert Pardons(observed.world.ledger).count_unheld() == {"lost": 1}
    assert [observed.world.state_of(key) for key in (*gone, later)] == ["done", "done", "lost"]


def test_a_late_block_of_level_1_gives_only_what_was_not_recovered(observed: Observed) -> None:
    observed.block(-60, 1, 2, level=2)
    observed.go_on()
    observed.block(-50, 2, 7)
    observed.go_on()
    assert observed.values() == [1, 2, 7]


def test_other_tenants_and_shards_are_not_compared(observed: Observed) -> None:
    observed.block(-60, 1)
    observed.go_on()
    observed.block(-60, 1, level=2, tenant="globex")
    observed.go_on()
    assert observed.world.archived_values() == [(b"acme", 1), (b"globex", 1)]


def test_level_2_waits_for_lower_levels_that_another_worker_has(observed: Observed) -> None:
    world = observed.world
    observed.block(-60, 1)
    observed.block(-60, 1, 2, level=2)
    ticks.tick(world.pipeline)
    first, _second = DueJobs(world.ledger).due_jobs(HOUR, world.clock(), kinds=frozenset({"dimension"}))
    held = Claims(world.ledger).claim(first, "other", world.clock(), LEASE_MS, RETRY, states=("planned",))
    assert held is not None
    # It is seen to be of level 2, and left until the other one is done.
    assert runs.run(world.pipeline, [HOUR], run_id="run")[HOUR].run.compacted == 0
    assert DueJobs(world.ledger).due_jobs(HOUR, world.clock(), kinds=frozenset({"dimension"})) == []
    world.clock.forward(LEASE_MS / 1000)
    observed.go_on()
    assert observed.values() == [1, 2]


def test_level_1_waits_while_a_higher_level_that_may_hold_it_has_begun(observed: Observed) -> None:
    world = observed.world
    observed.block(-60, 1, 2, level=2)
    ticks.tick(world.pipeline)
    (job_id,) = DueJobs(world.ledger).due_jobs(HOUR, world.clock(), kinds=frozenset({"dimension"}))
    claimed = Claims(world.ledger).claim(job_id, "other", world.clock(), LEASE_MS, RETRY, states=("planned",))
    assert claimed is not None
    Claims(world.ledger).note_level(claimed, 2, 1_000, 2_000)
    assert Claims(world.ledger).claim(job_id, "other", world.clock(), LEASE_MS, RETRY, states=("planned",)) is not None
    observed.block(-50, 2)
    # What cannot be in it is not held up.
    world.clock.forward(5)
    observed.block(2, 9)
    assert sum(ticks.tick(world.pipeline).due.values()) == 1
    observed.go_on()
    assert observed.values() == [9]
    # Its worker died: it goes on, and then the other one.
    world.clock.forward(LEASE_MS / 1000)
    observed.go_on()
    assert observed.values() == [1, 2, 9]


def test_killed_at_every_call_while_recovering(worlds: Callable[[], World]) -> None:
    def begin() -> Observed:
        observed = Observed(worlds())
        observed.block(-60, 1)
        observed.block(-50, 3)
        observed.block(-60, 1, 2, 3, level=2)
        return observed

    clean = begin()
    clean.go_on()
    for number in range(len(clean.world.archive.calls)):
        observed = begin()
        calls = iter(range(10_000))

        def die(method: str, key: str, calls: Iterator[int] = calls, number: int = number) -> None:
            if next(calls) == number:
                raise fakes.Killed(f"{method} {key}")

        observed.world.archive.before = die
        with pytest.raises(fakes.Killed):
            observed.go_on()
        observed.world.archive.before = None
        observed.world.clock.forward(LEASE_MS / 1000)
        observed.go_on()
        assert observed.world.archive.objects == clean.world.archive.objects


@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_whatever_is_seen_when_every_profile_counts_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Blocks of three levels appear, are listed and vanish at any moment; what some listing could show is counted."""
    observed = Observed(World(tmp_path_factory.mktemp("world")))
    levels = {1: [[1], [2], [3], [4]], 2: [[1, 2], [3, 4]], 3: [[1, 2, 3, 4]]}
    waiting = [(level, values) for level, blocks in levels.items() for values in blocks]
    keys: dict[int, list[str]] = {}
    for level, values in waiting:
        keys.setdefault(level, []).append(observed.block(-70 + 5 * values[0], *values, level=level))
        if data.draw(st.booleans()):
            ticks.tick(observed.world.pipeline)
        if data.draw(st.booleans()):
            observed.world.tick_and_run()
        if level > 1:
            # Its sources are deleted, sooner or later.
            sources = [key for key in keys[level - 1] if key in observed.world.source.objects]
            observed.delete(*sources[: data.draw(st.integers(0, len(sources)))])
    observed.go_on()
    assert observed.values() == [1, 2, 3, 4]
    observed.world.ledger.close()


# --- The real engine --------------------------------------------------------------------------------------------


@pytest.fixture
def golden(bucket_2026: Path) -> GoldenBucket:
    return GoldenBucket(bucket_2026)


def raw(golden: GoldenBucket, keys: list[str]) -> list[RawObject]:
    return [RawObject(key, golden.read(key)) for key in keys]


def test_a_made_level_2_block_less_some_of_its_sources_is_the_others(golden: GoldenBucket) -> None:
    blocks = [key for job in golden.jobs for key in golden.level1_keys(job) if key.startswith("blocks/4/acme/")][:4]
    (merged,) = compact(raw(golden, blocks), dedup="original").blocks
    assert merged.meta.level == 2
    level2 = [RawObject(block_key(4, merged.tenant, merged.id), merged.data)]
    for count in range(len(blocks) + 1):
        for known in combinations(blocks, count):
            rest = compact_rest(level2, raw(golden, list(known)), dedup="original", same_level=True)
            others = [key for key in blocks if key not in known]
            if not others:
                assert rest.blocks == []
                continue
            wanted = compact(raw(golden, others), dedup="original")
            (found,) = rest.blocks
            assert (found.meta.level, found.meta.tenant) == (2, b"acme")
            assert sorted(rest.columns.rows.time_ns) == sorted(wanted.columns.rows.time_ns)
            assert rest.columns.rows.value.sum() == wanted.columns.rows.value.sum()


@pytest.mark.parametrize("is_lying", [False, True], ids=["", "its metadata claims other times"])
def test_real_blocks_merged_while_we_were_away_lose_and_double_nothing(
    golden: GoldenBucket, tmp_path: Path, is_lying: bool
) -> None:
    blocks = sorted(key for job in golden.jobs for key in golden.level1_keys(job) if key.startswith("blocks/4/acme/"))
    (merged,) = compact(raw(golden, blocks), dedup="original").blocks
    data = merged.data
    if is_lying:
        data = mutations.with_metadata(data, lambda meta: meta.update(min_time=1, max_time=2))
    seen = blocks[:3]
    source = tmp_path / "source"
    for key in seen:
        (source / key).parent.mkdir(parents=True)
        (source / key).write_bytes(golden.read(key))
    totals = []
    for folder in (source, golden.root):
        archive = tmp_path / f"archive-{len(totals)}"
        with open_app(
            str(folder),
            str(archive),
            str(archive) + ".db",
            settings=Settings(compaction="observe"),
            config=SeriesConfig(),
        ) as pipeline:
            _run_all(pipeline)
            if folder == source:
                for key in seen:
                    (source / key).unlink()
                (source / block_key(4, merged.tenant, merged.id)).parent.mkdir(parents=True)
                (source / block_key(4, merged.tenant, merged.id)).write_bytes(data)
                _run_all(pipeline)
            assert all(runs.verify_hour(pipeline, hour).equal for hour in HourRecords(pipeline.ledger).hours())
        totals.append(_totals(archive))
    assert totals[0] == totals[1]


def _run_all(pipeline: App) -> None:
    while ticks.tick(pipeline).due:
        for report in runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run").values():
            assert report.run.errors == []


def _totals(archive: Path) -> dict[Any, int]:
    """Metric -> the sum over all series of tenant acme in shard 4."""
    import polars as pl

    frame = pl.concat([pl.read_parquet(path) for path in sorted(archive.glob("series/kind=dimension/**/*.parquet"))])
    of_shard = {"name": "pyroscope_shard", "value": "4"}
    rows = [row for row in frame.to_dicts() if row["tenant"] == "acme" and of_shard in row["labels"]]
    totals: dict[Any, int] = {}
    for row in rows:
        if "inuse" not in row["metric"] and "goroutine" not in row["metric"]:
            key = (row["metric"], json.dumps(row["labels"]))
            totals[key] = totals.get(key, 0) + row["value_int"]
    return totals
