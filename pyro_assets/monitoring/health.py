"""The ledger's part of the project's own metrics: what was done in a span of time, and what is quarantined now.

Each question costs what happened in between, not what the ledger holds. Names of metrics belong to
`monitoring.metrics`.
"""

from dataclasses import dataclass

from sqlalchemy import and_, func, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.schema import jobs


@dataclass(frozen=True, slots=True)
class DoneSince:
    """Sums over the jobs whose blocks were committed in a span of time."""

    jobs: int
    bytes_in: int
    bytes_out: int
    profiles: int
    duplicates: int
    conflicts: int


class LedgerFigures(Queries):
    """The part of the ledger that the project's own metrics come from."""

    def done_between(self, after_ms: int, until_ms: int) -> DoneSince:
        """Sums over the jobs that were committed in (after_ms, until_ms]."""
        names = ("bytes_in", "bytes_out", "profiles", "duplicates", "conflicts")
        sums = [func.coalesce(func.sum(jobs.c[name]), 0).label(name) for name in names]
        span = and_(jobs.c.compacted_ms > after_ms, jobs.c.compacted_ms <= until_ms)
        with self.ledger.read() as connection:
            row = connection.execute(select(func.count().label("jobs"), *sums).where(span)).one()
        return DoneSince(row.jobs, *(int(getattr(row, name)) for name in names))

    def jobs_by_state(self, since_hour: str) -> dict[str, int]:
        """State -> jobs of this hour and later ones."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(jobs.c.state, func.count()).where(jobs.c.hour >= since_hour).group_by(jobs.c.state)
            )
            return {row[0]: row[1] for row in rows}
