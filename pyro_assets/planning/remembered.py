"""Sources of hours whose rows were removed: eight bytes of hash each, enough to know them again.

Add what planning must know of such hours here. A hash may be that of another source once in 10^19 times the sources of
an hour and shard; such a source would count as done.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from pyro_assets.ledger.database import among, values_of
from pyro_assets.ledger.schema import collapsed_sources, hour_upkeep, jobs, sources
from pyro_assets.planning.listing import FoundBlock

_HASH_BYTES: Final = 8
Place = tuple[str, int, str, str]


def collapsed_among(connection: Connection, items: Sequence[FoundBlock]) -> set[str]:
    """Keys of sources that were in a job of an hour whose rows were removed."""
    collapsed = _hours_where(connection, (item.block.hour for item in items), hour_upkeep.c.collapsed_ms.is_not(None))
    seen: dict[Place, set[bytes]] = {}
    found: set[str] = set()
    for item in items:
        block = item.block
        if block.hour not in collapsed:
            continue
        place = (block.level_kind, block.shard, "" if block.level_kind == "segments" else block.tenant, block.hour)
        if place not in seen:
            seen[place] = set(_pieces(_remembered(connection, place)[0]))
        if _hash(block.ulid) in seen[place]:
            found.add(block.key)
    return found


def incomparable_among(connection: Connection, items: Sequence[FoundBlock]) -> set[str]:
    """Keys of Pyroscope's blocks of hours of which rows or blocks were removed.

    A higher level may hold what was done then, and there is nothing left to compare it with: it would count twice.
    """
    blocks = [item.block for item in items if item.block.level_kind == "blocks"]
    is_gone = or_(hour_upkeep.c.collapsed_ms.is_not(None), hour_upkeep.c.blocks_removed_ms.is_not(None))
    gone = _hours_where(connection, (block.hour for block in blocks), is_gone)
    return {block.key for block in blocks if block.hour in gone}


def collapsed_timestamps(connection: Connection, shard: int, hours: Sequence[str]) -> set[int]:
    """Timestamps of jobs of a shard whose rows were removed, of these hours."""
    collapsed = _hours_where(connection, hours, hour_upkeep.c.collapsed_ms.is_not(None))
    if not collapsed:
        return set()
    rows = connection.execute(
        select(collapsed_sources.c.timestamps).where(
            # The primary key begins with the kind.
            collapsed_sources.c.kind.in_(("segments", "blocks")),
            collapsed_sources.c.shard == shard,
            collapsed_sources.c.hour.in_(sorted(collapsed)),
        )
    ).scalars()
    return {int.from_bytes(piece) for stored in rows for piece in _pieces(stored)}


def collapsible(hour: str) -> ColumnElement[bool]:
    """Sources of an hour whose rows go with those of its jobs."""
    return and_(sources.c.hour == hour, sources.c.state != "out_of_range")


def remember(connection: Connection, hour: str) -> None:
    """Notes the sources and timestamps of an hour whose rows are about to go."""
    ulids: dict[tuple[str, int, str], set[bytes]] = {}
    timestamps: dict[tuple[str, int, str], set[bytes]] = {}
    of_hour = select(sources.c.kind, sources.c.shard, sources.c.tenant, sources.c.ulid).where(collapsible(hour))
    for row in connection.execute(of_hour):
        ulids.setdefault((row.kind, row.shard, row.tenant), set()).add(_hash(row.ulid))
    made = select(jobs.c.kind, jobs.c.shard, jobs.c.tenant, jobs.c.timestamp_ms).where(jobs.c.hour == hour)
    for row in connection.execute(made):
        piece = row.timestamp_ms.to_bytes(_HASH_BYTES)
        timestamps.setdefault((row.kind, row.shard, row.tenant), set()).add(piece)
    for group in sorted(set(ulids) | set(timestamps)):
        place = (*group, hour)
        before = [set(_pieces(stored)) for stored in _remembered(connection, place)]
        kind, shard, tenant, _ = place
        connection.execute(collapsed_sources.delete().where(_at(place)))
        connection.execute(
            collapsed_sources.insert().values(
                kind=kind,
                shard=shard,
                tenant=tenant,
                hour=hour,
                ulids=b"".join(sorted(before[0] | ulids.get(group, set()))),
                timestamps=b"".join(sorted(before[1] | timestamps.get(group, set()))),
            )
        )


def _remembered(connection: Connection, place: Place) -> tuple[bytes, bytes]:
    row = connection.execute(
        select(collapsed_sources.c.ulids, collapsed_sources.c.timestamps).where(_at(place))
    ).first()
    return (b"", b"") if row is None else (bytes(row.ulids), bytes(row.timestamps))


def _at(place: Place) -> ColumnElement[bool]:
    kind, shard, tenant, hour = place
    return and_(
        collapsed_sources.c.kind == kind,
        collapsed_sources.c.shard == shard,
        collapsed_sources.c.tenant == tenant,
        collapsed_sources.c.hour == hour,
    )


def _hours_where(connection: Connection, hours: Iterable[str], condition: ColumnElement[bool]) -> set[str]:
    """Those of some hours to which upkeep did what the condition says."""
    asked = sorted(set(hours))
    if not asked:
        return set()
    query = select(hour_upkeep.c.hour).where(among(connection, hour_upkeep.c.hour), condition)
    return set(connection.execute(query, {"among": values_of(connection, asked)}).scalars())


def _hash(ulid: str) -> bytes:
    return blake2b(ulid.encode(), digest_size=_HASH_BYTES).digest()


def _pieces(stored: bytes) -> Iterator[bytes]:
    return (stored[begin : begin + _HASH_BYTES] for begin in range(0, len(stored), _HASH_BYTES))
