"""What has just landed comes first, before and during a backlog; the backlog in the order that was chosen."""

import pytest

from pyro_assets.jobs.counts import Progress
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.run import Agenda, Order, run_jobs
from pyro_assets.operations import runs, ticks
from pyro_assets.settings import Settings
from pyro_assets.storage.keys import hour_of
from tests.support import fakes
from tests.support.ledgers import HOUR, KINDS, NOW_MS
from tests.support.worlds import World

HOURS = [hour_of(NOW_MS - hours * 3_600_000) for hours in (3, 2, 1, 0)]
#: Seconds before now: three hours of backlog, some of this hour's, and what has just landed.
BACKLOG = (-10_800, -7_200, -3_600, -1_500)
EDGE = (-90, -30)


def filled(world: World) -> None:
    # A shard for each, so that none shares a job.
    for shard, second in enumerate((*BACKLOG, *EDGE)):
        world.segment(second, shard=shard)
    ticks.tick(world.pipeline)


def seconds_of(world: World, listed: list[tuple[str, str]]) -> list[float]:
    return [(JobRecords(world.ledger).look_up(job_id)[0].timestamp_ms - NOW_MS) / 1000 for _, job_id in listed]


@pytest.mark.parametrize(
    ("newest_first", "expected"),
    [(False, [*EDGE, *BACKLOG]), (True, [*EDGE, -1_500, -3_600, -7_200, -10_800])],
)
def test_the_live_edge_comes_first_then_the_backlog(world: World, newest_first: bool, expected: list[float]) -> None:
    filled(world)
    agenda = Agenda(world.ledger, HOURS, KINDS, None, world.clock, newest_first=newest_first)
    listed = agenda.listed()
    assert seconds_of(world, listed) == expected
    assert [hour for hour, _ in listed] == [hour_of(NOW_MS + second * 1000) for second in expected]


def test_only_hours_that_were_asked_for_are_touched(world: World) -> None:
    filled(world)
    agenda = Agenda(world.ledger, HOURS[:2], KINDS, None, world.clock)
    assert seconds_of(world, agenda.listed()) == [-10_800, -7_200]


def test_it_looks_again_every_two_seconds_for_what_landed(world: World) -> None:
    filled(world)
    seconds = fakes.Clock(0)
    agenda = Agenda(world.ledger, HOURS, KINDS, None, world.clock, monotonic=lambda: seconds() / 1000)
    agenda.listed()
    world.segment(-20, salt=1)
    world.clock.forward(6)
    ticks.tick(world.pipeline)
    seconds.forward(1.9)
    assert agenda.landed() == []
    seconds.forward(0.2)
    assert seconds_of(world, agenda.landed()) == [-20]
    seconds.forward(5)
    assert agenda.landed() == []


@pytest.mark.parametrize(("order", "backlog"), [("oldest", HOURS), ("newest", HOURS[::-1])])
def test_the_setting_decides_for_runs(world: World, order: str, backlog: list[str]) -> None:
    filled(world)
    settings = Settings(job_blocks=3, max_attempts=3, order=order)
    seen: list[Progress] = []
    runs.run(world.open(settings=settings), HOURS, run_id="run", progress=seen.append)
    assert [at.hour for at in seen] == [HOUR, HOUR, *backlog]
    assert (seen[-1].done, seen[-1].total) == (6, 6)


def test_what_lands_during_a_backlog_is_done_next(world: World) -> None:
    filled(world)
    listed = Agenda(world.ledger, HOURS, KINDS, None, world.clock).listed()
    edge, backlog = listed[:2], listed[2:]
    asked: list[str] = []

    def landed() -> list[tuple[str, str]]:
        asked.append("")
        return edge if len(asked) == 3 else []

    progress: list[Progress] = []
    worker = runs.worker_of(world.pipeline, "run", KINDS)
    counts = run_jobs(worker, backlog, Order(compact=True, kinds=KINDS, progress=progress.append), landed)
    done = [at.job_id for at in progress]
    assert done == [job_id for _, job_id in [*backlog[:1], *edge, *backlog[1:]]]
    assert (progress[-1].done, progress[-1].total) == (6, 6)
    assert sum(count.derived for count in counts.values()) == 6
