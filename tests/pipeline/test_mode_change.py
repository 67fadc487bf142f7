"""From own to observe mode and back: refused while work is pending, no profile lost or doubled across the change."""

from dataclasses import replace
from pathlib import Path

import pytest
from golden_bucket import GoldenBucket
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ledgers import HOUR, NOW_MS
from parquet_world import ParquetWorld
from worlds import SETTINGS, World

from pyro_assets.errors import SettingsError
from pyro_assets.pipeline.pipeline import Pipeline, open_pipeline
from pyro_assets.pipeline.rebuilding import rebuild
from pyro_assets.pipeline.settings import Settings
from pyro_assets.series.config import SeriesConfig
from pyro_assets.storage.keys import block_key
from pyro_assets.storage.ulid import make_ulid

OWN = SETTINGS
OBSERVE = replace(SETTINGS, mode="observe")


class Both:
    """A world in which Pyroscope compacts too: every segment has one profile of its own, told by its value."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.own = world.open(settings=OWN)
        self.observe = world.open(settings=OBSERVE)
        self.made = 0
        self.waiting: list[tuple[int, int]] = []

    def segment(self) -> None:
        """A segment, created now."""
        self.made += 1
        now_ms = self.world.clock.forward(1.0)
        self.world.segment((now_ms - NOW_MS) / 1000, f"acme {self.made}")
        self.waiting.append((now_ms, self.made))

    def compact(self) -> None:
        """Pyroscope makes a level-1 block of all segments that it has not had."""
        if self.waiting:
            (first_ms, salt), values = self.waiting[0], [value for _, value in self.waiting]
            key = block_key(4, "acme", make_ulid(first_ms, salt.to_bytes(10)))
            lines = ["level 1", *(f"acme {value}" for value in values)]
            self.world.source.objects[key] = "\n".join(lines).encode()
            self.waiting = []

    def step(self, pipeline: Pipeline) -> None:
        pipeline.tick()
        pipeline.run(pipeline.hours(), run_id="run")

    def finish(self, pipeline: Pipeline) -> None:
        """Until nothing is due, when all segments are old enough."""
        self.world.clock.forward(10)
        while pipeline.tick().due:
            reports = pipeline.run(pipeline.hours(), run_id="run")
            assert [report.run.errors for report in reports.values()] == [[] for _ in reports]

    def values(self) -> list[int]:
        return [value for _, value in self.world.archived_values()]


@pytest.fixture
def both(world: World) -> Both:
    return Both(world)


@pytest.fixture
def four(both: Both) -> Both:
    for _ in range(4):
        both.segment()
    return both


def test_refused_while_jobs_of_the_other_mode_are_not_done(four: Both) -> None:
    four.own.tick()
    with pytest.raises(SettingsError) as refused:
        four.observe.tick()
    assert str(refused.value) == (
        f"observe mode cannot begin: 1 jobs of own mode are not done, the first of hour {HOUR}; "
        "`pyro-assets run --mode own` does them"
    )
    assert four.world.ledger.cursors() == {"segments/4/anonymous/": four.world.ledger.cursors().popitem()[1]}
    four.finish(four.own)
    four.observe.tick()
    assert four.world.ledger.mode_in_force() is not None


def test_refused_while_a_job_that_was_given_up_is_undecided(four: Both) -> None:
    four.world.engine.fail["compact"] = RuntimeError("no")
    for _ in range(20):
        four.step(four.own)
        four.world.clock.forward(100)
    assert four.own.hour_report(HOUR).jobs_by_state.get("quarantined")
    with pytest.raises(SettingsError, match="given up, `pyro-assets quarantine list`"):
        four.observe.tick()


def test_what_no_job_has_yet_is_left_to_the_new_mode(four: Both) -> None:
    four.step(four.own)  # a job of three; the fourth segment waits for more
    assert four.values() == [1, 2, 3]
    four.compact()
    four.finish(four.observe)
    assert four.values() == [1, 2, 3, 4]
    assert four.observe.tick().waiting_sources == 0


def test_a_block_that_lies_across_the_change_gives_only_what_own_mode_did_not_have(both: Both) -> None:
    for _ in range(3):
        both.segment()
    both.finish(both.own)
    for _ in range(3):
        both.segment()
    both.compact()
    both.finish(both.observe)
    assert both.values() == [1, 2, 3, 4, 5, 6]
    assert both.observe.hour_report(HOUR).facts["known_profiles"] == 3


def test_segments_of_an_observed_block_are_left_out_when_own_mode_begins(both: Both) -> None:
    for _ in range(3):
        both.segment()
    both.compact()
    both.finish(both.observe)
    both.segment()
    both.finish(both.own)
    assert both.values() == [1, 2, 3, 4]
    # Pyroscope goes on compacting, and nobody looks.
    both.compact()
    both.finish(both.own)
    assert both.values() == [1, 2, 3, 4]


def test_two_processes_with_different_modes_do_not_take_turns(both: Both) -> None:
    both.own.tick()
    both.observe.tick()
    both.world.clock.forward(10)
    with pytest.raises(SettingsError, match="went over to observe mode 10 s ago: another process still runs in own"):
        both.own.tick()
    both.observe.tick()
    both.world.clock.forward(590)
    both.own.tick()


def test_a_tick_of_the_old_mode_that_is_under_way_plans_nothing(four: Both) -> None:
    policy = four.world.ledger.enter_mode(_policy(OWN), four.world.clock())
    four.observe.tick()
    found = [four.own._found(key) for key in four.world.source.objects]
    assert four.world.ledger.record_sources(found, {}, four.world.clock(), policy).new == ()
    assert four.world.ledger.plan(four.world.clock(), policy) == 0


def test_another_rule_of_duplicates_holds_for_jobs_planned_from_then_on(four: Both) -> None:
    four.own.tick()
    other = four.world.open(settings=replace(OWN, dedup="original"))
    four.finish(other)
    assert four.values() == [1, 2, 3, 4]
    assert [(record["dedup"], len(record["sources"])) for record in sorted(four.world.records(), key=_timestamp)] == [
        ("exact", 3),
        ("original", 1),
    ]


def test_a_rebuilt_ledger_knows_where_the_modes_met(tmp_path: Path) -> None:
    both = Both(ParquetWorld(tmp_path))
    for _ in range(3):
        both.segment()
    both.finish(both.own)
    both.segment()
    both.compact()
    both.finish(both.observe)
    lost = both.world.ledger
    (tmp_path / "new").mkdir()
    world = ParquetWorld(tmp_path / "new")
    world.source, world.archive, world.clock = both.world.source, both.world.archive, both.world.clock
    rebuild(world.ledger, world.archive, world.clock())
    again = Both(world)
    again.finish(again.observe)
    assert again.values() == [1, 2, 3, 4]
    world.ledger.close()
    assert lost.mode_in_force() is not None
    lost.close()


@hypothesis_settings(deadline=None, max_examples=10)
@given(data=st.data())
def test_whenever_modes_change_every_profile_counts_once(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    both = Both(World(tmp_path_factory.mktemp("world")))
    modes = [both.own, both.observe]
    for _ in range(data.draw(st.integers(1, 18))):
        action = data.draw(
            st.sampled_from(["segment", "segment", "segment", "compact", "step", "step", "change", "wait"])
        )
        if action == "segment":
            both.segment()
        elif action == "compact":
            both.compact()
        elif action == "step":
            both.step(modes[0])
        elif action == "wait":
            # Pyroscope does not wait with its segments.
            both.compact()
            both.world.clock.forward(600)
        else:
            if data.draw(st.booleans()):
                both.finish(modes[0])
            try:
                both.step(modes[1])
            except SettingsError:
                continue  # refused: the old mode goes on
            modes.reverse()
    both.compact()
    both.finish(modes[0])
    assert both.values() == list(range(1, both.made + 1))
    both.world.ledger.close()


def test_real_blocks_across_the_change(bucket_2026: Path, tmp_path: Path) -> None:
    """Own mode does the first segments of each shard, observe mode the rest: each profile is there once."""
    golden = GoldenBucket(bucket_2026)
    segments = sorted(key for job in golden.jobs for key in job)
    where = (str(golden.root), str(tmp_path / "archive"), str(tmp_path / "ledger.db"))
    # Jobs of our own, which end in the middle of Pyroscope's.
    cut = [[key for key in segments if key.split("/")[1] == shard][:27] for shard in ("1", "2", "4")]
    with open_pipeline(*where, settings=Settings(dedup="original"), config=SeriesConfig()) as pipeline:
        pipeline.run_exact(cut, run_id="run")
    with open_pipeline(*where, settings=Settings(mode="observe"), config=SeriesConfig()) as pipeline:
        while pipeline.tick().due:
            reports = pipeline.run(pipeline.hours(), run_id="run")
            assert [report.run.errors for report in reports.values()] == [[] for _ in reports]
        found = sum(pipeline.hour_report(hour).profiles for hour in pipeline.hours())
    with open_pipeline(
        str(golden.root),
        str(tmp_path / "clean"),
        str(tmp_path / "clean.db"),
        settings=Settings(mode="observe"),
        config=SeriesConfig(),
    ) as pipeline:
        pipeline.tick()
        pipeline.run(pipeline.hours(), run_id="run")
        assert found == sum(pipeline.hour_report(hour).profiles for hour in pipeline.hours()) > 1000


def _timestamp(record: dict[str, int]) -> int:
    return record["timestamp_ms"]


def _policy(settings: Settings) -> object:
    from pyro_assets.pipeline.ticking import policy_of

    return policy_of(settings)
