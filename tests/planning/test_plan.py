"""Recording sources and planning jobs: once each, never across shards or hours, with timestamps of their own."""

import threading

import pytest
from sqlalchemy import select

from pyro_assets.errors import JobConflict, LedgerError
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords, SetAside
from pyro_assets.ledger.schema import jobs, sources
from pyro_assets.planning import plan as plan_module
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import Policy, job_id
from pyro_assets.planning.sources import SourceRecords
from tests.support.ledgers import HOUR, HOUR_START_MS, KINDS, NOW_MS, POLICY, claimed, found, planned, record


def jobs_of(ledger: Ledger) -> list[tuple[int, str, int, list[str]]]:
    """(shard, hour, timestamp, source keys) of all jobs in the order in which they are due."""
    found_jobs = []
    for hour in HourRecords(ledger).hours():
        for identity in DueJobs(ledger).due_jobs(hour, NOW_MS * 2, kinds=KINDS):
            job, _ = JobRecords(ledger).look_up(identity)
            found_jobs.append((job.shard, job.hour, job.timestamp_ms, [source.key for source in job.sources]))
    return found_jobs


def test_records_once_and_tells_what_is_new(ledger: Ledger) -> None:
    first, second = found(-3), found(-2)
    recorded = SourceRecords(ledger).record_sources([first], {"f/": "A" * 26}, NOW_MS, POLICY)
    assert (recorded.new, recorded.out_of_range) == ((first,), 0)
    assert SourceRecords(ledger).cursors() == {"f/": "A" * 26}
    recorded = SourceRecords(ledger).record_sources([first, second], {"f/": "B" * 26}, NOW_MS, POLICY)
    assert recorded.new == (second,)
    assert SourceRecords(ledger).cursors() == {"f/": "B" * 26}
    assert SourceRecords(ledger).record_sources([first, second], {}, NOW_MS, POLICY).new == ()


def test_out_of_range_is_a_state(ledger: Ledger) -> None:
    old = found((POLICY.start_ms - NOW_MS) / 1000 - 1)
    future = found(2 * 3600)
    recorded = SourceRecords(ledger).record_sources([old, future, found(-900)], {}, NOW_MS, POLICY)
    assert (len(recorded.new), recorded.out_of_range) == (1, 2)
    assert Planner(ledger).plan(NOW_MS, POLICY) == 1
    assert HourRecords(ledger).hours() == [HOUR]
    assert HourRecords(ledger).hour_status("2026-11-25-15:00").sources_by_state == {"out_of_range": 1}
    # When the future has come, it is planned like any other.
    assert Planner(ledger).plan(NOW_MS + 2 * 3_600_000 + 6_000, POLICY) == 1
    assert HourRecords(ledger).hours() == [HOUR, "2026-11-25-15:00"]


def test_a_growing_object_takes_its_newer_size(ledger: Ledger) -> None:
    record(ledger, [found(-2, size_bytes=0)])
    record(ledger, [found(-2, size_bytes=70)])
    Planner(ledger).plan(NOW_MS + 5_000, POLICY)
    ((_, _, _, keys),) = jobs_of(ledger)
    assert keys == [found(-2).block.key]
    (identity,) = DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS)
    assert JobRecords(ledger).look_up(identity)[0].sources[0].size_bytes == 70


