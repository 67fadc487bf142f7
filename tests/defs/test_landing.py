"""The sensor as a table of cases, through Dagster's own entry point."""

import json
from dataclasses import dataclass, field, replace

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.defs.due import LiveRun, Watch
from pyro_assets.defs.jobs import lane_of
from pyro_assets.defs.sensors import WELL, decide
from pyro_assets.errors import LedgerUnavailable, StorageUnavailable
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.now import Alert
from pyro_assets.operations.decide import Item, LeftOut
from pyro_assets.planning.report import HourArrivals, TickReport
from pyro_assets.storage.keys import hour_start_ms
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

NOW = "2026-11-25-13:00"
BEFORE = "2026-11-25-12:00"
LATE = "2026-11-25-09:00"
FUTURE = "2026-11-25-14:00"
NOW_MS = hour_start_ms(NOW) + 600_000
ARRIVALS = HourArrivals(3, 66_000, 2, NOW_MS - 4_200, NOW_MS - 300)

NOTHING = "landed: nothing new; due: nothing"
LANDED = f"landed: 3 segments (0.1 MiB) of {NOW}"
YOUNG = "3 segments wait for more or for their age"


def tick(now_ms: int = NOW_MS, **what) -> TickReport:
    return TickReport(now_ms, **what)


@dataclass
class Case:
    """What a tick finds -> what it asks for."""

    tick: TickReport
    runs: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    skip: str | None = None
    cursor: Watch = field(default_factory=lambda: Watch(BEFORE))
    live_run: dg.DagsterRunStatus | None = None
    live_runs: list[dict[str, str]] = field(default_factory=list)


