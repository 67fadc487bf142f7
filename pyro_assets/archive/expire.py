"""What is old enough to go: which blocks, series and rows of an hour may be removed, and the marks of what was.

Add a kind of thing that retention removes here, with what keeps it. A mark is set before anything is removed, so that
a crash leaves something to remove again and never something that is missed. Rows are `rows`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from pyro_assets.export.receipts import lacks
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.files import files_of
from pyro_assets.ledger.schema import hour_upkeep, jobs, outputs, series_files
from pyro_assets.ledger.upkeep import ensure_row, is_at_rest, next_series_number, series_number
from pyro_assets.planning.sources import chunks

#: Why something is kept, in words; see `rows` for more.
OPEN: Final = "a job is open, held or given up"
UNSENT: Final = "a receiver lacks samples"


@dataclass(frozen=True, slots=True)
class ExpiredBlocks:
    """Level-1 blocks of an hour that may go.

    Attributes:
        jobs: ids of jobs whose blocks may go; keys: of their blocks, and size_bytes of all of them.
        kept: why others stay -> how many jobs.
    """

    hour: str
    jobs: tuple[str, ...]
    keys: tuple[str, ...]
    size_bytes: int
    kept: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ExpiredSeries:
    """Files of series of an hour that may go, unless `kept` says why not."""

    hour: str
    number: int
    jobs: tuple[str, ...]
    keys: tuple[str, ...]
    size_bytes: int
    kept: str


class ExpiryRecords(Queries):
    """The part of the ledger that retention asks."""

    def expired_blocks(self, hour: str, now_ms: int, scopes: Mapping[str, int], *, held: bool = False) -> ExpiredBlocks:
        """Blocks of jobs that are derived and sent to whom they are to be sent.

        Args:
            hour: partition key.
            now_ms: Unix milliseconds.
            scopes: receiver -> the time from which on it gets samples, Unix ms.
            held: only those that blocks of the hour hold, too.
        """
        of_hour = _of_hour(hour, held=held)
        is_marked = jobs.c.blocks_removed_ms.is_not(None)
        may_go = or_(is_marked, and_(_is_done(now_ms), ~_is_lacked(scopes)))
        with self.ledger.read() as connection:
            ids = connection.execute(select(jobs.c.id).where(of_hour, may_go).order_by(jobs.c.id)).scalars()
            made = connection.execute(_blocks_of(of_hour, may_go)).all()
            unsent = count_jobs(connection, of_hour, ~is_marked, _is_done(now_ms), _is_lacked(scopes))
            unfinished = count_jobs(
                connection,
                jobs.c.hour == hour,
                jobs.c.state.not_in(("split", "lost")),
                ~is_marked,
                ~_is_done(now_ms),
            )
        return ExpiredBlocks(
            hour,
            tuple(ids),
            tuple(row.key for row in made),
            sum(row.size_bytes for row in made),
            {why: count for why, count in ((UNSENT, unsent), (OPEN, unfinished)) if count},
        )

    def mark_blocks_removed(
        self, hour: str, now_ms: int, scopes: Mapping[str, int], *, held: bool = False
    ) -> list[str]:
        """Notes that the blocks that may go do so (see `expired_blocks`): nothing reads them from now on.

        Returns:
            Keys of all blocks of the hour that are to go, those of earlier calls among them.
        """
        of_hour = _of_hour(hour, held=held)
        is_marked = jobs.c.blocks_removed_ms.is_not(None)
        with self.ledger.write(planning=True) as connection:
            connection.execute(
                jobs.update()
                .where(of_hour, ~is_marked, _is_done(now_ms), ~_is_lacked(scopes))
                .values(blocks_removed_ms=now_ms)
            )
            return [row.key for row in connection.execute(_blocks_of(of_hour, is_marked))]

    def finish_blocks(self, hour: str, now_ms: int) -> None:
        """Notes that nothing is left to remove of the blocks of an hour."""
        with self.ledger.write() as connection:
            ensure_row(connection, hour)
            if not count_jobs(connection, jobs.c.hour == hour, jobs.c.blocks > 0, jobs.c.blocks_removed_ms.is_(None)):
                connection.execute(
                    hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(blocks_removed_ms=now_ms)
                )

    def expired_series(self, hour: str, now_ms: int, scopes: Mapping[str, int]) -> ExpiredSeries:
        """Files of series of an hour in which all is done; see `expired_blocks`."""
        with self.ledger.read() as connection:
            files = connection.execute(files_of(hour)).all()
            sizes = {row.key: row.size_bytes for row in files}
            return ExpiredSeries(
                hour,
                series_number(connection, hour),
                tuple(sorted({row.job_id for row in files})),
                tuple(sorted(sizes)),
                sum(sizes.values()),
                why_kept(connection, hour, now_ms, scopes),
            )

    def mark_series_removed(self, expired: ExpiredSeries, now_ms: int, scopes: Mapping[str, int]) -> int | None:
        """Notes that files of series are about to go: nothing reads them from now on.

        Returns:
            The number of files that are written from now on; None where the hour is not as it was.
        """
        with self.ledger.write(planning=True) as connection:
            is_same = series_number(connection, expired.hour) == expired.number
            if not is_same or why_kept(connection, expired.hour, now_ms, scopes):
                return None
            number = next_series_number(connection, expired.hour)
            of_hour = select(jobs.c.id).where(jobs.c.hour == expired.hour)
            connection.execute(
                series_files.update()
                .where(series_files.c.job_id.in_(of_hour), series_files.c.key.is_not(None))
                .values(key=None, size_bytes=0)
            )
            return number

    def finish_series(self, hour: str, now_ms: int) -> None:
        """Notes that nothing is left to remove of the series of an hour."""
        with self.ledger.write() as connection:
            ensure_row(connection, hour)
            if connection.execute(files_of(hour).limit(1)).first() is None:
                values = {"series_removed_ms": now_ms, "table_ms": now_ms}
                connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(values))

    def note_retention(self, hour: str, number: int, jobs_without_blocks: Sequence[str], now_ms: int) -> None:
        """Notes what the archive says that retention removed of an hour; for a ledger that is rebuilt."""
        with self.ledger.write(planning=True) as connection:
            ensure_row(connection, hour)
            connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(series_number=number))
            for chunk in chunks(jobs_without_blocks):
                connection.execute(jobs.update().where(jobs.c.id.in_(chunk)).values(blocks_removed_ms=now_ms))

    def committed_blocks(self, hour: str, now_ms: int) -> set[str] | None:
        """Keys of all blocks of an hour; None where it is not at rest or its rows are gone: then nobody can tell."""
        with self.ledger.read() as connection:
            gone = select(hour_upkeep.c.hour).where(hour_upkeep.c.hour == hour, hour_upkeep.c.collapsed_ms.is_not(None))
            if connection.execute(gone).first() is not None or not is_at_rest(connection, hour, now_ms):
                return None
            return {row.key for row in connection.execute(_blocks_of(jobs.c.hour == hour))}


def _of_hour(hour: str, *, held: bool) -> ColumnElement[bool]:
    """Jobs with blocks; if `held`, those of which every block is in a unit of the hour."""
    own = and_(jobs.c.hour == hour, jobs.c.blocks > 0)
    of_hour = select(jobs.c.id).where(jobs.c.hour == hour).correlate(None)
    alone = select(outputs.c.job_id).where(outputs.c.job_id.in_(of_hour), outputs.c.hour_unit.is_(None))
    return and_(own, jobs.c.id.not_in(alone.correlate(None))) if held else own


def _blocks_of(*conditions: ColumnElement[bool]) -> Any:
    return (
        select(outputs.c.key, outputs.c.size_bytes)
        .join(jobs, jobs.c.id == outputs.c.job_id)
        .where(*conditions)
        .order_by(outputs.c.key)
    )


def _is_done(now_ms: int) -> ColumnElement[bool]:
    return and_(jobs.c.state.in_(("derived", "exported")), jobs.c.lease_expires_ms <= now_ms)


def _is_lacked(scopes: Mapping[str, int]) -> ColumnElement[bool]:
    """Whether a receiver that is to get a job lacks some of it."""
    lacking = [and_(jobs.c.timestamp_ms >= since_ms, lacks(name)) for name, since_ms in scopes.items()]
    return or_(*lacking, jobs.c.id.is_(None))


def count_jobs(connection: Connection, *conditions: ColumnElement[bool]) -> int:
    """How many jobs are so."""
    return connection.execute(select(func.count()).select_from(jobs).where(*conditions)).scalar_one()


def why_kept(connection: Connection, hour: str, now_ms: int, scopes: Mapping[str, int]) -> str:
    """Why nothing of an hour may go, "" where it may."""
    quarantined = count_jobs(connection, jobs.c.hour == hour, jobs.c.state == "quarantined")
    if quarantined or not is_at_rest(connection, hour, now_ms):
        return OPEN
    return UNSENT if count_jobs(connection, jobs.c.hour == hour, _is_lacked(scopes)) else ""
