"""Series that a receiver got lately, for receivers that limit them: runs are processes of a minute, an hour is longer.

Only receivers with such a limit have rows here. Which series may be sent is `export.validate`'s to say.
"""

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.schema import active_series

#: Receivers themselves count a series as active for at most so long after its last sample.
REMEMBERED_MS: Final = 3 * 3_600_000
_ROWS_AT_ONCE: Final = 5_000
_SIGN: Final = 1 << 63


class ActiveSeriesRecords(Database):
    """The part of the ledger that knows which series count against a receiver's limit."""

    def active_series(self, receiver: str, tenant: str, hour: int) -> set[int]:
        """Hashes (0 <= hash < 2**64) of the series of a tenant and hour (Unix ms // 3,600,000) that it was sent."""
        query = select(active_series.c.series).where(
            active_series.c.receiver == receiver, active_series.c.tenant == tenant, active_series.c.hour == hour
        )
        with self._read() as connection:
            # Databases have no unsigned numbers of 64 bits.
            return {row[0] % (2 * _SIGN) for row in connection.execute(query)}

    def add_active_series(self, receiver: str, fresh: Mapping[tuple[str, int], Collection[int]], now_ms: int) -> None:
        """Notes series before their first sample is sent, and forgets those of long ago.

        Args:
            receiver: its name.
            fresh: (tenant, hour) -> hashes; those that are known already do not matter.
            now_ms: Unix milliseconds.
        """
        rows = [
            {
                "receiver": receiver,
                "tenant": tenant,
                "hour": hour,
                "series": one - 2 * _SIGN if one >= _SIGN else one,
                "noted_ms": now_ms,
            }
            for (tenant, hour), series in fresh.items()
            for one in sorted(series)
        ]
        with self._write() as connection:
            # Another process may send other jobs of the hour.
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                connection.execute(make(active_series).on_conflict_do_nothing(), rows[begin : begin + _ROWS_AT_ONCE])
            connection.execute(
                active_series.delete().where(
                    active_series.c.receiver == receiver, active_series.c.noted_ms < now_ms - REMEMBERED_MS
                )
            )