CASES = {
    "nothing new": Case(tick(), skip=f"{NOTHING}; no run: every segment that landed is in a derived job"),
    "no bucket of Pyroscope's": Case(
        tick(source_problem="the source x is empty"), skip=f"{NOTHING}; no run: the source x is empty"
    ),
    "no bucket of Pyroscope's any more": Case(
        tick(source_problem="the source x is empty", unfinished_jobs=3, failures=("503",)),
        skip=f"{NOTHING}; no run: the source x is empty; 503",
    ),
    "new keys, too young for a job": Case(
        tick(arrivals={NOW: ARRIVALS}, waiting_sources=3),
        events=[NOW],
        skip=f"{LANDED}; due: nothing; {YOUNG}; no run: nothing is due",
    ),
    "new keys, due": Case(tick(arrivals={NOW: ARRIVALS}, due={NOW: 2}, unfinished_jobs=2), runs=[NOW], events=[NOW]),
    "due by age, without an arrival": Case(tick(due={NOW: 1}, unfinished_jobs=1), runs=[NOW]),
    "the hour changes: one run for both": Case(
        tick(due={BEFORE: 1, NOW: 2}, unfinished_jobs=3), runs=[f"{BEFORE}..{NOW}"]
    ),
    "a late key behind the cursor": Case(
        tick(arrivals={LATE: ARRIVALS}, due={LATE: 1}, unfinished_jobs=1), runs=[f"live-late: {LATE}"], events=[LATE]
    ),
    "a late key and fresh ones": Case(
        tick(arrivals={LATE: ARRIVALS, NOW: ARRIVALS}, due={LATE: 1, NOW: 1}, unfinished_jobs=2),
        runs=[f"live-late: {LATE}", NOW],
        events=[LATE, NOW],
    ),
    "a late hour whose job is tried again": Case(
        tick(due={LATE: 1}, unfinished_jobs=1), runs=[f"live-late: {LATE}"], cursor=Watch(BEFORE, (LATE,))
    ),
    "history waits for a backfill": Case(
        tick(due={"2026-11-25-01:00": 5, "2026-11-25-02:00": 6}, unfinished_jobs=11),
        skip="landed: nothing new; due: 11 jobs of 2 hours from 2026-11-25-01:00 to 2026-11-25-02:00; "
        "no run: nothing of what is due is live; 11 jobs of 2 hours from 2026-11-25-01:00 to 2026-11-25-02:00 landed "
        "before 2026-11-25-12:00: start a backfill for them",
    ),
    "an hour that is no partition yet": Case(
        tick(due={FUTURE: 1}, unfinished_jobs=1),
        skip=f"landed: nothing new; due: 1 job of {FUTURE}; no run: nothing of what is due is live",
    ),
    "a failed listing, the rest is due": Case(
        tick(failures=("shard 3: timeout",), due={NOW: 1}, unfinished_jobs=1), runs=[NOW]
    ),
    "a failed listing, the rest is young": Case(
        tick(failures=("shard 3: timeout",), arrivals={NOW: ARRIVALS}, waiting_sources=3),
        events=[NOW],
        skip=f"{LANDED}; due: nothing; {YOUNG}; no run: nothing is due; shard 3: timeout",
    ),
    "outside the partitions": Case(
        tick(out_of_range=7),
        skip=f"{NOTHING}; no run: every segment that landed is in a derived job; 7 new segments were created "
        "outside the partitions and are left alone",
    ),
    "another configuration at work": Case(
        tick(others=("another process works on this ledger with another configuration: lanes 2 there, 1 here",)),
        skip=f"{NOTHING}; no run: every segment that landed is in a derived job; another process works on this ledger "
        "with another configuration: lanes 2 there, 1 here",
    ),
    "more than a tick takes": Case(
        tick(arrivals={NOW: ARRIVALS}, truncated=True, waiting_sources=3),
        events=[NOW],
        skip=f"{LANDED}; due: nothing; {YOUNG}; no run: nothing is due; the listing goes on with the next tick",
    ),
    **{
        f"a live run is {status.value}": Case(
            tick(arrivals={NOW: ARRIVALS}, due={NOW: 2}, leased_jobs=1, unfinished_jobs=3),
            events=[NOW],
            live_run=status,
            skip=f"{LANDED}; due: 2 jobs of {NOW}; 1 job being worked on; "
            f"no run: live run 11111111 is {status.value.lower()} and takes what is due",
        )
        for status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
    },
    "a live run is over": Case(tick(due={NOW: 2}, unfinished_jobs=2), runs=[NOW], live_run=dg.DagsterRunStatus.SUCCESS),
    "lanes: each that has something due gets a run": Case(
        tick(due={BEFORE: 1, NOW: 5}, lanes=({NOW: 2}, {}, {NOW: 3}, {BEFORE: 1}), unfinished_jobs=6),
        runs=[f"live-0 of 4: {NOW}", f"live-2 of 4: {NOW}", f"live-3 of 4: {BEFORE}"],
    ),
    "lanes: one whose run is in flight waits, the others do not": Case(
        tick(due={NOW: 5}, lanes=({NOW: 2}, {NOW: 3}), unfinished_jobs=5),
        live_runs=[{"lane": "live-0", "lanes": "2"}],
        runs=[f"live-1 of 2: {NOW}"],
    ),
    "lanes: all are busy": Case(
        tick(due={NOW: 5}, lanes=({NOW: 2}, {NOW: 3}), unfinished_jobs=5),
        live_runs=[{"lane": "live-0", "lanes": "2"}, {"lane": "live-1", "lanes": "2"}],
        skip=f"landed: nothing new; due: 5 jobs of {NOW}; no run: live run 00000001 is started, live run 00000000 is "
        "started and takes what is due",
    ),
    "lanes: late and fresh hours of one lane": Case(
        tick(arrivals={LATE: ARRIVALS}, due={LATE: 1, NOW: 2}, lanes=({}, {LATE: 1, NOW: 2}), unfinished_jobs=3),
        runs=[f"live-1-late of 2: {LATE}", f"live-1 of 2: {NOW}"],
        events=[LATE],
    ),
    "lanes: a backfill is in nobody's way": Case(
        tick(due={NOW: 1}, lanes=({NOW: 1}, {}), unfinished_jobs=1),
        live_runs=[{"lane": "backfill"}],
        runs=[f"live-0 of 2: {NOW}"],
    ),
    "lanes: their number grew, the run of before is waited for": Case(
        tick(due={NOW: 5}, lanes=({NOW: 2}, {NOW: 3}), unfinished_jobs=5),
        live_runs=[{"lane": "live"}],
        skip=f"landed: nothing new; due: 5 jobs of {NOW}; no run: live run 00000000 is started and takes what is due",
    ),
    "lanes: their number shrank to one, the run of before is waited for": Case(
        tick(due={NOW: 5}, unfinished_jobs=5),
        live_runs=[{"lane": "live-1", "lanes": "4"}],
        skip=f"landed: nothing new; due: 5 jobs of {NOW}; no run: live run 00000000 is started and takes what is due",
    ),
}


