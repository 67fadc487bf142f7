"""Signs of life of runs: a run says every few seconds that it is there, and takes it back when it ends.

Here, too:
* whose turn it is in a live lane: the run that relieves another takes the turn when it is ready, and waits until the
  other has left.

Dagster does not notice when a run dies together with the process that started it; leases tell of jobs, not of runs
that wait for some. Add what else a live process must say of itself here; what becomes of a silent run is decided by
the sensors.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from pyro_assets.ledger.database import Ledger, Queries, fact, put_fact
from pyro_assets.ledger.records import Lane
from pyro_assets.ledger.schema import facts

_PREFIX: Final = "run/"
_TURN: Final = "turn/"
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Beat:
    """The last sign of life of a run: Unix ms, and the process (host/pid/when it began) that gave it."""

    at_ms: int
    owner: str

    @property
    def is_gone(self) -> bool:
        """Whether its process was one of this machine and is not there any more; False where that cannot be told."""
        host, _, process = self.owner.partition("/")
        return host == socket.gethostname() and process != _process(int(process.partition("/")[0]))


class Beats(Queries):
    """The part of the ledger that knows which runs are alive."""

    def beat(self, run_id: str, now_ms: int) -> None:
        """Notes that a run is alive, in this process."""
        name, owner = _PREFIX + run_id, f"{socket.gethostname()}/{_process(os.getpid())}"
        with self.ledger.write() as connection:
            changed = connection.execute(
                facts.update().where(facts.c.name == name).values(value=owner, updated_ms=now_ms)
            )
            if changed.rowcount != 1:
                connection.execute(facts.insert().values(name=name, value=owner, updated_ms=now_ms))

    def end_beats(self, run_id: str) -> None:
        """Forgets a run, which ended or was found dead."""
        with self.ledger.write() as connection:
            connection.execute(facts.delete().where(facts.c.name == _PREFIX + run_id))

    def beats(self) -> dict[str, Beat]:
        """Run -> when it was last heard of; of runs that did not end in order, dead ones too."""
        with self.ledger.read() as connection:
            rows = connection.execute(select(facts).where(facts.c.name.startswith(_PREFIX)))
            return {row.name.removeprefix(_PREFIX): Beat(row.updated_ms, row.value) for row in rows}


class LaneTurns(Queries):
    """The part of the ledger that knows which runs are at work in a live lane, the latest first."""

    def take_turn(self, lane: Lane, run_id: str, now_ms: int) -> None:
        """Lets a run be the one at work; those that were see it, and leave."""
        self._change(lane, lambda runs: [run_id, *(one for one in runs if one != run_id)], now_ms)

    def leave(self, lane: Lane, run_id: str, now_ms: int) -> None:
        """Says that a run does nothing in the lane any more."""
        self._change(lane, lambda runs: [one for one in runs if one != run_id], now_ms)

    def at_work(self, lane: Lane) -> list[str]:
        """Runs that have not left, the one whose turn it is first."""
        with self.ledger.read() as connection:
            return (fact(connection, _name(lane)) or "").split()

    def _change(self, lane: Lane, change: Callable[[list[str]], list[str]], now_ms: int) -> None:
        with self.ledger.write() as connection:
            runs = change((fact(connection, _name(lane)) or "").split())
            put_fact(connection, _name(lane), " ".join(runs) or None, now_ms)


@dataclass(frozen=True, slots=True)
class Turn:
    """The turn of a live run in its lane; without a lane, one that nobody takes."""

    ledger: Ledger
    lane: Lane | None
    run_id: str
    clock: Callable[[], int]

    @property
    def is_over(self) -> bool:
        """Whether another run has taken it."""
        return self.lane is not None and LaneTurns(self.ledger).at_work(self.lane)[:1] != [self.run_id]

    def leave(self) -> None:
        """Let the run go on that has taken it."""
        if self.lane is not None:
            LaneTurns(self.ledger).leave(self.lane, self.run_id, self.clock())


@contextmanager
def turn(
    ledger: Ledger,
    lane: Lane | None,
    run_id: str,
    clock: Callable[[], int],
    lease_ms: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Turn]:
    """Takes the turn in a lane, and waits until the run before has left, so that a shard's samples stay in order.

    One that died, or says nothing for as long as a lease, is not waited for; its jobs have leases and fences.

    Args:
        ledger: where turns are noted.
        lane: of the run; None for one that is not live.
        run_id: who takes it.
        clock: Unix milliseconds.
        lease_ms: how long a run may be silent.
        sleep: called while waiting.
    """
    mine = Turn(ledger, lane, run_id, clock)
    if lane is not None:
        LaneTurns(ledger).take_turn(lane, run_id, clock())
        while others := [one for one in LaneTurns(ledger).at_work(lane) if one != run_id]:
            beats = Beats(ledger).beats()
            for one in others:
                beat = beats.get(one)
                if beat is None or beat.is_gone or clock() - beat.at_ms > lease_ms:
                    LaneTurns(ledger).leave(lane, one, clock())
            if mine.is_over:
                break
            sleep(_POLL_SECONDS)
    try:
        yield mine
    finally:
        mine.leave()


def _name(lane: Lane) -> str:
    return f"{_TURN}{lane.index}/{lane.count}"


def _process(pid: int) -> str:
    """A process by number and, where the system tells it, when it began; the number alone where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return f"{pid}/" if Path("/proc/self/stat").exists() else f"{pid}/?"
    # A zombie has ended; field 22 is the time of its begin.
    return f"{pid}/" if stat[0] in "ZX" else f"{pid}/{stat[19]}"
