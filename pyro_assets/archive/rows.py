"""Hours whose rows were removed: a few bytes of each source tell that it was done, and figures stay for people.

Add what the ledger must still know of such an hour here. Everything else is in the archive, from which the rows can be
put back; late sources of the hour are found and done as ever.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, and_, func, select

from pyro_assets.archive.expire import count_jobs, why_kept
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.hour_blocks import forget_units
from pyro_assets.ledger.hours import hour_status_of, to_json
from pyro_assets.ledger.schema import (
    UNHELD_STATES,
    collapsed_sources,
    hour_upkeep,
    job_sources,
    jobs,
    outputs,
    quarantine,
    receipts,
    series_files,
    sources,
)
from pyro_assets.ledger.upkeep import ensure_row, is_merged
from pyro_assets.planning.remembered import collapsible, remember

#: Why rows are kept, in words; see `expire` for more.
UNMERGED: Final = "its series are not in the table yet"
UNSEEN: Final = "a source that was set aside or lost is not acknowledged"


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """Rows of an hour that may go, unless `kept` says why not."""

    hour: str
    sources: int
    jobs: int
    kept: str


class SourceRows(Queries):
    """The part of the ledger that removes rows."""

    def expired_rows(self, hour: str, now_ms: int, scopes: Mapping[str, int], *, has_table: bool = True) -> ExpiredRows:
        """Rows of an hour of which nothing is left to decide; where there is a table, its series must be there."""
        with self.ledger.read() as connection:
            found = connection.execute(select(func.count()).select_from(sources).where(collapsible(hour))).scalar_one()
            return ExpiredRows(
                hour,
                found,
                count_jobs(connection, jobs.c.hour == hour),
                _why_rows_are_kept(connection, hour, now_ms, scopes, has_table),
            )

    def collapse(self, hour: str, now_ms: int, scopes: Mapping[str, int], *, has_table: bool = True) -> bool:
        """Puts what must be known of an hour's sources into a few bytes each, and removes its rows.

        Returns:
            False where the hour is not as `expired_rows` found it; nothing was changed then.
        """
        with self.ledger.write(planning=True) as connection:
            if _why_rows_are_kept(connection, hour, now_ms, scopes, has_table):
                return False
            ensure_row(connection, hour)
            status = hour_status_of(connection, hour)
            values = {"figures": to_json(status), "collapsed_ms": now_ms}
            connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(values))
            remember(connection, hour)
            _delete_rows(connection, hour)
        return True

    def uncollapse(self, hour: str) -> None:
        """Forgets what was kept of an hour whose rows were put back."""
        with self.ledger.write(planning=True) as connection:
            connection.execute(collapsed_sources.delete().where(collapsed_sources.c.hour == hour))
            connection.execute(
                hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(collapsed_ms=None, figures=None)
            )


def _delete_rows(connection: Connection, hour: str) -> None:
    of_hour = select(jobs.c.id).where(jobs.c.hour == hour)
    forget_units(connection, hour)
    for table in (receipts, series_files, outputs, job_sources):
        connection.execute(table.delete().where(table.c.job_id.in_(of_hour)))
    connection.execute(quarantine.delete().where(quarantine.c.hour == hour))
    connection.execute(jobs.delete().where(jobs.c.hour == hour))
    connection.execute(sources.delete().where(collapsible(hour)))


def _why_rows_are_kept(
    connection: Connection, hour: str, now_ms: int, scopes: Mapping[str, int], has_table: bool
) -> str:
    if why := why_kept(connection, hour, now_ms, scopes):
        return why
    if has_table and not is_merged(connection, hour):
        return UNMERGED
    unseen = (
        select(sources.c.id)
        .outerjoin(quarantine, and_(quarantine.c.subject == "source", quarantine.c.subject_id == sources.c.key))
        .where(sources.c.hour == hour, sources.c.state.in_(UNHELD_STATES), quarantine.c.released_ms.is_(None))
    )
    return UNSEEN if connection.execute(unseen.limit(1)).first() else ""
