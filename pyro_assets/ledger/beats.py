"""Signs of life of runs: a run says every few seconds that it is there, and takes it back when it ends.

Dagster does not notice when a run dies together with the process that started it; leases tell of jobs, not of runs
that wait for some. Add what else a live process must say of itself here; what becomes of a silent run is decided by
the sensors.
"""

from typing import Final

from sqlalchemy import select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.schema import facts

_PREFIX: Final = "run/"


class Beats(Database):
    """The part of the ledger that knows which runs are alive."""

    def beat(self, run_id: str, now_ms: int) -> None:
        """Notes that a run is alive."""
        name = _PREFIX + run_id
        with self._write() as connection:
            changed = connection.execute(facts.update().where(facts.c.name == name).values(updated_ms=now_ms))
            if changed.rowcount != 1:
                connection.execute(facts.insert().values(name=name, value="", updated_ms=now_ms))

    def end_beats(self, run_id: str) -> None:
        """Forgets a run, which ended or was found dead."""
        with self._write() as connection:
            connection.execute(facts.delete().where(facts.c.name == _PREFIX + run_id))

    def beats(self) -> dict[str, int]:
        """Run -> when it was last heard of, Unix ms; of runs that did not end in order, dead ones too."""
        with self._read() as connection:
            rows = connection.execute(select(facts.c.name, facts.c.updated_ms).where(facts.c.name.startswith(_PREFIX)))
            return {row.name.removeprefix(_PREFIX): row.updated_ms for row in rows}
