"""Which hours were listed as a whole, and how far the listings of others have come.

Add what must be known of a listing of whole hours here; what listings find is recorded by `sources`, and when to list
is the pipeline's to decide.
"""

from collections.abc import Iterable

from sqlalchemy import func, or_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.schema import cursors, hour_upkeep
from pyro_assets.ledger.upkeep import ensure_row


class ListedHours(Queries):
    """The part of the ledger that knows where somebody looked."""

    def listing_began(self, purpose: str, not_before_ms: int) -> int | None:
        """When the listing began of which `cursors(purpose)` tell how far it came; None where there is none to go on.

        One with a cursor from before `not_before_ms` is too old to go on with, and is forgotten.
        """
        with self.ledger.read() as connection:
            oldest_ms = connection.execute(
                select(func.min(cursors.c.updated_ms)).where(cursors.c.purpose == purpose)
            ).scalar()
        if oldest_ms is not None and oldest_ms < not_before_ms:
            with self.ledger.write() as connection:
                connection.execute(cursors.delete().where(cursors.c.purpose == purpose))
            return None
        return oldest_ms

    def note_listed(self, hours: Iterable[str], began_ms: int) -> None:
        """Notes that a listing that began then has gone through all of these hours."""
        with self.ledger.write() as connection:
            for hour in hours:
                ensure_row(connection, hour)
                earlier = or_(hour_upkeep.c.listed_ms.is_(None), hour_upkeep.c.listed_ms < began_ms)
                connection.execute(
                    hour_upkeep.update().where(hour_upkeep.c.hour == hour, earlier).values(listed_ms=began_ms)
                )

    def listed_hours(self) -> set[str]:
        """The hours that were listed as a whole after they were over."""
        with self.ledger.read() as connection:
            return set(
                connection.execute(select(hour_upkeep.c.hour).where(hour_upkeep.c.listed_ms.is_not(None))).scalars()
            )
