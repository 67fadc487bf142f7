"""Sources of hours whose rows were removed: eight bytes of hash each, enough to know them again.

Add what planning must know of such hours here. A hash may be that of another source once in 10^19 times the sources of
an hour and shard; such a source would count as done.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Final

from sqlalchemy import Connection, and_, or_, select

from pyro_assets.ledger.schema import collapsed_sources, hour_upkeep, jobs, sources
from pyro_assets.storage.discovery import FoundBlock

_HASH_BYTES: Final = 8
#: Hours in one IN list.
_CHUNK: Final = 500
Place = tuple[str, int, str, str]


def collapsed_among(connection: Connection, items: Sequence[FoundBlock]) -> set[str]:
    """Keys of sources that were in a job of an hour whose rows were removed."""
    hours = sorted({item.block.hour for item in items})
    collapsed: set[str] = set()
    for begin in range(0, len(hours), _CHUNK):
        query = select(hour_upkeep.c.hour).where(
            hour_upkeep.c.hour.in_(hours[begin : begin + _CHUNK]), hour_upkeep.c.collapsed_ms.is_not(None)
        )
        collapsed |= set(connection.execute(query).scalars())
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
    hours = sorted({block.hour for block in blocks})
    gone: set[str] = set()
    for begin in range(0, len(hours), _CHUNK):
        query = select(hour_upkeep.c.hour).where(
            hour_upkeep.c.hour.in_(hours[begin : begin + _CHUNK]),
            or_(hour_upkeep.c.collapsed_ms.is_not(None), hour_upkeep.c.blocks_removed_ms.is_not(None)),
        )
        gone |= set(connection.execute(query).scalars())
    return {block.key for block in blocks if block.hour in gone}


def collapsed_timestamps(connection: Connection, shard: int, hours: Sequence[str]) -> set[int]:
    """Timestamps of jobs of a shard whose rows were removed, of these hours."""
    rows = connection.execute(
        select(collapsed_sources.c.timestamps).where(
            collapsed_sources.c.shard == shard, collapsed_sources.c.hour.in_(list(hours))
        )
    ).scalars()
    return {int.from_bytes(piece) for stored in rows for piece in _pieces(stored)}


def remember(connection: Connection, hour: str) -> None:
    """Notes the sources and timestamps of an hour whose rows are about to go."""
    ulids: dict[tuple[str, int, str], set[bytes]] = {}
    timestamps: dict[tuple[str, int, str], set[bytes]] = {}
    of_hour = select(sources.c.kind, sources.c.shard, sources.c.tenant, sources.c.ulid).where(
        sources.c.hour == hour, sources.c.state != "out_of_range"
    )
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
        same = and_(
            collapsed_sources.c.kind == kind,
            collapsed_sources.c.shard == shard,
            collapsed_sources.c.tenant == tenant,
            collapsed_sources.c.hour == hour,
        )
        connection.execute(collapsed_sources.delete().where(same))
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
    kind, shard, tenant, hour = place
    row = connection.execute(
        select(collapsed_sources.c.ulids, collapsed_sources.c.timestamps).where(
            collapsed_sources.c.kind == kind,
            collapsed_sources.c.shard == shard,
            collapsed_sources.c.tenant == tenant,
            collapsed_sources.c.hour == hour,
        )
    ).first()
    return (b"", b"") if row is None else (bytes(row.ulids), bytes(row.timestamps))


def _hash(ulid: str) -> bytes:
    return blake2b(ulid.encode(), digest_size=_HASH_BYTES).digest()


def _pieces(stored: bytes) -> Iterator[bytes]:
    return (stored[begin : begin + _HASH_BYTES] for begin in range(0, len(stored), _HASH_BYTES))