def live_run(status: dg.DagsterRunStatus) -> dg.DagsterRun:
    run_id = "11111111-0000-4000-8000-000000000000"
    return dg.DagsterRun(job_name="live", run_id=run_id, tags={"lane": "live"}, status=status)


def sensor_of(fake: FakePipeline) -> tuple[dg.SensorDefinition, dg.Definitions, dict]:
    resources = resources_with(fake)
    definitions = build_defs(resources, start_hour="2026-11-01-00:00")
    return definitions.resolve_sensor_def("segments_landed"), definitions, resources


def evaluate(fake: FakePipeline, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    sensor, definitions, resources = sensor_of(fake)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions, resources=resources)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def partitions_of(request: dg.RunRequest) -> str:
    first = request.tags.get("dagster/asset_partition_range_start")
    hours = request.partition_key or f"{first}..{request.tags['dagster/asset_partition_range_end']}"
    lane, lanes = request.tags.get("lane"), request.tags.get("lanes")
    return f"{lane} of {lanes}: {hours}" if lanes else f"{lane}: {hours}" if lane else hours


@pytest.mark.parametrize("name", CASES)
def test_tick(name: str):
    case = CASES[name]
    fake = FakePipeline({LATE: hour_of_work(LATE, done=True)}, [case.tick])
    with dg.DagsterInstance.ephemeral() as instance:
        if case.live_run:
            instance.add_run(live_run(case.live_run))
        for number, tags in enumerate(case.live_runs):
            job = "backfill" if tags["lane"] == "backfill" else "live"
            run_id = f"0000000{number}-0000-4000-8000-000000000000"
            instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, tags=tags, status=dg.DagsterRunStatus.STARTED))
        result = evaluate(fake, instance, case.cursor.to_cursor())
    assert [partitions_of(request) for request in result.run_requests or ()] == case.runs
    landed = [event for event in result.asset_events if isinstance(event, dg.AssetMaterialization)]
    assert [event.partition for event in landed] == case.events
    assert (result.skip_reason.skip_message if result.skip_reason else None) == case.skip
    # A run key would de-duplicate for ever, also after a failure.
    assert all(request.run_key is None for request in result.run_requests or ())
    assert fake.opened == fake.closed == 1


RUN = LiveRun("11111111-0", "started", Lane(), "", NOW, 10.0)


@pytest.mark.parametrize(
    ("run", "found", "asked"),
    {
        "it is young": (RUN, {"due": {NOW: 1}}, []),
        "its time is nearly over": (replace(RUN, seconds=45.0), {"due": {NOW: 1}}, [f"live-next: {NOW}"]),
        "they take turns": (replace(RUN, seconds=45.0, turn="next"), {"due": {NOW: 1}}, [NOW]),
        "it does all that lands": (replace(RUN, seconds=50.0), {"arrivals": {NOW: ARRIVALS}}, [f"live-next: {NOW}"]),
        "nothing lands: it ends by itself": (replace(RUN, seconds=50.0), {"leased_jobs": 1}, []),
        "it waits for its start": (replace(RUN, status="queued", seconds=None), {"due": {NOW: 1}}, []),
        "an hour after its own begins: the rest of that is taken along": (
            replace(RUN, last_hour=BEFORE),
            {"arrivals": {NOW: ARRIVALS}},
            [f"live-next: {BEFORE}..{NOW}"],
        ),
        "late uploads do not wait for it": (RUN, {"due": {LATE: 1, NOW: 1}}, [f"live-late: {LATE}"]),
        "late uploads wait for those before": (replace(RUN, turn="late"), {"due": {LATE: 1, NOW: 1}}, [NOW]),
        "its lanes are gone": (replace(RUN, lane=Lane(0, 2), seconds=50.0), {"due": {NOW: 1}}, []),
    }.values(),
)
def test_a_live_run_is_relieved_before_its_time_is_over(run: LiveRun, found: dict, asked: list[str]):
    result, line = decide(tick(**found, unfinished_jobs=1), Watch(LATE), [run], budget_seconds=60.0)
    assert [partitions_of(request) for request in result.run_requests or ()] == asked
    assert ("to relieve 11111111" in line) == (
        bool(asked) and run.turn != "late" and not asked[0].startswith("live-late")
    )


