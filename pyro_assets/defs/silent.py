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

from pyro_assets.defs.jobs import lane_of
from pyro_assets.errors import LedgerError
from pyro_assets.pipeline.pipeline import Beat

BEAT_SECONDS: Final = 5.0


class Beating(Protocol):
    """The part of a pipeline that is asked here."""

    def beat(self, run_id: str) -> None:
        """Says that a run is alive."""

    def end_beats(self, run_id: str) -> None:
        """Says that a run will not say anything any more."""

    def last_words(self, run_id: str) -> str:
        """Why its process ended over one of its jobs; "" where nothing is known."""

    def beats(self) -> dict[str, Beat]:
        """Run that did not end in order -> its last sign of life."""


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
    """Marks runs as failed whose process is gone, so that their lane is free.

    On another machine a process is gone when it is silent for as long as a lease; on this one, that can be seen. A run
    of which nothing was ever heard is left to Dagster, unless it is a live one: these speak when they start, which may
    take a while on a machine that is busy. Whether a run is really dead does not matter to the data: jobs have leases
    and fences.

    Args:
        instance: Dagster's records.
        work: knows who was heard of.
        now_ms: Unix milliseconds.
        lease_ms: how long a worker may be silent until its jobs are another's.

    Returns:
        Their ids.
    """
    beats = work.beats()
    found = []
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for record in records:
        run = record.dagster_run
        beat, start_ms = beats.get(run.run_id), round((record.start_time or now_ms / 1000) * 1000)
        if beat is not None:
            is_dead, silent_ms = beat.is_gone or now_ms - beat.at_ms > lease_ms, now_ms - beat.at_ms
        else:
            # A run that just took its last beat back still has to write that it succeeded: its events are fresh.
            events = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
            silent_ms = now_ms - max([start_ms, *(round(event.timestamp * 1000) for event in events)])
            is_dead = lane_of(run) is not None and silent_ms > 2 * lease_ms
        if is_dead:
            words = f" ({words})" if (words := work.last_words(run.run_id)) else ""
            instance.report_run_failed(
                run,
                f"nothing was heard of this run for {silent_ms / 1000:.0f} s: its process is gone{words}. What it had "
                "begun is done by the next run, once.",
            )
            found.append(run.run_id)
    started = {record.dagster_run.run_id for record in records}
    old = [run_id for run_id, beat in beats.items() if run_id not in started and now_ms - beat.at_ms > lease_ms]
    for run_id in [*found, *old]:
        work.end_beats(run_id)
    return found


def _quietly(say: Callable[[], None]) -> None:
    try:
        say()
    except LedgerError as error:
        # The next beat may be heard; a ledger that stays away fails the run's work itself.
        logging.getLogger(__name__).warning("a sign of life was not heard: %s", error)
