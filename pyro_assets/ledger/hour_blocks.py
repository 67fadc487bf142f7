"""Which blocks of jobs were compacted to blocks of their hour, and where these lie.

A job's block is in one unit at most, and is read either from there or by itself, so that it counts once. Add what must
be decided of units in one transaction; their bytes, and when an hour gets them, are `archive.hours`'s.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, and_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import Output, is_there
from pyro_assets.ledger.schema import hour_objects, hour_units, hour_upkeep, jobs, outputs
from pyro_assets.ledger.upkeep import ensure_row, is_at_rest

#: block: all profiles of its jobs; summary: see `compaction.hour`.
ObjectKind = Literal["block", "summary"]


@dataclass(frozen=True, slots=True)
class HourObject:
    """An object of a unit."""

    kind: ObjectKind
    block_id: str
    key: str
    size_bytes: int
    crc32c: int


@dataclass(frozen=True, slots=True)
class HourUnit:
    """Blocks of some jobs of an hour, of one shard and tenant, as one or some.

    Attributes:
        tenant: printable.
        jobs: ids, in the order of time.
        first_job_ms: timestamp of the first one.
        profiles, samples: in its blocks; oldest_ms, newest_ms: first and last profile.
        objects: its blocks and summaries, in order; together each kind has every job once.
    """

    hour: str
    shard: int
    tenant: str
    jobs: tuple[str, ...]
    first_job_ms: int
    profiles: int
    samples: int
    oldest_ms: int
    newest_ms: int
    objects: tuple[HourObject, ...]

    def of_kind(self, kind: ObjectKind) -> list[HourObject]:
        """Its blocks, or its summaries."""
        return [one for one in self.objects if one.kind == kind]


@dataclass(frozen=True, slots=True)
class LevelOne:
    """A block of a job; `is_there`: retention has not removed it."""

    job: str
    job_ms: int
    output: Output
    is_there: bool


@dataclass(frozen=True, slots=True)
class HourOrder:
    """Blocks of jobs of which not all are in a unit.

    Attributes:
        blocks: of all jobs of the hour, shard and tenant, in the order of their jobs.
        units: that there are.
    """

    hour: str
    shard: int
    tenant: str
    blocks: tuple[LevelOne, ...]
    units: tuple[HourUnit, ...]


class HourBlockRecords(Queries):
    """The part of the ledger that knows blocks of hours."""

    def orders(self, hour: str, now_ms: int) -> list[HourOrder] | None:
        """What is to be compacted of an hour; None where it is not at rest: more is to come."""
        with self.ledger.read() as connection:
            if not is_at_rest(connection, hour, now_ms):
                return None
            of_hour = and_(jobs.c.hour == hour, jobs.c.compacted_ms.is_not(None))
            there = set(connection.execute(select(jobs.c.id).where(is_there(hour))).scalars())
            found: dict[tuple[int, str], list[LevelOne]] = {}
            waiting: set[tuple[int, str]] = set()
            for row in _blocks(connection, of_hour):
                place, is_one = (row.shard, row.tenant), row.job_id in there
                found.setdefault(place, []).append(LevelOne(row.job_id, row.timestamp_ms, Output.from_row(row), is_one))
                if row.hour_unit is None and is_one:
                    waiting.add(place)
            units = _units(connection, hour_units.c.hour == hour)
        return [
            HourOrder(
                hour,
                *place,
                tuple(found[place]),
                tuple(one for one in units.values() if (one.shard, one.tenant) == place),
            )
            for place in sorted(waiting)
        ]

    def commit(self, order: HourOrder, units: Sequence[HourUnit]) -> bool:
        """Puts units in the place of all that there are of an hour, shard and tenant.

        Returns:
            False where the hour has other blocks than the order; nothing was changed then.
        """
        own = and_(jobs.c.hour == order.hour, jobs.c.shard == order.shard, outputs.c.tenant == order.tenant)
        with self.ledger.write(planning=True) as connection:
            now = [(row.job_id, row.key, row.crc32c) for row in _blocks(connection, own)]
            if now != [(one.job, one.output.key, one.output.crc32c) for one in order.blocks]:
                return False
            _forget(connection, *_place(order.hour, order.shard, order.tenant))
            for unit in units:
                _insert(connection, unit)
        return True

    def mark_done(self, hour: str, now_ms: int) -> bool:
        """Notes that nothing of an hour is left to be compacted, unless a job came since; returns whether it is so."""
        with self.ledger.write(planning=True) as connection:
            ensure_row(connection, hour)
            waits = select(outputs.c.key).join(jobs).where(is_there(hour), outputs.c.hour_unit.is_(None)).limit(1)
            if not is_at_rest(connection, hour, now_ms) or connection.execute(waits).first() is not None:
                return False
            connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(hour_blocks_ms=now_ms))
        return True

    def units(self, hour: str, tenant: str = "") -> list[HourUnit]:
        """Units of an hour, of a tenant or all, that are not about to be removed."""
        own = [hour_units.c.tenant == tenant] if tenant else []
        with self.ledger.read() as connection:
            found = _units(connection, hour_units.c.hour == hour, hour_units.c.removed_ms.is_(None), *own)
        return list(found.values())

    def objects(self, hour: str) -> list[HourObject]:
        """All objects of an hour, those that are about to be removed among them."""
        with self.ledger.read() as connection:
            units = _units(connection, hour_units.c.hour == hour)
        return [one for unit in units.values() for one in unit.objects]

    def hours_with_units(self, until: str) -> list[str]:
        """Hours up to this one that have units, those that are about to be removed among them; oldest first."""
        query = select(hour_units.c.hour).where(hour_units.c.hour <= until).distinct().order_by(hour_units.c.hour)
        with self.ledger.read() as connection:
            return list(connection.execute(query).scalars())

    def restore(self, units: Iterable[HourUnit]) -> None:
        """Puts back what records of the archive say, in the place of what is there of the same hours."""
        with self.ledger.write(planning=True) as connection:
            for unit in units:
                _forget(connection, *_place(unit.hour, unit.shard, unit.tenant))
            for unit in units:
                _insert(connection, unit)

    def mark_removed(self, hour: str, now_ms: int) -> None:
        """Notes that the objects of an hour are about to go: nothing reads them from now on."""
        with self.ledger.write() as connection:
            connection.execute(hour_units.update().where(hour_units.c.hour == hour).values(removed_ms=now_ms))

    def forget_if_there(self, hour: str) -> bool:
        """Forgets the units of an hour, so that they are made again; False where level-1 blocks were removed."""
        gone = select(jobs.c.id).where(jobs.c.hour == hour, jobs.c.blocks_removed_ms.is_not(None)).limit(1)
        with self.ledger.write(planning=True) as connection:
            if connection.execute(gone).first() is not None:
                return False
            forget_units(connection, hour)
            connection.execute(hour_upkeep.update().where(hour_upkeep.c.hour == hour).values(hour_blocks_ms=None))
        return True

    def forget(self, hour: str) -> None:
        """Forgets the units of an hour, whose objects are gone."""
        with self.ledger.write(planning=True) as connection:
            forget_units(connection, hour)


def forget_units(connection: Connection, hour: str) -> None:
    """Removes the rows of an hour's units."""
    _forget(connection, hour_units.c.hour == hour)


