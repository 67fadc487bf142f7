"""Runs: what is done, what is reported, what a bad source, a bad rule or a bad bucket leaves undone."""

import json
import time
from pathlib import Path

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.errors import (
    JobConflict,
    LedgerUnavailable,
    NotABlockKey,
    ObjectMissing,
    SettingsError,
    StorageUnavailable,
    ValueOverflow,
)
from pyro_assets.jobs.counts import Progress
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.hours import HourRecords, ServiceSamples, SetAside
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.reports import Lag
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.runs import Step
from pyro_assets.planning.due import DueJobs
from pyro_assets.series.derive import instance_hash
from pyro_assets.settings import KINDS
from pyro_assets.storage.keys import block_key, commit_key, series_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledgers import HOUR, LEASE_MS, NOW_MS
from tests.support.worlds import SETTINGS, World

SERIES_STEPS: frozenset[Step] = frozenset({"dimension_series", "function_series"})


def test_does_what_is_due(world: World) -> None:
    for second in range(3):
        world.segment(-30 + second, f"acme {second}\nglobex 10")
    report = world.tick_and_run()
    assert report.run.summary == "compacted 1 jobs, derived 1 jobs"
    assert world.archived_values() == world.source_values()
    assert sorted((row["tenant"], row["value"], row["time"]) for row in world.series()) == [
        ("acme", 3, NOW_MS - 30_000),
        ("globex", 30, NOW_MS - 30_000),
    ]
    assert len(world.series("function")) == 2
    assert (report.segments, report.shards, report.blocks, report.pending, report.undone_jobs) == (3, 1, 2, 0, 0)
    assert (report.profiles, report.samples, report.duplicates) == (6, 60, 2)
    assert report.series == {"dimension": 2, "function": 2}
    assert report.bytes_in == sum(map(len, world.source.objects.values()))
    assert report.bytes_out == sum(map(len, world.blocks().values()))
    assert report.services == (ServiceSamples("acme", "web", 30, 3), ServiceSamples("globex", "web", 30, 3))
    assert report.services[0].unsymbolised_share == 0.1
    assert report.facts == {"dangling": 1, "negative_samples": 1}
    assert report.examples == ("a and b",)
    assert report.lag == Lag(1, 30.0, 30.0, 30.0)
    assert (report.oldest_ms, report.newest_ms, report.complete) == (1_000, 2_000, False)
    assert json.dumps(report.to_dict())


