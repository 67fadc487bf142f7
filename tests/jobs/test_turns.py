"""Live runs that relieve each other: the next takes the turn, and begins when the one before has left, or is dead."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_assets.jobs.beats import Beats, LaneTurns, turn
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Lane
from tests.support.fakes import Clock
from tests.support.ledgers import LEASE_MS, NOW_MS, ledger_file

LANE = Lane()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(ledger_file(tmp_path / "ledger.db"))
    yield ledger
    ledger.close()


def never(_seconds: float) -> None:
    raise AssertionError("there is nobody to wait for")


def test_the_first_run_waits_for_nobody_and_leaves_nothing_behind(ledger: Ledger):
    with turn(ledger, LANE, "first", Clock(NOW_MS), LEASE_MS, never) as first:
        assert not first.is_over
        assert LaneTurns(ledger).at_work(LANE) == ["first"]
    assert LaneTurns(ledger).at_work(LANE) == []


def test_the_next_run_is_seen_at_once_and_begins_when_the_one_before_has_left(ledger: Ledger):
    clock, steps = Clock(NOW_MS), []
    Beats(ledger).beat("first", NOW_MS)
    with turn(ledger, LANE, "first", clock, LEASE_MS, never) as first:

        def wait(_seconds: float) -> None:
            steps.append(first.is_over)
            if len(steps) == 3:
                first.leave()

        with turn(ledger, LANE, "second", clock, LEASE_MS, wait) as second:
            assert steps == [True, True, True]
            assert not second.is_over
    assert LaneTurns(ledger).at_work(LANE) == []


def test_a_run_that_died_or_is_silent_is_not_waited_for(ledger: Ledger):
    clock = Clock(NOW_MS)
    # Its process is gone without a word, or it has not said anything for as long as a lease.
    for silent in ("nobody", "dead"):
        LaneTurns(ledger).take_turn(LANE, silent, NOW_MS)
    Beats(ledger).beat("dead", NOW_MS - LEASE_MS - 1)
    with turn(ledger, LANE, "next", clock, LEASE_MS, lambda _: None):
        assert LaneTurns(ledger).at_work(LANE) == ["next"]


def test_lanes_do_not_wait_for_each_other_and_other_runs_for_none(ledger: Ledger):
    clock = Clock(NOW_MS)
    Beats(ledger).beat("one", NOW_MS)
    with (
        turn(ledger, Lane(0, 2), "one", clock, LEASE_MS, never) as one,
        turn(ledger, Lane(1, 2), "other", clock, LEASE_MS, never),
        turn(ledger, None, "backfill", clock, LEASE_MS, never) as backfill,
    ):
        assert not one.is_over
        assert not backfill.is_over
