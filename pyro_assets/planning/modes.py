"""The mode in force: who compacts, Pyroscope or this project, and from where on, so that no segment counts twice.

A change waits until all jobs of the other mode are committed. From the last source that they had, less a margin, the
new mode goes on; jobs near that place leave out what the other mode has (`jobs.compares`). Add what else may only
change between jobs here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, and_, func, or_, select

from pyro_assets.errors import SettingsError
from pyro_assets.ledger.database import Queries, fact, put_fact
from pyro_assets.ledger.schema import jobs, sources
from pyro_assets.planning.policy import MARGIN_MS, Policy, kind_of_mode

_MODE: Final = "mode"


@dataclass(frozen=True, slots=True)
class ModeInForce:
    """A mode, when it came instead of another, and shard -> creation time of the last source that the other has."""

    mode: str
    since_ms: int | None
    bounds: Mapping[int, int]


class Modes(Queries):
    """The part of the ledger that knows the mode."""

    def mode_in_force(self) -> ModeInForce | None:
        """The mode that jobs are planned in, None before the first tick."""
        with self.ledger.read() as connection:
            return _mode(connection)

    def enter_mode(self, policy: Policy, now_ms: int) -> Policy:
        """Sees to it that the policy's mode is in force, and tells the planner where it begins.

        What waits for the other mode and is in no job is forgotten: this mode finds it in its own way.

        Raises:
            SettingsError: jobs of the other mode are not done, or another process changed it just now.
        """
        with self.ledger.read() as connection:
            found = _mode(connection)
        if found is None or found.mode != policy.mode:
            with self.ledger.write(planning=True) as connection:
                found = _change(connection, policy.mode, now_ms)
        return replace(policy, bounds=found.bounds)


def in_force(connection: Connection, policy: Policy) -> Policy | None:
    """The policy as the mode in force has it, None where that is another mode.

    Asked inside of every transaction that plans: another process may have changed it.
    """
    found = _mode(connection)
    if found is None:
        return policy
    return replace(policy, bounds=found.bounds) if found.mode == policy.mode else None


def _mode(connection: Connection) -> ModeInForce | None:
    value = fact(connection, _MODE)
    if value is None:
        return None
    read: dict[str, Any] = json.loads(value)
    return ModeInForce(read["mode"], read["since_ms"], {int(shard): ms for shard, ms in read["bounds"].items()})


def _change(connection: Connection, mode: str, now_ms: int) -> ModeInForce:
    before = _mode(connection)
    if before is not None and before.mode == mode:
        return before  # another process was faster
    other = "observe" if mode == "own" else "own"
    _refuse_undone(connection, other, mode)
    if before is not None and before.since_ms is not None and now_ms - before.since_ms < MARGIN_MS:
        raise SettingsError(
            f"this ledger went over to {other} mode {max(0, now_ms - before.since_ms) // 1000} s ago: another process "
            f"still runs in {mode} mode, so give all of them the same; to go back on purpose, wait ten minutes"
        )
    kind = kind_of_mode(other)
    rows = connection.execute(
        select(jobs.c.shard, func.max(jobs.c.last_created_ms)).where(jobs.c.kind == kind).group_by(jobs.c.shard)
    )
    found = ModeInForce(mode, None if before is None else now_ms, {row[0]: row[1] for row in rows})
    waits = and_(sources.c.kind == kind, sources.c.state.in_(("pending", "out_of_range")))
    connection.execute(sources.delete().where(waits))
    value = {"mode": mode, "since_ms": found.since_ms, "bounds": {str(s): ms for s, ms in found.bounds.items()}}
    put_fact(connection, _MODE, json.dumps(value), now_ms)
    return found


def _refuse_undone(connection: Connection, other: str, mode: str) -> None:
    undone = and_(
        jobs.c.kind == kind_of_mode(other),
        or_(
            jobs.c.state.in_(("planned", "compacted")),
            and_(jobs.c.state == "quarantined", jobs.c.compacted_ms.is_(None)),
        ),
    )
    count, first, given_up = connection.execute(
        select(func.count(), func.min(jobs.c.hour), func.count().filter(jobs.c.state == "quarantined")).where(undone)
    ).one()
    if count:
        remedy = f"`pyro-assets run --mode {other}` does them"
        if given_up:
            remedy += f"; of {given_up} that were given up, `pyro-assets quarantine list` tells what to do"
        raise SettingsError(
            f"{mode} mode cannot begin: {count} jobs of {other} mode are not done, the first of hour {first}; {remedy}"
        )