def test_the_next_run_is_asked_for_while_one_is_there_and_no_third():
    both = [replace(RUN, seconds=50.0), replace(RUN, run_id="2", turn="next", status="queued", seconds=None)]
    result, line = decide(tick(due={NOW: 1}), Watch(LATE), both)
    assert not result.run_requests
    assert "no run: live run 11111111 is started for 50 s, live run 2 is queued and takes what is due" in line


def test_each_tick_says_what_it_found_also_when_it_requests_a_run():
    result, line = decide(tick(arrivals={NOW: ARRIVALS}, due={NOW: 2}), Watch(BEFORE), [])
    assert line == f"{LANDED}; due: 2 jobs of {NOW}; requested: a run of {NOW}"
    assert result.skip_reason is None


def test_a_person_who_opens_only_dagster_finds_what_is_wrong_since_when_and_what_to_press():
    alert = Alert("PyroAssetsStalled", "the oldest segment has waited 9 minutes", "Turn on the sensor.", "/backfills")
    fake = FakePipeline({}, [tick()])
    told, cursor = [], None
    with dg.DagsterInstance.ephemeral() as instance:
        for minute, wrong in enumerate([[], [alert], [alert], []]):
            fake.wrong, fake.ticks = wrong, [TickReport(NOW_MS + 60_000 * minute)]
            result = evaluate(fake, instance, cursor)
            cursor = result.cursor
            told += [event for event in result.asset_events if getattr(event, "check_name", "") == WELL]
    assert [(event.passed, event.severity.value) for event in told] == [
        (True, "WARN"), (False, "ERROR"), (True, "WARN"),
    ]  # fmt: skip
    assert told[1].description == (
        "critical: the oldest segment has waited 9 minutes, since 2026-11-25 13:11 UTC. Turn on the sensor."
    )
    (row,) = (record.data for record in told[1].metadata["alerts"].value.records)
    assert (row["since"], row["do"]) == ("2026-11-25 13:11 UTC", "Turn on the sensor.")


def test_the_cursor_can_be_read():
    fake = FakePipeline({}, [tick(arrivals={NOW: ARRIVALS}, waiting_sources=3)])
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = json.loads(evaluate(fake, instance, None).cursor)
    assert cursor == {
        "live since": NOW,
        "late hours": [],
        "reported": "2026-11-25T13:10:00.000+00:00",
        "not reported yet": {},
        "said": {"source_is_pyroscopes_bucket": "passes", "nothing_is_left_out": "passes", WELL: "passes"},
        "wrong since": {},
        "looked": "2026-11-25T13:10:00.000+00:00",
        "ticked": "2026-11-25T13:10:00.000+00:00",
    }


def test_what_landed_counts_from_the_last_tick_that_listed_all():
    failed = tick(now_ms=NOW_MS + 9_000, failures=("a listing failed",), arrivals={NOW: ARRIVALS})
    fake = FakePipeline({}, [tick(), failed, tick(now_ms=NOW_MS + 18_000), tick()])
    with dg.DagsterInstance.ephemeral() as instance:
        cursor = None
        for _ in range(4):
            cursor = evaluate(fake, instance, cursor).cursor
    assert fake.since == [None, NOW_MS, NOW_MS, NOW_MS + 18_000]


