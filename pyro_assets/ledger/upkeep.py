"""Hours that are over: whether their files of series may be merged, and which were.

Add what upkeep must decide or note of an hour in one transaction; what is removed for its age is `archive.expire`'s,
and bytes are the pipeline's. Nothing here touches an hour in which a job is open or held.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

from sqlalchemy import Connection, and_, func, or_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.files import files_of
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.ledger.schema import OPEN_STATES, hour_upkeep, jobs, series_files, sources
from pyro_assets.storage.keys import TABLE


@dataclass(frozen=True, slots=True)
class UpkeepState:
    """Steps of upkeep that an hour has behind it; see `schema.hour_upkeep`."""

    hour: str
    series_number: int = 0
    table_ms: int | None = None
    series_removed_ms: int | None = None
    blocks_removed_ms: int | None = None
    collapsed_ms: int | None = None
    hour_blocks_ms: int | None = None


@dataclass(frozen=True, slots=True)
class MergeOrder:
    """An hour whose files may enter the table of series.

    Attributes:
        number: of this merge; jobs of the hour that are derived from now on write files with this number.
        files: of both kinds, by kind and then by time.
        is_needed: the table has not all of them.
    """

    hour: str
    number: int
    files: tuple[SeriesFile, ...]
    is_needed: bool


@dataclass(frozen=True, slots=True)
class Merged:
    """A file of the table and where its jobs were before: job -> key."""

    kind: str
    key: str
    size_bytes: int
    crc32c: int
    before: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Growth:
    """Sources, and bytes of level-1 blocks and of files of series, that the jobs of some hours added."""

    sources: int
    block_bytes: int
    series_bytes: int


class UpkeepRecords(Queries):
    """The part of the ledger that knows what upkeep did to hours."""

    def hours_before(self, hour: str) -> list[str]:
        """Hours with jobs, before this one, oldest first; costs a look-up for each."""
        with self.ledger.read() as connection:
            return hours_with_jobs(connection, hour)

    def upkeep_states(self, hours: Sequence[str] | None = None) -> dict[str, UpkeepState]:
        """Hour -> its upkeep, for these hours or all; hours without any are missing."""
        columns = [hour_upkeep.c[one.name] for one in fields(UpkeepState)]
        query = select(*columns).order_by(hour_upkeep.c.hour)
        if hours is not None:
            query = query.where(hour_upkeep.c.hour.in_(list(hours)))
        with self.ledger.read() as connection:
            return {row.hour: UpkeepState(**row._mapping) for row in connection.execute(query)}

    def begin_merge(
        self, hour: str, now_ms: int, quiet_ms: int, table: Collection[str], others: Sequence[SeriesFile] = ()
    ) -> MergeOrder | None:
        """Lets the files of an hour enter the table: jobs that are derived later write files with a higher number.

        Args:
            hour: partition key of an hour that is over.
            now_ms: Unix milliseconds.
            quiet_ms: no file may be younger than this: a backfill may be at it.
            table: keys of the files that the table has of the hour.
            others: files of jobs whose rows are gone; they stay what they are.

        Returns:
            None where the hour is not at rest; nothing was changed then.
        """
        with self.ledger.write(planning=True) as connection:
            if not is_at_rest(connection, hour, now_ms):
                return None
            newest = connection.execute(
                select(func.max(series_files.c.written_ms))
                .join(jobs, jobs.c.id == series_files.c.job_id)
                .where(jobs.c.hour == hour)
            ).scalar()
            if newest is not None and newest > now_ms - quiet_ms:
                return None
            own = [SeriesFile.from_row(row) for row in connection.execute(files_of(hour))]
            known = {(file.job_id, file.kind) for file in own}
            files = (*own, *(file for file in others if (file.job_id, file.kind) not in known))
            is_needed = any(file.key not in table for file in files)
            number = next_series_number(connection, hour) if is_needed else series_number(connection, hour)
        return MergeOrder(hour, number, files, is_needed)

    def finish_merge(self, order: MergeOrder, merged: Sequence[Merged]) -> bool:
        """Notes that jobs are in files of the table, except those that were derived again since.

        Returns:
            False where another merge has begun since; nothing was changed then.
        """
        with self.ledger.write(planning=True) as connection:
            if series_number(connection, order.hour) != order.number:
                return False
            for file in merged:
                for job_id, key in file.before.items():
                    connection.execute(
                        series_files.update()
                        .where(
                            series_files.c.job_id == job_id,
                            series_files.c.kind == file.kind,
                            series_files.c.key == key,
                        )
                        .values(key=file.key, size_bytes=file.size_bytes, crc32c=file.crc32c)
                    )
        return True

    def mark_merged(self, order: MergeOrder, now_ms: int) -> None:
        """Notes that nothing is left to merge in an hour, unless a job was derived since."""
        with self.ledger.write() as connection:
            ensure_row(connection, order.hour)
            if is_merged(connection, order.hour):
                connection.execute(
                    hour_upkeep.update()
                    .where(hour_upkeep.c.hour == order.hour, hour_upkeep.c.series_number == order.number)
                    .values(table_ms=now_ms)
                )

    def merge_again(self, hour: str) -> None:
        """Lets the next merge look at an hour, because the table lacks files that it had."""
        with self.ledger.write() as connection:
            connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(table_ms=None))

    def growth(self, first: str, end: str) -> Growth:
        """The growth by the committed jobs of the hours (partition keys) of [first, end)."""
        span = and_(jobs.c.hour >= first, jobs.c.hour < end)
        with self.ledger.read() as connection:
            count, block_bytes = connection.execute(
                select(func.coalesce(func.sum(jobs.c.sources), 0), func.coalesce(func.sum(jobs.c.bytes_out), 0)).where(
                    span, jobs.c.compacted_ms.is_not(None)
                )
            ).one()
            # Jobs may share a file.
            files = (
                select(series_files.c.key, func.max(series_files.c.size_bytes).label("size_bytes"))
                .join(jobs, jobs.c.id == series_files.c.job_id)
                .where(span, series_files.c.key.is_not(None))
                .group_by(series_files.c.key)
                .subquery()
            )
            series_bytes = connection.execute(select(func.coalesce(func.sum(files.c.size_bytes), 0))).scalar_one()
        return Growth(int(count), int(block_bytes), int(series_bytes))


def hours_with_jobs(connection: Connection, before: str) -> list[str]:
    """Hours with jobs, before this one, oldest first; costs a look-up for each."""
    found: list[str] = []
    last = ""
    while following := connection.execute(
        select(func.min(jobs.c.hour)).where(jobs.c.hour > last, jobs.c.hour < before)
    ).scalar():
        found.append(following)
        last = following
    return found


def is_at_rest(connection: Connection, hour: str, now_ms: int) -> bool:
    """Whether no job of an hour is open or held, and no source waits for one."""
    busy = or_(jobs.c.state.in_(OPEN_STATES), jobs.c.lease_expires_ms > now_ms)
    if connection.execute(select(jobs.c.id).where(jobs.c.hour == hour, busy).limit(1)).first():
        return False
    waits = and_(sources.c.state == "pending", sources.c.hour == hour)
    return connection.execute(select(sources.c.id).where(waits).limit(1)).first() is None


def is_merged(connection: Connection, hour: str) -> bool:
    """Whether the table has all series of an hour."""
    elsewhere = (
        select(series_files.c.kind)
        .join(jobs, jobs.c.id == series_files.c.job_id)
        .where(jobs.c.hour == hour, series_files.c.key.not_like(f"{TABLE}/%"))
    )
    return connection.execute(elsewhere.limit(1)).first() is None


def series_number(connection: Connection, hour: str) -> int:
    """The number of files of series that are written for an hour now."""
    found = connection.execute(select(hour_upkeep.c.series_number).where(hour_upkeep.c.hour == hour)).scalar()
    return found or 0


def next_series_number(connection: Connection, hour: str) -> int:
    """Raises that number: no file that is there now is written to any more."""
    ensure_row(connection, hour)
    number = series_number(connection, hour) + 1
    connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(series_number=number))
    return number


def ensure_row(connection: Connection, hour: str) -> None:
    """Makes the row of an hour where there is none."""
    if connection.execute(select(hour_upkeep.c.hour).where(hour_upkeep.c.hour == hour)).first() is None:
        connection.execute(hour_upkeep.insert().values(hour=hour, series_number=0))


#: Columns that are reset when a job of the hour is committed or derived.
_UNDONE: Final = {
    "compacted": {"blocks_removed_ms": None, "hour_blocks_ms": None},
    "derived": {"table_ms": None, "series_removed_ms": None},
}


def note_work(connection: Connection, hour: str, step: str) -> None:
    """Notes that a job of an hour was compacted or derived, so that upkeep looks at the hour again."""
    connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(_UNDONE[step]))
