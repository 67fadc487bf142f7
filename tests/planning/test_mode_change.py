"""From own to observe mode and back: refused while work is pending, no profile lost or doubled across the change."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pyro_assets.app import App, open_app
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.errors import SettingsError
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import Settings
from pyro_assets.storage.keys import block_key
from pyro_assets.storage.ulid import make_ulid
from tests.support.golden_bucket import GoldenBucket
from tests.support.ledgers import HOUR, NOW_MS
from tests.support.parquet_world import ParquetWorld
from tests.support.worlds import SETTINGS, World

OWN = SETTINGS
OBSERVE = SETTINGS.model_copy(update={"compaction": "observe"})


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

    def step(self, pipeline: App) -> None:
        ticks.tick(pipeline)
        runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")

    def finish(self, pipeline: App) -> None:
        """Until nothing is due, when all segments are old enough."""
        self.world.clock.forward(10)
        while ticks.tick(pipeline).due:
            reports = runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")
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
    ticks.tick(four.own)
    with pytest.raises(SettingsError) as refused:
        ticks.tick(four.observe)
    assert str(refused.value) == (
        f"observe mode cannot begin: 1 jobs of own mode are not done, the first of hour {HOUR}; "
        "`pyro-assets run --mode own` does them"
    )
    assert SourceRecords(four.world.ledger).cursors() == {
        "segments/4/anonymous/": SourceRecords(four.world.ledger).cursors().popitem()[1]
    }
    four.finish(four.own)
    ticks.tick(four.observe)
    assert Modes(four.world.ledger).mode_in_force() is not None


def test_refused_while_a_job_that_was_given_up_is_undecided(four: Both) -> None:
    four.world.engine.fail["compact"] = RuntimeError("no")
    for _ in range(20):
        four.step(four.own)
        four.world.clock.forward(100)
    assert runs.hour_report(four.own, HOUR).jobs_by_state.get("quarantined")
    with pytest.raises(SettingsError, match="given up, `pyro-assets quarantine list`"):
        ticks.tick(four.observe)


def test_what_no_job_has_yet_is_left_to_the_new_mode(four: Both) -> None:
    four.step(four.own)  # a job of three; the fourth segment waits for more
    assert four.values() == [1, 2, 3]
    four.compact()
    four.finish(four.observe)
    assert four.values() == [1, 2, 3, 4]
    assert ticks.tick(four.observe).waiting_sources == 0


def test_a_block_that_lies_across_the_change_gives_only_what_own_mode_did_not_have(both: Both) -> None:
    for _ in range(3):
        both.segment()
    both.finish(both.own)
    for _ in range(3):
        both.segment()
    both.compact()
    both.finish(both.observe)
    assert both.values() == [1, 2, 3, 4, 5, 6]
    assert runs.hour_report(both.observe, HOUR).facts["known_profiles"] == 3


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
    ticks.tick(both.own)
    ticks.tick(both.observe)
    both.world.clock.forward(10)
    with pytest.raises(SettingsError, match="went over to observe mode 10 s ago: another process still runs in own"):
        ticks.tick(both.own)
    ticks.tick(both.observe)
    both.world.clock.forward(590)
    ticks.tick(both.own)


def test_a_tick_of_the_old_mode_that_is_under_way_plans_nothing(four: Both) -> None:
    policy = Modes(four.world.ledger).enter_mode(_policy(OWN), four.world.clock())
    ticks.tick(four.observe)
    found = [runs.found(four.own, key) for key in four.world.source.objects]
    assert SourceRecords(four.world.ledger).record_sources(found, {}, four.world.clock(), policy).new == ()
    assert Planner(four.world.ledger).plan(four.world.clock(), policy) == 0


def test_another_rule_of_duplicates_holds_for_jobs_planned_from_then_on(four: Both) -> None:
    ticks.tick(four.own)
    other = four.world.open(settings=OWN.model_copy(update={"dedup": "original"}))
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
    assert Modes(lost).mode_in_force() is not None
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
    with open_app(*where, settings=Settings(dedup="original"), config=SeriesConfig()) as pipeline:
        runs.run_exact(pipeline, cut, run_id="run")
    with open_app(*where, settings=Settings(compaction="observe"), config=SeriesConfig()) as pipeline:
        while ticks.tick(pipeline).due:
            reports = runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")
            assert [report.run.errors for report in reports.values()] == [[] for _ in reports]
        found = sum(runs.hour_report(pipeline, hour).profiles for hour in HourRecords(pipeline.ledger).hours())
    with open_app(
        str(golden.root),
        str(tmp_path / "clean"),
        str(tmp_path / "clean.db"),
        settings=Settings(compaction="observe"),
        config=SeriesConfig(),
    ) as pipeline:
        ticks.tick(pipeline)
        runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")
        hours = HourRecords(pipeline.ledger).hours()
        assert found == sum(runs.hour_report(pipeline, hour).profiles for hour in hours) > 1000


def _timestamp(record: dict[str, int]) -> int:
    return record["timestamp_ms"]


def _policy(settings: Settings) -> object:
    from pyro_assets.planning.tick import policy_of

    return policy_of(settings)
