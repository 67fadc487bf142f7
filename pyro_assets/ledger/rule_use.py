"""Which rules the series of jobs were made with: snapshots of all rules, and rules that were backfilled since.

Add a question about that here. A rule is known by its id and hash; what it means is none of the ledger's business. A
file of series was derived with a snapshot (`config_hash`), and `later` names the rules whose series were put in after.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select

from pyro_assets.ledger.claims import COMMITTED_STATES
from pyro_assets.ledger.database import Database
from pyro_assets.ledger.records import Lane
from pyro_assets.ledger.schema import jobs, rule_snapshots, series_files
from pyro_assets.ledger.status import in_lane


@dataclass(frozen=True, slots=True)
class RuleMark:
    """A rule as a backfill wants it: its id, the kind of its series, and the hash of what it means."""

    rule: str
    kind: str
    hash: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The rules of a run.

    Attributes:
        hash: of what they mean together.
        rules: id -> hash of each.
        body: their configuration.
        at_ms: when a run had them for the first time.
    """

    hash: str
    rules: Mapping[str, str]
    body: str
    at_ms: int


class RuleUse(Database):
    """The part of the ledger that knows which rules series were made with."""

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot; one of the same hash stays as it is."""
        with self._write(planning=True) as connection:
            same = rule_snapshots.c.hash == snapshot.hash
            if connection.execute(select(rule_snapshots.c.hash).where(same)).first() is None:
                connection.execute(
                    rule_snapshots.insert().values(
                        hash=snapshot.hash,
                        rules=json.dumps(dict(snapshot.rules), sort_keys=True),
                        body=snapshot.body,
                        at_ms=snapshot.at_ms,
                    )
                )

    def rule_snapshot(self, snapshot_hash: str) -> Snapshot | None:
        """A snapshot, None where it is not known."""
        with self._read() as connection:
            row = connection.execute(select(rule_snapshots).where(rule_snapshots.c.hash == snapshot_hash)).first()
        return None if row is None else _snapshot(row)

    def rule_snapshots(self) -> list[Snapshot]:
        """All snapshots, by hash."""
        with self._read() as connection:
            rows = connection.execute(select(rule_snapshots).order_by(rule_snapshots.c.hash))
            return [_snapshot(row) for row in rows]

    def jobs_lacking_rules(self, hour: str, marks: Sequence[RuleMark], lane: Lane | None = None) -> list[str]:
        """Ids of an hour's jobs whose series of some of these rules are of other versions, or were never made.

        Jobs that are not derived yet are not among them: their first derivation has all rules.
        """
        with self._read() as connection:
            return list(
                connection.execute(
                    select(jobs.c.id)
                    .where(jobs.c.hour == hour, jobs.c.state.in_(COMMITTED_STATES), in_lane(lane))
                    .where(or_(*(exists(_file(mark).where(not_(_has(mark)))) for mark in marks)))
                    .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
                ).scalars()
            )

    def rule_progress(self, hour: str, mark: RuleMark, last_hour: str = "") -> tuple[int, int]:
        """(derived jobs that have the series of this rule, derived jobs) of an hour, or of the hours to `last_hour`."""
        of_hours = jobs.c.hour.between(hour, last_hour or hour)
        derived = select(func.count()).where(of_hours, jobs.c.state.in_(COMMITTED_STATES))
        with self._read() as connection:
            done = connection.execute(derived.where(exists(_file(mark).where(_has(mark))))).scalar_one()
            return done, connection.execute(derived.where(exists(_file(mark)))).scalar_one()

    def snapshots_of_hour(self, hour: str) -> dict[str, int]:
        """Snapshot -> files of series that were derived with it; "" where that is not known."""
        with self._read() as connection:
            rows = connection.execute(
                select(series_files.c.config_hash, func.count())
                .join(jobs, jobs.c.id == series_files.c.job_id)
                .where(jobs.c.hour == hour)
                .group_by(series_files.c.config_hash)
                .order_by(series_files.c.config_hash)
            )
            return {row[0] or "": row[1] for row in rows}


def _snapshot(row: Any) -> Snapshot:
    return Snapshot(row.hash, json.loads(row.rules), row.body, row.at_ms)


def _file(mark: RuleMark) -> Select[Any]:
    """The file of series of a job that the rule's series are in."""
    own = and_(series_files.c.job_id == jobs.c.id, series_files.c.kind == mark.kind)
    return select(series_files.c.job_id).where(own).correlate(jobs)


def _has(mark: RuleMark) -> ColumnElement[bool]:
    """Whether a file of series has this version of a rule."""
    name, version = json.dumps(mark.rule), json.dumps(mark.hash)
    later = func.coalesce(series_files.c.later, "")
    snapshots = select(rule_snapshots.c.hash).where(
        rule_snapshots.c.rules.contains(f"{name}: {version}", autoescape=True)
    )
    return or_(
        later.contains(f"{name}: [{version}", autoescape=True),
        and_(not_(later.contains(f"{name}: [", autoescape=True)), series_files.c.config_hash.in_(snapshots)),
    )
