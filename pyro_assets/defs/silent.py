"""Runs that died without Dagster's knowledge: runs say that they are alive, and who is silent is ended.

When code server and run are killed together, Dagster keeps the run as started until its longest runtime, which would
hold up its lane for minutes (a backfill's for hours). What the run had claimed is another matter: leases run out.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import dagster as dg

from pyro_assets.defs.jobs import LANE, lane_of
from pyro_assets.errors import LedgerError

BEAT_SECONDS: Final = 5.0


class Beating(Protocol):
    """The part of a pipeline that is asked here."""

    def beat(self, run_id: str) -> None:
        """Says that a run is alive."""

    def end_beats(self, run_id: str) -> None:
        """Says that a run will not say anything any more."""

    def silence_seconds(self) -> dict[str, float]:
        """Run that did not end in order -> for how long nothing was heard of it."""


@contextmanager
def beating(work: Beating, run_id: str, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Say that a run is alive, now and every few seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            _quietly(lambda: work.beat(run_id))
            ended.wait(seconds)

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _quietly(lambda: work.end_beats(run_id))


def end_silent_runs(instance: dg.DagsterInstance, work: Beating, now_ms: int, lease_ms: int) -> list[str]:
    """Marks runs as failed that have not said anything for half a lease, so that their lane is free.

    A run of which nothing was ever heard is left to Dagster, unless it is a live one: these speak at once. Whether it
    is really dead does not matter to the data: jobs have leases and fences.

    Args:
        instance: Dagster's records.
        work: knows who was heard of.
        now_ms: Unix milliseconds.
        lease_ms: how long a worker may be silent until its jobs are another's.

    Returns:
        Their ids.
    """
    silence = work.silence_seconds()
    found = []
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for record in records:
        run = record.dagster_run
        if LANE not in run.tags or record.start_time is None:
            continue
        silent = silence.get(run.run_id, now_ms / 1000 - record.start_time if lane_of(run) is not None else 0.0)
        if silent * 1000 > lease_ms / 2:
            instance.report_run_failed(
                run,
                f"nothing was heard of this run for {silent:.0f} s: its process is gone. What it had begun is done by "
                "the next run, once.",
            )
            found.append(run.run_id)
    started = {record.dagster_run.run_id for record in records}
    for run_id in [*found, *(run_id for run_id, seconds in silence.items() if run_id not in started and seconds > 60)]:
        work.end_beats(run_id)
    return found


def _quietly(say: Callable[[], None]) -> None:
    try:
        say()
    except LedgerError as error:
        # The next beat may be heard; a ledger that stays away fails the run's work itself.
        logging.getLogger(__name__).warning("a sign of life was not heard: %s", error)