def test_a_cursor_without_the_time_of_its_tick_keeps_all_else():
    state = json.loads(Watch(LATE, (BEFORE,), looked_ms=NOW_MS, ticked_ms=NOW_MS).to_cursor())
    del state["ticked"]
    assert Watch.from_cursor(json.dumps(state), NOW) == Watch(LATE, (BEFORE,), looked_ms=NOW_MS)


def test_a_cursor_of_an_older_version_keeps_where_live_begins():
    old = json.dumps({"live_since": LATE, "late": [BEFORE], "landed": {"hours": {}, "reported_ms": 1}, "said": {}})
    watch = Watch.from_cursor(old, NOW)
    assert (watch.live_since, watch.late) == (LATE, (BEFORE,))


def test_the_same_input_twice_requests_once():
    fake = FakePipeline({}, [tick(arrivals={NOW: ARRIVALS}, due={NOW: 2}, unfinished_jobs=2), tick(unfinished_jobs=2)])
    with dg.DagsterInstance.ephemeral() as instance:
        first = evaluate(fake, instance, None)
        instance.add_run(live_run(dg.DagsterRunStatus.NOT_STARTED))
        second = evaluate(fake, instance, first.cursor)
    assert len(first.run_requests or ()) == 1
    assert not second.run_requests
    assert not second.asset_events


def test_arrivals_without_a_run_are_reported_once_a_minute_and_none_is_lost():
    def waiting(second: int) -> TickReport:
        return TickReport(NOW_MS + 1000 * second, arrivals={NOW: ARRIVALS}, waiting_sources=3)

    reported, cursor = [], None
    with dg.DagsterInstance.ephemeral() as instance:
        for second in range(0, 125, 5):
            result = evaluate(FakePipeline({}, [waiting(second)]), instance, cursor)
            cursor = result.cursor
            reported += [
                (second, event.metadata["segments"].value)
                for event in result.asset_events
                if isinstance(event, dg.AssetMaterialization)
            ]
    assert reported == [(0, 3), (60, 36), (120, 36)]


def test_the_first_tick_fixes_where_live_begins():
    fake = FakePipeline({}, [tick(due={NOW: 1, BEFORE: 9}, unfinished_jobs=10)])
    with dg.DagsterInstance.ephemeral() as instance:
        result = evaluate(fake, instance, None)
    assert [partitions_of(request) for request in result.run_requests or ()] == [NOW]
    assert Watch.from_cursor(result.cursor, "x").live_since == NOW


def test_a_setting_makes_history_live():
    fake = FakePipeline({}, [tick(due={LATE: 1, BEFORE: 9, NOW: 1}, unfinished_jobs=10)])
    resources = resources_with(fake, live_since="2026-11-01-00:00")
    definitions = build_defs(resources, start_hour="2026-11-01-00:00")
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
        result = definitions.resolve_sensor_def("segments_landed")(context)
    assert [partitions_of(request) for request in result.run_requests] == [f"live-late: {LATE}", f"{BEFORE}..{NOW}"]


def test_a_listing_that_fails_with_nothing_else_to_say_fails_the_tick():
    fake = FakePipeline({}, [tick(failures=("the bucket does not answer", "nor here"))])
    with dg.DagsterInstance.ephemeral() as instance:
        # The first one has the verdict to say that nothing is left out.
        first = evaluate(fake, instance, None)
        assert "the bucket does not answer" in first.skip_reason.skip_message
        with pytest.raises(StorageUnavailable, match=r"2 listings failed.*the bucket does not answer"):
            evaluate(fake, instance, first.cursor)


def test_a_ledger_that_is_away_fails_the_tick():
    fake = FakePipeline({}, [LedgerUnavailable("no database")])
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(LedgerUnavailable, match="no database"):
        evaluate(fake, instance, None)
    assert fake.opened == fake.closed == 1


