"""How long a live run stays, with a clock that only moves when it is told to."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyro_assets.defs.runs import IDLE_SECONDS, Reports, Stay, stay
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.monitoring.reports import HourReport

NOW, NEXT, BEFORE = "2026-11-25-13:00", "2026-11-25-14:00", "2026-11-25-12:00"


@dataclass
class World:
    """Jobs become due at given times (seconds -> hour); each takes a second."""

    plan: dict[float, str]
    failing: bool = False
    relieved_at: float = float("inf")
    time: float = 0.0
    done: list[tuple[float, str]] = field(default_factory=list)
    said: list[tuple[float, list[str]]] = field(default_factory=list)

    def due_hours(self) -> dict[str, int]:
        due: dict[str, int] = {}
        for at, hour in self.plan.items():
            if at <= self.time:
                due[hour] = due.get(hour, 0) + 1
        return due

    def run(self, hours: Sequence[str]) -> Reports:
        reports = {}
        for hour in hours:
            mine = [at for at, other in self.plan.items() if other == hour and at <= self.time]
            for at in mine:
                del self.plan[at]
                self.time += 1
                self.done.append((self.time, hour))
            counts = RunCounts(failed=len(mine)) if self.failing else RunCounts(len(mine), len(mine))
            reports[hour] = HourReport(hour, run=counts)
        return reports

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def stay(self, hours: Sequence[str], seconds: float) -> Reports:
        def say(reports: Reports) -> None:
            self.said.append((self.time, list(reports)))

        how = Stay(
            seconds,
            say,
            is_relieved=lambda: self.time >= self.relieved_at,
            clock=lambda: self.time,
            sleep=self.sleep,
        )
        return stay(self.due_hours, self.run, self.run(hours), how)


def test_what_becomes_due_is_taken_at_once():
    world = World({0: NOW, 5: NOW, 10: NOW})
    reports = world.stay([NOW], 45)
    assert world.done == [(1, NOW), (6, NOW), (11, NOW)]
    assert reports[NOW].run.compacted == 3


def test_the_time_ends_it():
    world = World({float(at): NOW for at in range(0, 100, 5)})
    world.stay([NOW], 30)
    assert 30 <= world.time < 32
    assert world.plan  # the rest is for the next run


def test_a_while_without_work_ends_it():
    world = World({0: NOW, 40: NOW})
    world.stay([NOW], 45)
    assert world.time == 1 + IDLE_SECONDS
    assert world.done == [(1, NOW)]


def test_a_later_hour_is_left_to_the_run_that_relieves_it():
    world = World({0: NOW, 3: BEFORE, 5: NOW, 8: NEXT, 9: NOW, 20: NOW}, relieved_at=15)
    world.stay([NOW], 45)
    assert world.time == 15
    assert world.done == [(1, NOW), (6, NOW), (10, NOW)]


def test_only_the_hours_of_the_run_are_touched():
    world = World({0: NOW, 1: BEFORE, 2: NOW, 3: BEFORE})
    reports = world.stay([BEFORE, NOW], 45)
    assert set(reports) == {BEFORE, NOW}
    assert reports[BEFORE].run.compacted == reports[NOW].run.compacted == 2


def test_a_failed_job_ends_it_so_that_it_is_seen():
    world = World({0: NOW, 5: NOW}, failing=True)
    reports = world.stay([NOW], 45)
    assert reports[NOW].run.failed == 1
    assert world.time == 1


def test_what_was_done_is_said_meanwhile_but_not_often():
    world = World({float(at): NOW for at in range(0, 44, 2)})
    world.stay([NOW], 45)
    times = [time for time, _ in world.said]
    assert 3 <= len(times) <= 4
    assert all(hours == [NOW] for _, hours in world.said)
