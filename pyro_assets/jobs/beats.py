"""Signs of life of runs: a run says every few seconds that it is there, and takes it back when it ends.

Dagster does not notice when a run dies together with the process that started it; leases tell of jobs, not of runs
that wait for some. Add what else a live process must say of itself here; what becomes of a silent run is decided by
the sensors.
"""

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.schema import facts

_PREFIX: Final = "run/"


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


def _process(pid: int) -> str:
    """A process by number and, where the system tells it, when it began; the number alone where there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return f"{pid}/" if Path("/proc/self/stat").exists() else f"{pid}/?"
    # A zombie has ended; field 22 is the time of its begin.
    return f"{pid}/" if stat[0] in "ZX" else f"{pid}/{stat[19]}"
