"""What the archive must hold of each hour, and what of it was found damaged or missing when it was read last.

Add a kind of object here when upkeep shall look at it. Reading and comparing is `archive.scrub`'s; nothing here
decides what becomes of a job.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sqlalchemy import func, select

from pyro_assets.jobs.loading import recorded
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.files import files_of
from pyro_assets.ledger.records import Output, SeriesFile, is_there
from pyro_assets.ledger.schema import damage, hour_upkeep, jobs, outputs, receipts, series_files
from pyro_assets.ledger.upkeep import ensure_row, hours_with_jobs, series_number

#: block: level-1; hour: a block of an hour, or its summary;
#: record: of a commit; series: a file of them; receipt, retention, rules: records of these.
DamageKind = Literal["block", "hour", "record", "series", "receipt", "retention", "rules"]
DAMAGE_KINDS: Final[tuple[DamageKind, ...]] = get_args(DamageKind)


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that is not what was written; `hour` is "" for what belongs to none, `found_ms` the first time."""

    key: str
    hour: str
    kind: DamageKind
    message: str
    found_ms: int = 0


@dataclass(frozen=True, slots=True)
class Written:
    """What was written of an hour.

    Attributes:
        records: job -> its shard and level-1 blocks, of every committed job.
        removed: jobs whose blocks retention removed.
        files: of series.
        receipts: (receiver, shard, job) of every receipt that says that something was sent.
    """

    records: Mapping[str, tuple[int, tuple[Output, ...]]]
    removed: Collection[str]
    files: Sequence[SeriesFile]
    receipts: Collection[tuple[str, int, str]]


