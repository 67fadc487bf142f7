"""Crashes at every step, two workers on one job, leftovers: always the archive and ledger of one clean run."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.due import DueJobs
from pyro_assets.storage.keys import commit_key
from pyro_assets.storage.sealed_json import from_bytes, to_bytes
from tests.support import fakes
from tests.support.ledgers import HOUR, LEASE_MS
from tests.support.worlds import World


def fill(world: World) -> None:
    """Two jobs, one of them with a broken source, two tenants."""
    for second in range(3):
        world.segment(-60 + second, f"acme {second}\nglobex 9")
    world.segment(-40, "broken")
    world.segment(-39, "acme 77")


def outcome(world: World) -> dict[str, object]:
    """Everything that must be the same after a crash as without one."""
    status = HourRecords(world.ledger).hour_status(HOUR)
    return {
        "objects": dict(sorted(world.archive.objects.items())),
        "jobs": status.jobs_by_state,
        "sources": status.sources_by_state,
        "counts": (status.blocks, status.bytes_out, status.profiles, status.samples, status.duplicates),
        "series": status.series,
        "services": status.services,
        "set aside": status.set_aside,
        "outputs": [
            JobRecords(world.ledger).look_up(job_id)[0].outputs for job_id in DueJobs(world.ledger).committed_jobs(HOUR)
        ],
        "failures": [(k.subject, k.subject_id, k.failure) for k in QuarantineRecords(world.ledger).kept_failures()],
    }


@pytest.fixture
def worlds(tmp_path: Path) -> Iterator[Callable[[], World]]:
    made: list[World] = []

    def make() -> World:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder))
        fill(made[-1])
        return made[-1]

    yield make
    for world in made:
        world.ledger.close()


def kill_at_call(bucket: fakes.MemoryBucket, number: int) -> Callable[[], bool]:
    """The process dies before its n-th call to the bucket; returns whether it did."""
    calls = 0

    def hook(method: str, key: str) -> None:
        nonlocal calls
        calls += 1
        if calls == number + 1:
            raise fakes.Killed(f"{method} {key}")

    bucket.before = hook
    return lambda: calls > number


def recover(world: World) -> None:
    """What happens after a restart: nothing but the passing of the lease, a tick and a run."""
    world.source.before = world.archive.before = None
    world.ledger.kill_at = None
    world.clock.forward(LEASE_MS / 1000)
    report = world.tick_and_run()
    assert report.run.failed == 0
    assert world.tick_and_run().run.nothing_to_do


@pytest.mark.parametrize("bucket", ["source", "archive"])
def test_killed_at_every_call_to_a_bucket(worlds: Callable[[], World], bucket: str) -> None:
    clean = worlds()
    clean.tick_and_run()
    expected = outcome(clean)
    steps = 0
    while True:
        world = worlds()
        died = kill_at_call(getattr(world, bucket), steps)
        with contextlib.suppress(fakes.Killed):
            world.tick_and_run()
        if not died():
            break
        recover(world)
        assert outcome(world) == expected, f"killed before call {steps}"
        steps += 1
    # Blocks of two tenants and one, two records, two series files each; listings and reads.
    assert steps >= (9 if bucket == "archive" else 7)


def test_killed_before_and_inside_every_transaction(worlds: Callable[[], World]) -> None:
    clean = worlds()
    begun = clean.ledger.writes
    clean.tick_and_run()
    expected, halves = outcome(clean), clean.ledger.writes - begun
    assert halves >= 2 * (2 + 2 * 3)
    for half in range(halves):
        world = worlds()
        world.ledger.kill_at = world.ledger.writes + half
        with pytest.raises(fakes.Killed):
            world.tick_and_run()
        recover(world)
        assert outcome(world) == expected, f"killed at half {half}"


def test_killed_again_and_again(worlds: Callable[[], World]) -> None:
    clean = worlds()
    clean.tick_and_run()
    world = worlds()
    for step in (4, 1):
        kill_at_call(world.archive, step)
        with pytest.raises(fakes.Killed):
            world.tick_and_run()
        world.clock.forward(LEASE_MS / 1000)
    recover(world)
    # Each job was begun at most three times, so none was given up.
    assert outcome(world) == outcome(clean)


@pytest.mark.parametrize(
    ("method", "prefix"),
    [
        ("create", "blocks/"),
        ("create", "commits/"),
        ("replace", "series/kind=dimension"),
        ("replace", "series/kind=function"),
    ],
)
def test_two_workers_on_one_job(worlds: Callable[[], World], method: str, prefix: str) -> None:
    clean, world = worlds(), worlds()
    clean.tick_and_run()
    ticks.tick(world.pipeline)
    overtaken = []

    def overtake(call: str, key: str) -> None:
        """Before its first write of that kind, the slow worker sleeps too long and another does everything."""
        if call == method and key.startswith(prefix) and not overtaken:
            overtaken.append(key)
            world.clock.forward(LEASE_MS / 1000)
            report = runs.run(world.open(), [HOUR], run_id="fast")[HOUR]
            assert (report.run.derived, report.run.busy) == (2, 0)

    world.archive.before = overtake
    slow = runs.run(world.pipeline, [HOUR], run_id="slow")[HOUR]
    assert overtaken
    assert (slow.run.derived, slow.run.failed, slow.run.busy) == (0, 0, 2)
    assert outcome(world) == outcome(clean)


def test_a_leased_job_is_left_alone(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    reports = []

    def meanwhile(method: str, key: str) -> None:
        if method == "create" and not reports:
            reports.append(runs.run(world.open(), [HOUR], run_id="other")[HOUR])

    world.archive.before = meanwhile
    assert runs.run(world.pipeline, [HOUR], run_id="run")[HOUR].run.derived == 1
    assert reports[0].run.nothing_to_do


def test_blocks_that_a_crash_left_are_replaced_unless_committed(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    (block,) = world.blocks()
    (record,) = [key for key in world.archive.objects if key.startswith("commits/")]
    good = dict(world.archive.objects)
    # As another version of a library would have written it, and crashed.
    world.archive.objects = {block: b"level 1\nacme 0005"}
    other = World.__new__(World)
    other.__dict__ = dict(world.__dict__)
    other.ledger = type(world.ledger).open(":memory:")
    other.pipeline = other.open()
    other.tick_and_run()
    assert world.archive.objects == good
    # Committed, the same bytes stay: what is committed is never overwritten.
    plain = from_bytes(good[record], record, "a commit record")
    odd = to_bytes(plain | {"duplicates": plain["duplicates"] + 1})
    world.archive.objects = {block: b"level 1\nacme 0005"}
    other.ledger.close()
    other.ledger = type(world.ledger).open(":memory:")
    other.pipeline = other.open()
    ticks.tick(other.pipeline)
    # Another worker was faster.
    world.archive.objects[record] = odd
    report = other.tick_and_run()
    assert world.archive.objects[block] == b"level 1\nacme 0005"
    assert world.archive.objects[record] == odd
    assert report.duplicates == plain["duplicates"] + 1
    other.ledger.close()


def test_the_same_input_twice_gives_the_same_bytes(worlds: Callable[[], World]) -> None:
    first, second = worlds(), worlds()
    second.clock.forward(1_000)
    first.tick_and_run()
    second.tick_and_run()
    assert first.archive.objects == second.archive.objects


def test_a_record_that_does_not_parse_is_named(world: World) -> None:
    world.segment(-30)
    ticks.tick(world.pipeline)
    (identity,) = DueJobs(world.ledger).due_jobs(HOUR, world.clock(), kinds=["dimension"])
    world.archive.objects[commit_key(HOUR, 4, identity)] = b'{"version": 99}'
    report = world.tick_and_run()
    assert "BadRecord" in report.run.errors[0]
    assert "version 99" in report.run.errors[0]