def test_plans_by_shard_and_hour_oldest_first(ledger: Ledger) -> None:
    earlier = (HOUR_START_MS - NOW_MS) / 1000 - 1
    record(ledger, [found(-9, 7), found(-8, 4), found(-7, 4), found(earlier, 4), found(-6, 4), found(-6.5, 4)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 4
    assert [(shard, hour, len(keys)) for shard, hour, _, keys in jobs_of(ledger)] == [
        (4, "2026-11-25-12:00", 1),
        (7, HOUR, 1),
        (4, HOUR, 3),
        (4, HOUR, 1),
    ]
    assert jobs_of(ledger)[2][3] == [found(second).block.key for second in (-8, -7, -6.5)]


def test_the_age_rule_fires_without_an_arrival(ledger: Ledger) -> None:
    record(ledger, [found(-1)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 0
    assert Planner(ledger).plan(NOW_MS + 3_999, POLICY) == 0
    assert Planner(ledger).plan(NOW_MS + 4_000, POLICY) == 1
    assert Planner(ledger).plan(NOW_MS + 4_000, POLICY) == 0


def test_between_ticks_only_age_makes_jobs(ledger: Ledger) -> None:
    assert Planner(ledger).plan_aged(NOW_MS, POLICY) == 0
    # Three are a full job, which the next tick makes.
    record(ledger, [found(-4.0), found(-3.0), found(-2.0), found(-1.0)])
    assert Planner(ledger).plan_aged(NOW_MS + 999, POLICY) == 0
    assert Planner(ledger).plan_aged(NOW_MS + 1_000, POLICY) == 1
    assert Planner(ledger).plan_aged(NOW_MS + 3_999, POLICY) == 0
    assert Planner(ledger).plan_aged(NOW_MS + 4_000, POLICY) == 1
    # A clock that runs ahead delays nothing: its source has waited since it was seen.
    record(ledger, [found(3_000.0)], NOW_MS + 5_000)
    assert Planner(ledger).plan_aged(NOW_MS + 9_999, POLICY) == 0
    assert Planner(ledger).plan_aged(NOW_MS + 10_000, POLICY) == 1


def test_a_late_source_gets_a_job_of_its_own(ledger: Ledger) -> None:
    planned(ledger, (-30, -20, -10))
    record(ledger, [found(-25)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 1
    assert [len(keys) for _, _, _, keys in jobs_of(ledger)] == [3, 1]


def test_timestamps_are_those_of_the_first_source_and_unique(ledger: Ledger) -> None:
    # Six sources of one millisecond make two jobs; the next millisecond is taken by a third.
    record(ledger, [found(-20, salt=salt) for salt in range(6)] + [found(-19.999, salt=salt) for salt in range(3)])
    record(ledger, [found(-20, shard=5)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 4
    stamps = [(shard, timestamp - NOW_MS) for shard, _, timestamp, _ in jobs_of(ledger)]
    assert stamps == [(4, -20_000), (5, -20_000), (4, -19_999), (4, -19_998)]
    record(ledger, [found(-20, salt=9)])
    Planner(ledger).plan(NOW_MS, POLICY)
    assert (4, -19_997) in [(shard, timestamp - NOW_MS) for shard, _, timestamp, _ in jobs_of(ledger)]


def test_observed_blocks_are_jobs_of_one_source_with_equal_timestamps(ledger: Ledger) -> None:
    policy = Policy(mode="observe", max_age_ms=5_000)
    record(ledger, [found(-9, tenant="acme"), found(-9, tenant="globex"), found(-8, tenant="acme"), found(-7)])
    assert Planner(ledger).plan(NOW_MS, policy) == 3
    assert [timestamp - NOW_MS for _, _, timestamp, _ in jobs_of(ledger)] == [-9_000, -9_000, -8_000]
    assert HourRecords(ledger).hour_status(HOUR).sources_by_state == {"planned": 3, "pending": 1}


def test_slices_give_the_same_jobs(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "SLICE", 10)
    record(ledger, [found(-900 + second, shard) for second in range(25) for shard in (1, 2)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 18
    assert sorted(len(keys) for _, _, _, keys in jobs_of(ledger)) == [1, 1] + [3] * 16


def test_exactly_these_jobs(ledger: Ledger) -> None:
    record(ledger, [found(-30), found(-3)])
    wanted = [[found(-10), found(-30)], [found(-20, 5)]]
    ids = Planner(ledger).plan_exact(wanted, NOW_MS, POLICY)
    assert ids == [job_id("own", "exact", [item.block.key for item in blocks]) for blocks in wanted]
    job, _ = JobRecords(ledger).look_up(ids[0])
    assert [source.key for source in job.sources] == [item.block.key for item in wanted[0]]
    assert job.timestamp_ms == NOW_MS - 10_000
    # Again is the same; nothing was planned beside.
    assert Planner(ledger).plan_exact(wanted, NOW_MS, POLICY) == ids
    assert HourRecords(ledger).hour_status(HOUR).sources_by_state == {"planned": 3, "pending": 1}
    assert list(DueJobs(ledger).hours_of(ids[::-1])) == ids[::-1]


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param([[]], id="empty"),
        pytest.param([[found(-1, 4), found(-1, 5)]], id="two shards"),
        pytest.param([[found(-1), found(-1)]], id="a source twice in a job"),
        pytest.param([[found(-1)], [found(-1), found(-2)]], id="a source in two jobs"),
        pytest.param([[found(-30)]], id="a source of a planned job"),
        pytest.param([[found(-1, tenant="a"), found(-1, tenant="b")]], id="two tenants of level-1 blocks"),
    ],
)
def test_exact_jobs_that_cannot_be_leave_nothing(ledger: Ledger, wanted: list) -> None:
    planned(ledger)
    with pytest.raises(JobConflict):
        Planner(ledger).plan_exact(wanted, NOW_MS, POLICY)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"planned": 1}
    assert HourRecords(ledger).hour_status(HOUR).sources_by_state == {"planned": 3}


def test_what_is_set_aside_is_not_planned(ledger: Ledger) -> None:
    record(ledger, [found(-30), found(-20)])
    SourceRecords(ledger).set_aside(found(-30).block.key, "looked at it")
    Planner(ledger).plan(NOW_MS, POLICY)
    status = HourRecords(ledger).hour_status(HOUR)
    assert status.sources_by_state == {"set_aside": 1, "planned": 1}
    assert status.set_aside == (SetAside(found(-30).block.key, "set_aside", "looked at it"),)
    for key in (found(-20).block.key, "unknown"):
        with pytest.raises(LedgerError):
            SourceRecords(ledger).set_aside(key, "too late")


def test_planners_at_the_same_time_plan_every_source_once(ledger_url: str, ledger: Ledger) -> None:
    blocks = [found(-900 + second, second % 3) for second in range(60)]

    def tick() -> None:
        own = Ledger.open(ledger_url)
        SourceRecords(own).record_sources(blocks, {}, NOW_MS, POLICY)
        Planner(own).plan(NOW_MS, POLICY)
        own.close()

    threads = [threading.Thread(target=tick) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [key for _, _, _, keys in jobs_of(ledger) for key in keys]
    assert sorted(keys) == sorted(item.block.key for item in blocks)


def test_the_database_itself_refuses_a_source_in_two_jobs(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    with pytest.raises(JobConflict), ledger.write() as connection:
        source = connection.execute(select(sources.c.id).where(sources.c.key == job.sources[0].key)).scalar()
        connection.exec_driver_sql(f"INSERT INTO job_sources VALUES ({source}, '{identity}', 99)")
    with pytest.raises(JobConflict), ledger.write() as connection:
        row = connection.execute(select(jobs).where(jobs.c.id == identity)).mappings().one()
        connection.execute(jobs.insert().values(dict(row) | {"id": "other"}))


def test_a_timestamp_that_is_pushed_into_the_next_hour_is_not_given_twice(ledger: Ledger) -> None:
    begin = (HOUR_START_MS - NOW_MS) / 1000
    # Two jobs of the hour's last millisecond, and one of the first of the next hour, planned in one go.
    record(ledger, [found(begin - 0.001, salt=salt) for salt in range(6)] + [found(begin)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 3
    assert [(hour, stamp - HOUR_START_MS) for _, hour, stamp, _ in jobs_of(ledger)] == [
        ("2026-11-25-12:00", -1),
        ("2026-11-25-12:00", 0),
        (HOUR, 1),
    ]
