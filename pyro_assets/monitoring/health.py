"""What happened since a moment, and what is wrong now: the ledger's part of the project's own metrics.

Each question costs what happened in between, not what the ledger holds. Names of metrics belong to
`monitoring.metrics`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import and_, func, select

from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import receipt_of
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.lag import is_live
from pyro_assets.ledger.schema import jobs, receipts


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
        """What was committed after a moment, up to and including another."""
        names = ("bytes_in", "bytes_out", "profiles", "duplicates", "conflicts")
        sums = [func.coalesce(func.sum(jobs.c[name]), 0).label(name) for name in names]
        span = and_(jobs.c.compacted_ms > after_ms, jobs.c.compacted_ms <= until_ms)
        with self.ledger.read() as connection:
            row = connection.execute(select(func.count().label("jobs"), *sums).where(span)).one()
        return DoneSince(row.jobs, *(int(getattr(row, name)) for name in names))

    def closed_between(self, after_ms: int, until_ms: int) -> Iterator[tuple[Receipt, int | None]]:
        """Receipts that were closed for the first time in a span of time, and when their job's first source came.

        None for those that a person asked for, such as a backfill's: their age is no lag.
        """
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(receipts, jobs.c.first_created_ms, is_live(receipts.c.first_ms).label("is_live"))
                .join(jobs, jobs.c.id == receipts.c.job_id)
                .where(receipts.c.first_ms > after_ms, receipts.c.first_ms <= until_ms)
                .order_by(receipts.c.first_ms)
            ).all()
        for row in rows:
            yield receipt_of(row), row.first_created_ms if row.is_live else None

    def jobs_by_state(self, since_hour: str) -> dict[str, int]:
        """State -> jobs of this hour and later ones."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(jobs.c.state, func.count()).where(jobs.c.hour >= since_hour).group_by(jobs.c.state)
            )
            return {row[0]: row[1] for row in rows}