def test_says_that_there_is_nothing_to_do(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    objects = dict(world.archive.objects)
    assert world.tick_and_run().run.summary == "nothing to do"
    empty = runs.run(world.pipeline, ["2026-11-25-01:00"], run_id="x")["2026-11-25-01:00"]
    assert (empty.run.nothing_to_do, empty.segments, empty.lag) == (True, 0, None)
    assert world.archive.objects == objects


def test_a_run_takes_only_its_hours_oldest_first(world: World) -> None:
    for second in (-150, -3_000, -7_000):
        world.segment(second)
    ticks.tick(world.pipeline)
    hours = ["2026-11-25-13:00", "2026-11-25-12:00"]
    seen: list[Progress] = []
    reports = runs.run(world.pipeline, hours, run_id="run", progress=seen.append)
    assert [(at.hour, at.done, at.total) for at in seen] == [(hours[1], 1, 2), (hours[0], 2, 2)]
    assert list(reports) == sorted(hours)
    assert DueJobs(world.pipeline.ledger).due_hours(world.pipeline.clock(), KINDS) == {"2026-11-25-11:00": 1}


def test_an_hour_is_complete_when_it_is_over_and_done(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    world.clock.forward(1800 + 119)
    assert not runs.hour_report(world.pipeline, HOUR).complete
    world.clock.forward(1)
    # Done as far as anybody knows: nobody has looked since it is over.
    assert not runs.hour_report(world.pipeline, HOUR).complete
    ticks.list_hours(world.pipeline, [HOUR])
    assert runs.hour_report(world.pipeline, HOUR).complete
    world.segment(-40)
    ticks.tick(world.pipeline)
    late = runs.hour_report(world.pipeline, HOUR)
    assert (late.complete, late.pending, late.oldest_pending_age_seconds(world.clock())) == (False, 1, 1960.0)


def test_the_record_says_everything_and_nothing_of_the_moment(world: World) -> None:
    good, broken, gone = world.segment(-30), world.segment(-29, "broken"), world.segment(-28)
    ticks.tick(world.pipeline)
    del world.source.objects[gone]
    world.clock.forward(100)
    world.tick_and_run()
    (record,) = world.records()
    assert {source["key"]: source["state"] for source in record["sources"]} == {
        good: "done",
        broken: "set_aside",
        gone: "lost",
    }
    assert record["sources"][1]["failure"] == {
        "cause": "ChecksumMismatch",
        "message": record["sources"][1]["failure"]["message"],
        "section": "text",
        "offset": 4,
    }
    (output,) = record["outputs"]
    assert world.archive.objects[output["key"]] == b"level 1\nacme 5"
    assert record["instance"] == instance_hash(4, 1)
    assert list(world.archive.objects).count(commit_key(HOUR, 4, record["job"])) == 1


def test_a_broken_source_is_set_aside_and_everything_else_done(world: World) -> None:
    world.segment(-30, "acme 1")
    broken = world.segment(-29, "broken")
    world.segment(-28, "acme 2")
    report = world.tick_and_run()
    assert report.run.summary == "compacted 1 jobs, derived 1 jobs"
    assert world.archived_values() == world.source_values()
    ((key, state, reason),) = [(item.key, item.state, item.reason) for item in report.set_aside]
    assert (key, state, report.set_aside_total) == (broken, "set_aside", 1)
    assert reason.startswith("ChecksumMismatch: CRC of text")
    (kept,) = QuarantineRecords(world.ledger).kept_failures(HOUR)
    assert (kept.subject_id, kept.failure.offset) == (broken, 4)


def test_an_empty_object_is_set_aside(world: World) -> None:
    empty = world.segment(-30, "")
    world.segment(-29)
    world.tick_and_run()
    assert world.state_of(empty) == "set_aside"
    assert world.archived_values() == [(b"acme", 5)]


def test_what_cannot_be_read_is_read_once_more(world: World) -> None:
    key = world.segment(-30)
    reads = 0

    def flip(method: str, name: str) -> None:
        nonlocal reads
        if (method, name) == ("read", key):
            reads += 1
            world.source.objects[key] = b"broken" if reads == 1 else b"acme 5"

    world.source.before = flip
    report = world.tick_and_run()
    assert (reads, report.set_aside, world.archived_values()) == (2, (), [(b"acme", 5)])


def test_a_vanished_source_is_lost_and_the_rest_done(world: World) -> None:
    world.segment(-30, "acme 1")
    gone = world.segment(-29, "acme 2")
    ticks.tick(world.pipeline)
    del world.source.objects[gone]
    report = world.tick_and_run()
    assert report.set_aside == (SetAside(gone, "lost", "it was gone from the bucket before it was read"),)
    assert world.archived_values() == [(b"acme", 1)]
    assert report.jobs_by_state == {"derived": 1}


def test_a_job_whose_sources_are_all_gone_is_lost(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    world.source.objects.clear()
    report = world.tick_and_run()
    assert (report.jobs_by_state, report.sources_by_state) == ({"lost": 1}, {"lost": 1})
    assert (report.pending, report.undone_jobs, world.blocks()) == (0, 0, {})
    assert world.records()[0]["outputs"] == []


def test_a_job_whose_sources_are_all_bad_ends_without_outputs(world: World) -> None:
    world.segment(-30, "broken")
    world.segment(-29, "broken too")
    report = world.tick_and_run()
    assert report.jobs_by_state == {"derived": 1}
    assert (report.blocks, report.pending, report.set_aside_total, report.series) == (
        0,
        0,
        2,
        {"dimension": 0, "function": 0},
    )
    assert "derive" not in world.engine.calls


def test_a_source_that_grew_since_it_was_listed_is_read_whole(world: World) -> None:
    key = world.segment(-30, "acme 1")
    ticks.tick(world.pipeline)
    world.source.objects[key] = b"acme 1\nacme 2"
    assert world.tick_and_run().bytes_in == len("acme 1")  # as planned
    assert world.archived_values() == [(b"acme", 1), (b"acme", 2)]
    assert world.records()[0]["sources"][0]["size_bytes"] == len("acme 1\nacme 2")


def test_a_source_that_keeps_changing_is_tried_again_later(world: World) -> None:
    key = world.segment(-30, "acme 1")
    ticks.tick(world.pipeline)

    def grow(method: str, name: str) -> None:
        if method in ("read", "size") and name == key:
            world.source.objects[key] += b"\nacme 1"

    world.source.before = grow
    report = world.tick_and_run()
    assert (report.run.failed, report.jobs_by_state, world.blocks()) == (1, {"planned": 1}, {})
    world.source.before = None
    world.clock.forward(5)
    assert world.tick_and_run().jobs_by_state == {"derived": 1}
    assert world.archived_values() == world.source_values()


def test_a_failed_derivation_leaves_the_compaction_committed(world: World) -> None:
    world.segment(-30)
    world.engine.fail["derive"] = ValueOverflow("the sum does not fit")
    report = world.tick_and_run()
    assert (report.run.compacted, report.run.derived, report.run.failed) == (1, 0, 1)
    assert "ValueOverflow: the sum does not fit" in report.run.errors[0]
    assert (report.jobs_by_state, report.blocks, report.pending) == ({"compacted": 1}, 1, 1)
    world.engine.fail.clear()
    world.engine.calls.clear()
    world.clock.forward(5)
    report = world.tick_and_run()
    assert report.run.summary == "derived 1 jobs"
    # From the archive's blocks: the sources may be gone by now.
    assert "compact" not in world.engine.calls
    assert report.jobs_by_state == {"derived": 1}


def test_a_poisoned_job_holds_up_no_other(world: World) -> None:
    world.segment(-30, "poison x", shard=1)
    world.segment(-29, shard=2)
    report = world.tick_and_run()
    assert (report.run.derived, report.run.failed) == (1, 1)
    for _ in range(2):
        world.clock.forward(60)
        report = world.tick_and_run()
    assert report.jobs_by_state == {"quarantined": 1, "derived": 1}
    assert "given up after 3 attempts" in report.run.errors[0]
    assert report.undone_jobs == 1
    (kept,) = QuarantineRecords(world.ledger).kept_failures(HOUR)
    assert (kept.failure.cause, kept.failures, kept.given_up) == ("ValueError", 3, True)


@pytest.mark.parametrize("bucket", ["source", "archive"])
def test_an_outage_is_waited_out(world: World, bucket: str) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)

    def outage(method: str, key: str) -> None:
        if method in ("read", "create", "replace"):
            raise StorageUnavailable("no answer", key=key)

    getattr(world, bucket).before = outage
    for _ in range(10):
        report = world.tick_and_run()
        assert (report.run.failed, report.sources_by_state) == (1, {"planned": 1})
        world.clock.forward(5)
    getattr(world, bucket).before = None
    assert world.tick_and_run().jobs_by_state == {"derived": 1}


def test_a_deadline_leaves_the_rest_to_the_next_run(world: World) -> None:
    for second in range(9):
        world.segment(-30 + second)
    ticks.tick(world.pipeline)
    report = runs.run(world.pipeline, [HOUR], run_id="run", deadline_monotonic=time.monotonic() - 1)[HOUR]
    assert report.run.summary == "left 3 for the next run"
    assert world.tick_and_run().run.derived == 3


def test_lanes_do_their_shards(world: World) -> None:
    for shard in range(4):
        world.segment(-30, shard=shard)
    ticks.tick(world.pipeline)
    for index in range(2):
        assert runs.run(world.pipeline, [HOUR], run_id="run", lane=Lane(index, 2))[HOUR].run.derived == 2


def test_only_compaction_then_only_one_kind(world: World) -> None:
    world.segment(-30)
    report = world.tick_and_run(steps=frozenset({"l1_blocks"}))
    assert (report.run.summary, report.jobs_by_state) == ("compacted 1 jobs", {"compacted": 1})
    assert world.tick_and_run(steps=frozenset({"l1_blocks"})).run.nothing_to_do
    report = world.tick_and_run(steps=frozenset({"l1_blocks", "dimension_series"}))
    assert (report.run.derived, report.series, report.jobs_by_state) == (1, {"dimension": 1}, {"compacted": 1})
    assert world.tick_and_run().series == {"dimension": 1, "function": 1}
    assert runs.hour_report(world.pipeline, HOUR).jobs_by_state == {"derived": 1}


def test_a_backfill_of_a_rule_derives_again_from_the_archive(world: World) -> None:
    for second in range(6):
        world.segment(-30 + second, f"acme {second}")
    world.tick_and_run()
    before = dict(world.archive.objects)
    world.source.objects.clear()
    world.engine.calls.clear()
    report = runs.run(world.open("better"), [HOUR], frozenset({"function_series"}), run_id="backfill")[HOUR]
    assert (report.run.derived, report.run.compacted) == (2, 0)
    assert {row["by"] for row in world.series("function")} == {"better"}
    assert {row["by"] for row in world.series("dimension")} == {"plain"}
    changed = {key for key, data in world.archive.objects.items() if before.get(key) != data}
    # The rules that it had are a record beside the others'.
    changed.remove("rules/snapshots/hash-better.json")
    assert changed == {key for key in before if key.startswith("series/kind=function/")}
    assert set(world.engine.calls) == {"read_blocks", "derive", "series_to_parquet"}
    assert [row["time"] for row in world.series("function")] == [row["time"] for row in world.series("dimension")]


def test_a_backfill_does_not_compact_and_says_when_there_is_nothing(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    report = runs.run(world.pipeline, [HOUR], SERIES_STEPS, run_id="backfill")[HOUR]
    assert (report.run.summary, report.jobs_by_state) == ("nothing to do", {"planned": 1})


def test_a_rule_that_was_backfilled_equals_one_that_existed_all_along(world: World, tmp_path: Path) -> None:
    for second in range(6):
        world.segment(-30 + second, f"acme {second}\nglobex 7")
    world.tick_and_run()
    runs.run(world.open("better"), [HOUR], SERIES_STEPS, run_id="backfill")
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other")
    other.source.objects = world.source.objects
    other.tick_and_run(other.open("better"))
    assert world.archive.objects.pop("rules/snapshots/hash-plain.json")
    assert other.archive.objects == world.archive.objects
    other.ledger.close()


def test_a_damaged_archive_fails_the_backfill_by_name(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    (key,) = world.blocks()
    world.archive.objects[key] = b"level 1\nacme 6"
    report = runs.run(world.pipeline, [HOUR], SERIES_STEPS, run_id="backfill")[HOUR]
    assert report.run.failed == 1
    assert "ChecksumMismatch" in report.run.errors[0]
    assert report.jobs_by_state == {"derived": 1}


def test_exactly_these_jobs_in_this_order(world: World) -> None:
    keys = [world.segment(-30 + second, f"acme {second}") for second in range(5)]
    other = world.segment(-30, shard=9)
    seen: list[Progress] = []
    reports = runs.run_exact(world.pipeline, [[keys[4], keys[0]], [keys[1]]], run_id="run", progress=seen.append)
    assert reports[HOUR].run.derived == 2
    assert {(row["value"], row["time"]) for row in world.series()} == {(4, NOW_MS - 26_000), (1, NOW_MS - 29_000)}
    assert [source["key"] for record in world.records() for source in record["sources"]].count(other) == 0
    assert seen[0].job_id == next(r["job"] for r in world.records() if len(r["sources"]) == 2)
    assert reports[HOUR].sources_by_state == {"done": 3}
    # Again does nothing; the rest is planned as ever.
    again = runs.run_exact(world.pipeline, [[keys[4], keys[0]], [keys[1]]], run_id="run")
    assert again[HOUR].run.nothing_to_do
    world.tick_and_run()
    assert world.archived_values() == world.source_values()


def test_exact_jobs_that_cannot_be_are_refused(world: World) -> None:
    key, other = world.segment(-30), world.segment(-30, shard=9)
    for jobs, error in (
        ([[key, other]], JobConflict),
        ([["what/is/this"]], NotABlockKey),
        ([[key.replace("/4/", "/5/")]], ObjectMissing),
    ):
        with pytest.raises(error):
            runs.run_exact(world.pipeline, jobs, run_id="run")
    assert HourRecords(world.pipeline.ledger).hours() == []


def test_observe_mode_copies_level_1_blocks(world: World) -> None:
    ulid = make_ulid(NOW_MS - 30_000, bytes(10))
    for tenant, level in (("acme", 1), ("globex", 1), ("initech", 0)):
        world.source.objects[block_key(4, tenant, ulid)] = b"level %d\n%s 5" % (level, tenant.encode())
    world.segment(-30)
    observer = world.open(settings=SETTINGS.model_copy(update={"compaction": "observe"}))
    report = world.tick_and_run(observer)
    assert (report.run.compacted, report.run.derived) == (3, 3)
    keys = [block_key(4, tenant, ulid) for tenant in ("acme", "globex")]
    assert world.blocks() == {key: world.source.objects[key] for key in keys}
    assert [(row["tenant"], row["time"]) for row in sorted(world.series(), key=lambda row: row["tenant"])] == [
        ("acme", NOW_MS - 30_000),
        ("globex", NOW_MS - 30_000),
    ]
    assert report.set_aside[0].reason.startswith("OtherLevel: its compaction level is 0")
    assert "compact" not in world.engine.calls


def test_a_run_that_derives_needs_a_configuration(world: World) -> None:
    bare = App(world.source, world.archive, world.ledger, SETTINGS, engine=world.engine.engine, clock=world.clock)
    world.segment(-30)
    ticks.tick(bare)
    with pytest.raises(SettingsError, match="configuration"):
        runs.run(bare, [HOUR], run_id="run")
    assert runs.run(bare, [HOUR], frozenset({"l1_blocks"}), run_id="run")[HOUR].run.compacted == 1


def test_interrupted_by_a_person_gives_its_job_back(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    world.engine.fail["compact"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        runs.run(world.pipeline, [HOUR], run_id="run")
    world.engine.fail.clear()
    assert world.tick_and_run().run.derived == 1


def test_a_ledger_that_fails_stops_the_run(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    world.engine.fail["compact"] = LedgerUnavailable("disk full")
    with pytest.raises(LedgerUnavailable):
        runs.run(world.pipeline, [HOUR], run_id="run")
    world.engine.fail.clear()
    world.clock.forward(LEASE_MS / 1000)
    assert world.tick_and_run().run.derived == 1


def test_opening(tmp_path: Path) -> None:
    source, archive, ledger = (str(tmp_path / name) for name in ("source", "archive", "ledger.db"))
    with open_app(source, archive, ledger) as pipeline:
        assert ticks.tick(pipeline).arrivals == {}
        assert HourRecords(pipeline.ledger).hours() == []
    assert not Path(source).exists()
    for other in (source, f"{source}/inside", str(tmp_path), f"file://{source}/"):
        with pytest.raises(SettingsError, match="same place"):
            open_app(source, other, ledger)


def test_series_keys_are_those_of_the_archive(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    (record,) = world.records()
    assert {key for key in world.archive.objects if key.startswith("series/")} == {
        series_key(kind, HOUR, record["job"]) for kind in ("dimension", "function")
    }


def test_fakes_are_whole() -> None:
    assert set(fakes.TextEngine().engine.__slots__) == {
        "compact",
        "compact_rest",
        "read_blocks",
        "summarise",
        "derive",
        "series_to_parquet",
        # Texts have no rules: what concerns these is tested with the real one.
        "replace_rules",
        # Nor are they done several at once.
        "summarise_jobs",
        "compact_jobs",
        "derive_jobs",
    }