def _place(hour: str, shard: int, tenant: str) -> tuple[ColumnElement[bool], ...]:
    return hour_units.c.hour == hour, hour_units.c.shard == shard, hour_units.c.tenant == tenant


def _forget(connection: Connection, *conditions: ColumnElement[bool]) -> None:
    ids = list(connection.execute(select(hour_units.c.id).where(*conditions)).scalars())
    if ids:
        # Units of an hour are few, and an output is found by its job.
        of_hours = select(jobs.c.id).where(
            jobs.c.hour.in_(select(hour_units.c.hour).where(hour_units.c.id.in_(ids)).distinct())
        )
        is_own = and_(outputs.c.job_id.in_(of_hours), outputs.c.hour_unit.in_(ids))
        connection.execute(outputs.update().where(is_own).values(hour_unit=None))
        connection.execute(hour_objects.delete().where(hour_objects.c.unit.in_(ids)))
        connection.execute(hour_units.delete().where(hour_units.c.id.in_(ids)))


def _insert(connection: Connection, unit: HourUnit) -> None:
    names = (
        "hour", "shard", "tenant", "first_job_ms", "profiles", "samples", "oldest_ms", "newest_ms"
    )  # fmt: skip
    values = {name: getattr(unit, name) for name in names}
    inserted = connection.execute(hour_units.insert().values(**values, jobs=len(unit.jobs)))
    (number,) = inserted.inserted_primary_key or (None,)
    rows: list[dict[str, Any]] = []
    for kind in ("block", "summary"):
        for position, one in enumerate(unit.of_kind(kind)):
            rows.append({name: getattr(one, name) for name in one.__slots__} | {"unit": number, "position": position})
    connection.execute(hour_objects.insert(), rows)
    for begin in range(0, len(unit.jobs), 500):
        is_own = and_(outputs.c.job_id.in_(unit.jobs[begin : begin + 500]), outputs.c.tenant == unit.tenant)
        connection.execute(outputs.update().where(is_own).values(hour_unit=number))


def _blocks(connection: Connection, *conditions: ColumnElement[bool]) -> Any:
    """Blocks of committed jobs that meet conditions, in the order of the jobs."""
    return connection.execute(
        select(outputs, jobs.c.shard, jobs.c.timestamp_ms)
        .join(jobs, jobs.c.id == outputs.c.job_id)
        .where(jobs.c.compacted_ms.is_not(None), *conditions)
        .order_by(jobs.c.timestamp_ms, jobs.c.tenant, jobs.c.id, outputs.c.position)
    ).all()


def _units(connection: Connection, *conditions: ColumnElement[bool]) -> dict[int, HourUnit]:
    rows = connection.execute(select(hour_units).where(*conditions).order_by(hour_units.c.id)).all()
    ids = [row.id for row in rows]
    objects: dict[int, list[HourObject]] = {number: [] for number in ids}
    ordered = select(hour_objects).order_by(hour_objects.c.unit, hour_objects.c.kind, hour_objects.c.position)
    for one in connection.execute(ordered.where(hour_objects.c.unit.in_(ids))):
        objects[one.unit].append(HourObject(one.kind, one.block_id, one.key, one.size_bytes, one.crc32c))
    members: dict[int, list[str]] = {number: [] for number in ids}
    of_hours = select(outputs.c.hour_unit, outputs.c.job_id).join(jobs, jobs.c.id == outputs.c.job_id)
    listed = of_hours.where(jobs.c.hour.in_(sorted({row.hour for row in rows})), outputs.c.hour_unit.in_(ids))
    for number, job in connection.execute(
        listed.order_by(jobs.c.timestamp_ms, jobs.c.tenant, jobs.c.id, outputs.c.position)
    ):
        members[number].append(job)
    return {
        row.id: HourUnit(
            row.hour,
            row.shard,
            row.tenant,
            tuple(dict.fromkeys(members[row.id])),
            row.first_job_ms,
            row.profiles,
            row.samples,
            row.oldest_ms,
            row.newest_ms,
            tuple(objects[row.id]),
        )
        for row in rows
    }
