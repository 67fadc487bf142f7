"""Any interleaving of arrivals, deletions, ticks, runs, crashes and outages: each source in one job, once, as clean."""

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from pyro_assets.errors import StorageUnavailable
from pyro_assets.operations import runs, ticks
from tests.support import fakes
from tests.support.ledgers import HOUR, LEASE_MS
from tests.support.postgres_server import PostgresServer
from tests.support.worlds import World

HOURS = ["2026-11-25-12:00", HOUR]
BUCKETS = st.sampled_from(["source", "archive"])


def at_call(number: int, action: object) -> Callable[[str, str], None]:
    """A hook that acts once, at the n-th call from now."""
    calls = iter(range(1_000_000))

    def hook(method: str, key: str) -> None:
        if next(calls) == number:
            if isinstance(action, BaseException):
                raise action
            action()  # type: ignore[operator]

    return hook


class Interleavings(RuleBasedStateMachine):
    """What the world, its people and its faults may do in any order; `teardown` says what must come of it."""

    def __init__(self, ledger_url: str | None = None) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name), ledger_url=ledger_url)
        #: Everything that ever landed, deleted or not.
        self.landed: dict[str, bytes] = {}

    @rule(
        # Before now: within the look-back window, so that late ones are found.
        second=st.integers(-55, 0),
        shard=st.integers(1, 2),
        text=st.sampled_from(["acme 1", "acme 2\nglobex 3", "broken", ""]),
    )
    def arrive(self, second: int, shard: int, text: str) -> None:
        seconds = second + (self.world.clock() - self.world.started_ms) / 1000
        key = self.world.segment(seconds, text, shard, salt=len(self.landed))
        self.landed[key] = text.encode()

    @precondition(lambda self: self.world.source.objects)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        del self.world.source.objects[data.draw(st.sampled_from(sorted(self.world.source.objects)))]

    @rule(seconds=st.sampled_from([0.5, 5, 61]))
    def time_passes(self, seconds: float) -> None:
        self.world.clock.forward(seconds)

    @rule()
    def tick(self) -> None:
        ticks.tick(self.world.pipeline)

    @rule()
    def run(self) -> None:
        self.world.tick_and_run(hours=HOURS)

    @rule(bucket=BUCKETS, call=st.integers(0, 12))
    def killed_in_a_bucket(self, bucket: str, call: int) -> None:
        getattr(self.world, bucket).before = at_call(call, fakes.Killed())
        self._run_with_a_fault()

    @rule(half=st.integers(0, 15))
    def killed_in_the_ledger(self, half: int) -> None:
        self.world.ledger.kill_at = self.world.ledger.writes + half
        self._run_with_a_fault()

    @rule(bucket=BUCKETS, call=st.integers(0, 8))
    def outage(self, bucket: str, call: int) -> None:
        getattr(self.world, bucket).before = at_call(call, StorageUnavailable("503"))
        self._run_with_a_fault()

    @rule(call=st.integers(0, 8))
    def overtaken(self, call: int) -> None:
        """A worker's lease runs out in mid-job, and another one does everything."""

        def another_worker() -> None:
            self.world.archive.before = None
            self.world.clock.forward(LEASE_MS / 1000)
            runs.run(self.world.open(), HOURS, run_id="another")

        self.world.archive.before = at_call(call, another_worker)
        self._run_with_a_fault()

    def teardown(self) -> None:
        try:
            # Leases run out and delays pass; then a tick and a run, without a hand.
            for _ in range(2):
                self.world.clock.forward(400)
                self.world.tick_and_run(hours=HOURS)
            self._check()
        finally:
            self.world.ledger.close()
            self.folder.cleanup()

    def _run_with_a_fault(self) -> None:
        with contextlib.suppress(fakes.Killed):
            self.world.tick_and_run(hours=HOURS)
        self.world.source.before = self.world.archive.before = self.world.ledger.kill_at = None

    def _check(self) -> None:
        world, records = self.world, self.world.records()
        reports = [runs.hour_report(world.pipeline, hour) for hour in HOURS]
        assert sum(report.pending for report in reports) == 0
        stamps = [(record["shard"], record["timestamp_ms"]) for record in records]
        assert len(stamps) == len(set(stamps))
        keys = [source["key"] for record in records for source in record["sources"]]
        assert len(keys) == len(set(keys))
        states = {key: world.state_of(key) for key in self.landed}
        if not any(report.jobs_by_state.get("quarantined", 0) for report in reports):
            there = {key for key in world.source.objects if self.landed[key] not in (b"broken", b"")}
            assert {states[key] for key in there} <= {"done"}
        done = {key: text for key, text in self.landed.items() if states[key] == "done"}
        assert set(done) <= set(keys)
        assert world.archived_values() == _values(done)
        sums = sum(value for _, value in world.archived_values())
        assert sum(row["value"] for row in world.series()) == sums
        assert sum(row["value"] for row in world.series("function")) == sums
        self._compare_with_a_clean_run(done)

    def _compare_with_a_clean_run(self, done: dict[str, bytes]) -> None:
        """The blocks of each job that lost nothing are those of a run to which nothing happened."""
        jobs = [[source["key"] for source in record["sources"]] for record in self.world.records()]
        whole = [keys for keys in jobs if all(key in done for key in keys)]
        with tempfile.TemporaryDirectory() as folder:
            clean = World(Path(folder))
            try:
                clean.source.objects.update(done)
                runs.run_exact(clean.pipeline, whole, run_id="clean")
                blocks = self.world.blocks()
                assert all(blocks[key] == data for key, data in clean.blocks().items())
                assert len(clean.records()) == len(whole)
            finally:
                clean.ledger.close()


def _values(segments: dict[str, bytes]) -> list[tuple[bytes, int]]:
    """(tenant, value) of every line."""
    pairs = [line.split(b" ") for data in segments.values() for line in data.split(b"\n")]
    return sorted((tenant, int(value)) for tenant, value in pairs)


#: An example is a whole life of a pipeline.
EXAMPLES = max(settings.default.max_examples // 2, 1)


def test_every_valid_source_is_in_one_job_once() -> None:
    run_state_machine_as_test(Interleavings, settings=settings(stateful_step_count=14, max_examples=EXAMPLES))


@pytest.mark.service
def test_every_valid_source_is_in_one_job_once_on_postgres(postgres: PostgresServer, ledger_template: str) -> None:
    urls = []

    def machine() -> Interleavings:
        urls.append(postgres.new_database(ledger_template))
        return Interleavings(urls[-1])

    try:
        run_state_machine_as_test(machine, settings=settings(stateful_step_count=14, max_examples=EXAMPLES))
    finally:
        for url in urls:
            postgres.drop_database(url)
