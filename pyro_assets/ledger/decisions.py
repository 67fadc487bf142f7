"""Decisions of people, when and why, for later readers.

Add nothing that a worker decides; the state of a job is in `jobs`, its failures in `quarantine`.
"""

from dataclasses import asdict, dataclass

from sqlalchemy import select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.schema import decisions


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision: `subject` is a job's id, a source's key or a receiver's name."""

    at_ms: int
    author: str
    action: str
    subject: str
    why: str


class DecisionRecords(Queries):
    """The part of the ledger that remembers decisions."""

    def note_decision(self, decision: Decision) -> None:
        """Remembers a decision, after it took effect."""
        with self.ledger.write() as connection:
            connection.execute(decisions.insert().values(asdict(decision)))

    def past_decisions(self, *, subject: str | None = None, limit: int = 100) -> list[Decision]:
        """Decisions, the latest first; of one subject or of all."""
        query = select(decisions).order_by(decisions.c.id.desc()).limit(limit)
        if subject is not None:
            query = query.where(decisions.c.subject == subject)
        with self.ledger.read() as connection:
            rows = connection.execute(query)
            return [Decision(row.at_ms, row.author, row.action, row.subject, row.why) for row in rows]