class ScrubRecords(Queries):
    """The part of the ledger that knows what the archive should hold, and what is damaged."""

    def hours_to_scrub(self, before: str) -> list[str]:
        """Hours before this one that have anything in the archive: first those with damage, then the oldest check."""
        with self.ledger.read() as connection:
            state = {row.hour: row for row in connection.execute(select(hour_upkeep))}
            hours = set(hours_with_jobs(connection, before))
            damaged = set(connection.execute(select(damage.c.hour).distinct()).scalars())
        hours |= {hour for hour, row in state.items() if row.collapsed_ms is not None}
        checked = {hour: (row.scrubbed_ms or 0) for hour, row in state.items()}
        found = [hour for hour in hours if hour < before]
        return sorted(found, key=lambda hour: (hour not in damaged, checked.get(hour, 0), hour))

    def written(self, hour: str) -> Written:
        """What the archive must hold of an hour whose rows are there."""
        of_hour, is_committed = jobs.c.hour == hour, jobs.c.compacted_ms.is_not(None)
        with self.ledger.read() as connection:
            made: dict[str, list[Output]] = {}
            rows = connection.execute(
                select(outputs).join(jobs, jobs.c.id == outputs.c.job_id).where(of_hour).order_by(outputs.c.position)
            )
            for row in rows:
                made.setdefault(row.job_id, []).append(Output.from_row(row))
            committed = connection.execute(select(jobs.c.id, jobs.c.shard).where(of_hour, is_committed)).all()
            there = set(connection.execute(select(jobs.c.id).where(is_there(hour))).scalars())
            files = tuple(map(SeriesFile.from_row, connection.execute(files_of(hour))))
            sent = connection.execute(
                select(receipts.c.receiver, jobs.c.shard, receipts.c.job_id)
                .join(jobs, jobs.c.id == receipts.c.job_id)
                .where(of_hour, receipts.c.last_ms.is_not(None), receipts.c.samples > 0)
                .distinct()
            ).all()
        return Written(
            {row.id: (row.shard, tuple(made.get(row.id, ()))) for row in committed},
            frozenset(made) - there,
            files,
            frozenset((row.receiver, row.shard, row.job_id) for row in sent),
        )

    def note_scrub(self, hour: str, found: Iterable[Damage], now_ms: int) -> None:
        """Notes what a look at an hour found, in the place of what the look before did."""
        with self.ledger.write() as connection:
            same = damage.c.hour == hour
            first = {row.key: row.found_ms for row in connection.execute(select(damage).where(same))}
            connection.execute(damage.delete().where(same))
            rows = {
                one.key: {
                    "key": one.key,
                    "hour": hour,
                    "kind": one.kind,
                    "message": one.message,
                    "found_ms": first.get(one.key, now_ms),
                }
                for one in found
            }
            if rows:
                connection.execute(damage.insert(), list(rows.values()))
            if hour:
                ensure_row(connection, hour)
                connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(scrubbed_ms=now_ms))

    def note_checksum(self, key: str, crc32c: int) -> None:
        """Notes the checksum of a file of series that an older version wrote, after it was read whole."""
        with self.ledger.write() as connection:
            connection.execute(
                series_files.update()
                .where(series_files.c.key == key, series_files.c.crc32c.is_(None))
                .values(crc32c=crc32c)
            )

    def damaged(self, hours: Collection[str] | None = None, limit: int = 1000) -> list[Damage]:
        """What was damaged or missing when it was looked at last, by hour and key; of these hours or all."""
        query = select(damage).order_by(damage.c.hour, damage.c.key).limit(limit)
        if hours is not None:
            query = query.where(damage.c.hour.in_(list(hours)))
        with self.ledger.read() as connection:
            return [Damage(row.key, row.hour, row.kind, row.message, row.found_ms) for row in connection.execute(query)]

    def count_damaged(self) -> dict[DamageKind, int]:
        """Kind -> damaged or missing objects, 0 among them."""
        with self.ledger.read() as connection:
            rows = connection.execute(select(damage.c.kind, func.count()).group_by(damage.c.kind)).all()
        return dict.fromkeys(DAMAGE_KINDS, 0) | {row[0]: row[1] for row in rows}

    def oldest_scrub_ms(self, before: str) -> int | None:
        """When the hour that was not looked at for longest was; None where one never was, or there is none."""
        hours = self.hours_to_scrub(before)
        with self.ledger.read() as connection:
            rows = connection.execute(select(hour_upkeep.c.hour, hour_upkeep.c.scrubbed_ms)).all()
        checked = {row.hour: row.scrubbed_ms for row in rows}
        times = [checked.get(hour) for hour in hours]
        return None if None in times else min((one for one in times if one is not None), default=None)

    def removed_of(self, hour: str) -> tuple[list[str], list[str], int]:
        """Jobs whose blocks retention removed, jobs whose series it did, and the number of files that are written."""
        with self.ledger.read() as connection:
            without_blocks = select(jobs.c.id).where(jobs.c.hour == hour, jobs.c.blocks_removed_ms.is_not(None))
            without_series = (
                select(jobs.c.id)
                .join(series_files, series_files.c.job_id == jobs.c.id)
                .where(jobs.c.hour == hour, jobs.c.blocks > 0, series_files.c.key.is_(None))
                .distinct()
            )
            return (
                list(connection.execute(without_blocks).scalars()),
                list(connection.execute(without_series).scalars()),
                series_number(connection, hour),
            )

    def recorded(self, job_id: str) -> CommitRecord:
        """The commit record of a committed job, as the ledger knows it."""
        with self.ledger.read() as connection:
            return recorded(connection, job_id)

    def job_of_block(self, key: str) -> str | None:
        """The job that committed a block."""
        with self.ledger.read() as connection:
            return connection.execute(select(outputs.c.job_id).where(outputs.c.key == key)).scalar()

    def jobs_of_file(self, key: str) -> list[tuple[str, str]]:
        """Hour and id of the jobs whose series are in a file, by time."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(jobs.c.hour, jobs.c.id)
                .join(series_files, series_files.c.job_id == jobs.c.id)
                .where(series_files.c.key == key)
                .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.id)
            ).all()
        return [(row.hour, row.id) for row in rows]

    def replace_outputs(self, job_id: str, made: Sequence[Output]) -> None:
        """Notes the sizes and checksums of blocks that were compacted again."""
        with self.ledger.write() as connection:
            for output in made:
                connection.execute(
                    outputs.update()
                    .where(outputs.c.job_id == job_id, outputs.c.key == output.key)
                    .values(size_bytes=output.size_bytes, crc32c=output.crc32c)
                )
            connection.execute(
                jobs.update().where(jobs.c.id == job_id).values(bytes_out=sum(output.size_bytes for output in made))
            )
