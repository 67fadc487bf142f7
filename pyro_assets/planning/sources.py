"""Sources and cursors: what listings found, recorded once.

Add what is known of a source before it is in a job; planning and what jobs do with sources belong to `plan`, `claims`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Row, select

from pyro_assets.errors import LedgerError
from pyro_assets.ledger.database import Queries, among, values_of
from pyro_assets.ledger.schema import SourceState, cursors, jobs, sources
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.modes import in_force
from pyro_assets.planning.policy import Policy
from pyro_assets.planning.remembered import collapsed_among, incomparable_among

_T = TypeVar("_T")
#: Values in one IN list: below every database's limit.
CHUNK: Final = 500
#: The purpose of the ticks' cursors.
LIVE: Final = "live"


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a listing showed for the first time.

    Attributes:
        new: sources of the partitions.
        out_of_range: how many are outside them.
        lately: known sources of the partitions that somebody else saw first, after a given time.
    """

    new: tuple[FoundBlock, ...] = ()
    out_of_range: int = 0
    lately: tuple[FoundBlock, ...] = ()


class SourceRecords(Queries):
    """The part of the ledger that knows what was found."""

    def record_sources(
        self,
        found: Sequence[FoundBlock],
        moved: Mapping[str, str],
        now_ms: int,
        policy: Policy,
        purpose: str = LIVE,
        since_ms: int | None = None,
    ) -> Recorded:
        """Records what a listing found, and only then moves its cursors, in one transaction.

        Known sources stay as they are; one that is in no job yet takes the size of the newer listing.

        Args:
            found: blocks, known ones among them.
            moved: folder -> ULID, the cursors that moved.
            now_ms: Unix milliseconds.
            policy: tells what is out of range.
            purpose: whose cursors these are.
            since_ms: what others saw first after this time is told, too.
        """
        by_key = {
            item.block.key: item for item in found if policy.is_after_change(item.block.shard, item.block.created_ms)
        }
        with self.ledger.read() as connection:
            known = known_sources(connection, by_key)
        stale = [
            key for key, row in known.items() if row.state == "pending" and row.size_bytes != by_key[key].size_bytes
        ]
        if len(known) == len(by_key) and not stale and not moved:
            return Recorded(lately=_lately(known, by_key, since_ms))
        with self.ledger.write(planning=True) as connection:
            if in_force(connection, policy) is None:
                return Recorded()
            # Looked up again: another tick may have been faster.
            known |= known_sources(connection, [key for key in by_key if key not in known])
            new = [item for key, item in by_key.items() if key not in known]
            # Retention removed the rows of their hour: they are done.
            collapsed = collapsed_among(connection, new) | incomparable_among(connection, new)
            new = [item for item in new if item.block.key not in collapsed]
            rows = [source_row(item, now_ms, policy) for item in new]
            for chunk in chunks(rows):
                connection.execute(sources.insert(), chunk)
            for key in stale:
                connection.execute(
                    sources.update()
                    .where(sources.c.key == key, sources.c.state == "pending")
                    .values(size_bytes=by_key[key].size_bytes)
                )
            for folder, ulid in moved.items():
                where = (cursors.c.folder == folder) & (cursors.c.purpose == purpose)
                connection.execute(cursors.delete().where(where))
                connection.execute(
                    cursors.insert().values(folder=folder, purpose=purpose, ulid=ulid, updated_ms=now_ms)
                )
        inside = [item for item, row in zip(new, rows, strict=True) if row["state"] == "pending"]
        return Recorded(tuple(inside), len(new) - len(inside), _lately(known, by_key, since_ms))

    def record_lost(self, found: Sequence[FoundBlock], reason: str, now_ms: int, policy: Policy) -> int:
        """Records what was gone before any listing showed it; what is known already stays as it is.

        Args:
            found: what stands for it, such as blocks that were made of it.
            reason: for people.
            now_ms: Unix milliseconds.
            policy: tells what is out of range, which is no loss.

        Returns:
            How many were new.
        """
        with self.ledger.write(planning=True) as connection:
            known = known_sources(connection, [item.block.key for item in found])
            rows = [source_row(item, now_ms, policy) for item in found if item.block.key not in known]
            rows = [row | {"state": "lost", "reason": reason} for row in rows if row["state"] == "pending"]
            for chunk in chunks(rows):
                connection.execute(sources.insert(), chunk)
        return len(rows)

    def cursors(self, purpose: str = LIVE) -> dict[str, str]:
        """Folder -> ULID of the last block that ticks (or what else `purpose` names) have seen there."""
        with self.ledger.read() as connection:
            rows = connection.execute(select(cursors.c.folder, cursors.c.ulid).where(cursors.c.purpose == purpose))
            return {row.folder: row.ulid for row in rows}

    def drop_cursors(self, purpose: str) -> None:
        """Lets what `purpose` names begin anew."""
        with self.ledger.write() as connection:
            connection.execute(cursors.delete().where(cursors.c.purpose == purpose))

    def set_aside(self, key: str, reason: str, state: SourceState = "set_aside") -> None:
        """Takes a source that is in no job yet out of all planning.

        Raises:
            LedgerError: the source is unknown, or in a job.
        """
        with self.ledger.write(planning=True) as connection:
            changed = connection.execute(
                sources.update()
                .where(sources.c.key == key, sources.c.state.in_(("pending", "out_of_range")))
                .values(state=state, reason=reason)
            )
            if changed.rowcount != 1:
                raise LedgerError(f"{key} is unknown or already in a job, so it cannot be set aside")


def source_row(item: FoundBlock, now_ms: int, policy: Policy) -> dict[str, object]:
    """The row of a source that was just found."""
    block = item.block
    in_range = policy.in_range(block.created_ms, now_ms)
    return {
        "key": block.key,
        "kind": block.level_kind,
        "shard": block.shard,
        "tenant": "" if block.level_kind == "segments" else block.tenant,
        "ulid": block.ulid,
        "hour": block.hour,
        "created_ms": block.created_ms,
        "size_bytes": item.size_bytes,
        "first_seen_ms": now_ms,
        "state": "pending" if in_range else "out_of_range",
        "reason": None if in_range else "created outside the partitions",
    }


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Pieces of at most CHUNK items."""
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]


def known_sources(connection: Connection, keys: Iterable[str]) -> dict[str, Row[Any]]:
    """Key -> what planning asks of it, for those of some sources that are known."""
    known: dict[str, Row[Any]] = {}
    columns = [sources.c[name] for name in ("id", "key", "created_ms", "first_seen_ms", "size_bytes", "state")]
    query = select(*columns).where(among(connection, sources.c.key))
    for chunk in chunks(list(keys)):
        known |= {row.key: row for row in connection.execute(query, {"among": values_of(connection, chunk)})}
    return known


def known_jobs(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of some jobs that there are."""
    known: set[str] = set()
    query = select(jobs.c.id).where(among(connection, jobs.c.id))
    for chunk in chunks(ids):
        known |= set(connection.execute(query, {"among": values_of(connection, chunk)}).scalars())
    return known


def _lately(known: Mapping[str, Any], by_key: Mapping[str, FoundBlock], since_ms: int | None) -> tuple[FoundBlock, ...]:
    if since_ms is None:
        return ()
    return tuple(
        by_key[key] for key, row in known.items() if row.first_seen_ms > since_ms and row.state != "out_of_range"
    )