def test_events_say_what_landed():
    fake = FakePipeline({}, [tick(arrivals={NOW: ARRIVALS}, waiting_sources=3)])
    with dg.DagsterInstance.ephemeral() as instance:
        event, *_ = evaluate(fake, instance, None).asset_events
    assert event.asset_key == dg.AssetKey("segments")
    values = {name: value.value for name, value in event.metadata.items()}
    assert values["segments"] == 3
    assert values["landed_mib"] == 0.063
    assert values["headline"] == "**3 segments** landed (0.1 MiB) in 2 shards, the oldest 4 s ago"
    assert values["shards"] == 2
    assert values["oldest_age_seconds"] == 4.2


def test_a_request_resolves_to_a_run_over_its_hours():
    fake = FakePipeline({}, [tick(due={BEFORE: 1, NOW: 2}, unfinished_jobs=3)])
    with dg.DagsterInstance.ephemeral() as instance:
        sensor, definitions, resources = sensor_of(fake)
        context = dg.build_sensor_context(
            instance=instance, cursor=Watch(BEFORE).to_cursor(), definitions=definitions, resources=resources
        )
        (request,) = sensor.evaluate_tick(context).run_requests
    job = definitions.resolve_job_def("live")
    assert {**job.run_tags, **request.tags}["lane"] == "live"
    assert lane_of(dg.DagsterRun(job_name="live", tags={**job.run_tags, **request.tags})) == Lane()
    assert request.tags["dagster/asset_partition_range_start"] == BEFORE


def test_the_verdict_over_the_source_is_given_when_it_changes_and_not_at_every_tick():
    problem = "the source x is empty"
    fake = FakePipeline({}, [tick(source_problem=problem)])
    given, cursor = [], None
    with dg.DagsterInstance.ephemeral() as instance:
        for found in (problem, problem, "", "", problem):
            fake.ticks = [tick(source_problem=found)]
            result = evaluate(fake, instance, cursor)
            cursor = result.cursor
            given.append(
                [
                    (event.check_name, event.passed, event.description)
                    for event in result.asset_events
                    if event.check_name == "source_is_pyroscopes_bucket"
                ]
            )
            for event in result.asset_events:
                # As the daemon does it.
                instance.report_runless_asset_event(event)
        key = dg.AssetCheckKey(dg.AssetKey("segments"), "source_is_pyroscopes_bucket")
        last = instance.get_latest_asset_check_evaluation_record(key)
    bad = [("source_is_pyroscopes_bucket", False, problem)]
    good = [("source_is_pyroscopes_bucket", True, "it can be listed, and has segments or blocks")]
    assert given == [bad, [], good, [], bad]
    assert last is not None
    assert last.evaluation is not None
    assert not last.evaluation.passed


@pytest.mark.parametrize("problem", ["", "the source x is empty"])
def test_a_person_can_ask_whether_the_source_is_there(problem: str):
    definitions = build_defs(resources_with(FakePipeline(problem=problem)), start_hour="2026-11-01-00:00")
    key = dg.AssetCheckKey(dg.AssetKey("segments"), "source_is_pyroscopes_bucket")
    job = dg.define_asset_job("alone", dg.AssetSelection.checks(key))
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.ephemeral() as instance:
        (found,) = merged.resolve_job_def("alone").execute_in_process(instance=instance).get_asset_check_evaluations()
    assert (found.passed, found.description == problem) == (not problem, bool(problem))


def test_after_an_acknowledgement_the_next_tick_evaluates_again_without_a_run():
    fake = FakePipeline({}, [tick()])
    item = Item("segments/4/anonymous/X/block.bin", "source", "lost", LATE, None, "was gone", None, 1, 1, "")
    given, cursor = [], None
    with dg.DagsterInstance.ephemeral() as instance:
        for missing in (LeftOut(), LeftOut(lost=1, items=(item,)), LeftOut(lost=1, items=(item,)), LeftOut()):
            fake.missing = missing
            result = evaluate(fake, instance, cursor)
            assert not result.run_requests
            cursor = result.cursor
            given.append([event.passed for event in result.asset_events if event.check_name == "nothing_is_left_out"])
    assert given == [[True], [False], [], [True]]
