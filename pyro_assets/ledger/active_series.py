"""Series that a receiver got or refused lately: runs are processes of a minute, and the next one is to know of them.

What was sent is kept only for receivers that limit their active series. Which series may be sent is `export.validate`'s
to say, and what refused ones are good for `export.isolate`'s.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.schema import active_series, refused_series

#: Receivers themselves count a series as active for at most so long after its last sample.
REMEMBERED_MS: Final = 3 * 3_600_000
#: After this time a series that was refused is tried among the others again.
REFUSED_MS: Final = 24 * 3_600_000
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
            return {_unsigned(row[0]) for row in connection.execute(query)}

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
                "series": _signed(one),
                "noted_ms": now_ms,
            }
            for (tenant, hour), series in fresh.items()
            for one in sorted(series)
        ]
        self._remember(active_series, receiver, rows, now_ms - REMEMBERED_MS)

    def refused_series(self, receiver: str, now_ms: int) -> dict[str, set[int]]:
        """X-Scope-OrgID -> hashes of the series that a receiver refused lately."""
        query = select(refused_series.c.tenant, refused_series.c.series).where(
            refused_series.c.receiver == receiver, refused_series.c.noted_ms >= now_ms - REFUSED_MS
        )
        found: dict[str, set[int]] = {}
        with self._read() as connection:
            for tenant, series in connection.execute(query):
                found.setdefault(tenant, set()).add(_unsigned(series))
        return found

    def add_refused_series(self, receiver: str, fresh: Mapping[str, Collection[int]], now_ms: int) -> None:
        """Notes series that a receiver refused, and forgets those of long ago."""
        rows = [
            {"receiver": receiver, "tenant": tenant, "series": _signed(one), "noted_ms": now_ms}
            for tenant, series in fresh.items()
            for one in sorted(series)
        ]
        self._remember(refused_series, receiver, rows, now_ms - REFUSED_MS)

    def _remember(self, table: Table, receiver: str, rows: Sequence[Mapping[str, Any]], oldest_ms: int) -> None:
        with self._write() as connection:
            # Another process may note the same series.
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                connection.execute(make(table).on_conflict_do_nothing(), rows[begin : begin + _ROWS_AT_ONCE])
            connection.execute(table.delete().where(table.c.receiver == receiver, table.c.noted_ms < oldest_ms))


def _signed(series: int) -> int:
    """Databases have no unsigned numbers of 64 bits."""
    return series - 2 * _SIGN if series >= _SIGN else series


def _unsigned(series: int) -> int:
    return series % (2 * _SIGN)
