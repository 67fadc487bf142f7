"""Any interleaving of arrivals, ticks, runs, crashes and outages ends with every valid source in one job, once."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledgers import HOUR, LEASE_MS
from postgres_server import PostgresServer
from worlds import World

from pyro_assets.errors import StorageUnavailable

HOURS = ["2026-11-25-12:00", HOUR]

ARRIVALS = st.tuples(
    st.just("arrive"),
    st.integers(-55, 0),  # seconds before now: within the look-back window, so that late ones are found
    st.integers(1, 2),  # shard
    st.sampled_from(["acme 1", "acme 2\nglobex 3", "broken", ""]),
)
ACTIONS = st.one_of(
    ARRIVALS,
    ARRIVALS,
    st.tuples(st.just("tick")),
    st.tuples(st.just("run")),
    st.tuples(st.just("killed in a bucket"), st.sampled_from(["source", "archive"]), st.integers(0, 12)),
    st.tuples(st.just("killed in the ledger"), st.integers(0, 15)),
    st.tuples(st.just("outage"), st.sampled_from(["source", "archive"]), st.integers(0, 8)),
    st.tuples(st.just("overtaken"), st.integers(0, 8)),
    st.tuples(st.just("time"), st.sampled_from([0.5, 5, 61])),
)


def at_call(number: int, action: object) -> Callable[[str, str], None]:
    """A hook that acts once, at the n-th call from now."""
    calls = iter(range(1_000_000))

    def hook(method: str, key: str) -> None:
        if next(calls) == number:
            if isinstance(action, BaseException):
                raise action
            action()  # type: ignore[operator]

    return hook


def act(world: World, number: int, action: tuple) -> None:
    name, *details = action
    world.source.before = world.archive.before = world.ledger.kill_at = None
    if name == "arrive":
        second, shard, text = details
        seconds = second + (world.clock() - world.started_ms) / 1000
        world.segment(seconds, text, shard, salt=number)
        return
    if name == "time":
        world.clock.forward(details[0])
        return
    if name == "tick":
        world.pipeline.tick()
        return
    if name == "killed in a bucket":
        getattr(world, details[0]).before = at_call(details[1], fakes.Killed())
    elif name == "killed in the ledger":
        world.ledger.kill_at = world.ledger.writes + details[0]
    elif name == "outage":
        getattr(world, details[0]).before = at_call(details[1], StorageUnavailable("503"))
    elif name == "overtaken":

        def another_worker() -> None:
            world.archive.before = None
            world.clock.forward(LEASE_MS / 1000)
            world.open().run(HOURS, run_id="another")

        world.archive.before = at_call(details[0], another_worker)
    with contextlib.suppress(fakes.Killed):
        world.tick_and_run(hours=HOURS)


@given(st.lists(ACTIONS, max_size=14))
def test_every_valid_source_is_in_one_job_once(actions: list[tuple]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check(World(Path(folder)), actions)


@pytest.mark.service
@settings(max_examples=max(settings.default.max_examples // 2, 1))
@given(st.lists(ACTIONS, max_size=14))
def test_every_valid_source_is_in_one_job_once_on_postgres(
    postgres: PostgresServer, ledger_template: str, actions: list[tuple]
) -> None:
    url = postgres.new_database(ledger_template)
    try:
        check(World(Path(), ledger_url=url), actions)
    finally:
        postgres.drop_database(url)


def check(world: World, actions: list[tuple]) -> None:
    """Acts, lets leases run out and delays pass, and compares what is archived with what was there."""
    try:
        for number, action in enumerate(actions):
            act(world, number, action)
        world.source.before = world.archive.before = world.ledger.kill_at = None
        # A tick and a run, without a hand.
        for _ in range(2):
            world.clock.forward(400)
            world.tick_and_run(hours=HOURS)
        reports = [world.pipeline.hour_report(hour) for hour in HOURS]
        quarantined = sum(report.jobs_by_state.get("quarantined", 0) for report in reports)
        assert sum(report.pending for report in reports) == 0
        if not quarantined:
            assert world.archived_values() == world.source_values()
        sums = sum(value for _, value in world.archived_values())
        assert sum(row["value"] for row in world.series()) == sums
        assert sum(row["value"] for row in world.series("function")) == sums
        stamps = [(record["shard"], record["timestamp_ms"]) for record in world.records()]
        assert len(stamps) == len(set(stamps))
        keys = [source["key"] for record in world.records() for source in record["sources"]]
        assert len(keys) == len(set(keys))
    finally:
        world.ledger.close()
