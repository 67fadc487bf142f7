"""Rules of series that people edit: every version that ever was, who made it and why.

Here, too:
* which rules the series of jobs were made with: snapshots of all rules, and rules that were backfilled since.

A rule's body is text (JSON) whose meaning is none of the ledger's business. An edit names the version it was made from,
so that nobody overwrites what they have not seen; nothing is ever removed.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, not_, or_, select

from pyro_assets.errors import StaleRule
from pyro_assets.ledger.database import Queries, fact, put_fact
from pyro_assets.ledger.records import Lane, in_lane
from pyro_assets.ledger.schema import COMMITTED_STATES, jobs, rule_snapshots, rule_versions, series_files

_KEPT: Final = "rule_versions_kept"


@dataclass(frozen=True, slots=True)
class RuleVersion:
    """One version of a rule.

    Attributes:
        name: the rule's name.
        version: counts from 1 per name, through deletions.
        body: JSON; of a deletion the body that was deleted.
        deleted: the rule does not exist since this version.
        author: a person, or the user of the system that made it.
        why: in the author's words, may be empty.
        at_ms: when.
    """

    name: str
    version: int
    body: str
    deleted: bool
    author: str
    why: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class RuleEdit:
    """A change of a rule.

    Attributes:
        name: the rule's name.
        body: the new body; None deletes the rule.
        seen_version: the version it was made from; 0 for a rule that did not exist, or was deleted, then.
    """

    name: str
    body: str | None
    seen_version: int


class StoredRules(Queries):
    """The part of the ledger that keeps rules."""

    def rules(self) -> list[RuleVersion]:
        """The rules that exist, by name, all as of one moment."""
        with self.ledger.read() as connection:
            return [one for one in _latest(connection) if not one.deleted]

    def rule_history(self, name: str) -> list[RuleVersion]:
        """All versions of a rule, the newest first; empty for a name that never was."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(rule_versions).where(rule_versions.c.name == name).order_by(rule_versions.c.version.desc())
            )
            return [_version(row) for row in rows]

    def edit_rules(self, edits: Iterable[RuleEdit], *, author: str, why: str, now_ms: int) -> list[RuleVersion]:
        """Makes changes, all or none.

        Returns:
            The new versions, in the order of the edits.

        Raises:
            StaleRule: a rule has another version than the edit was made from; its `current` is the newest one.
        """
        with self.ledger.write(planning=True) as connection:
            newest = {one.name: one for one in _latest(connection)}
            made = []
            for edit in edits:
                current = newest.get(edit.name)
                exists = current is not None and not current.deleted
                if edit.seen_version != (current.version if exists and current is not None else 0):
                    raise StaleRule(_stale(edit, current), current=current)
                if edit.body is None and not exists:
                    raise StaleRule(f"rule {edit.name!r} does not exist, so it cannot be deleted", current=None)
                made.append(
                    RuleVersion(
                        edit.name,
                        (current.version if current is not None else 0) + 1,
                        edit.body if edit.body is not None else current.body if current is not None else "",
                        edit.body is None,
                        author,
                        why,
                        now_ms,
                    )
                )
                newest[edit.name] = made[-1]
                connection.execute(rule_versions.insert().values(_row(made[-1])))
            return made

    def unkept_rule_versions(self) -> tuple[int, list[RuleVersion]]:
        """The number of versions, and all of them unless the archive has as many already."""
        with self.ledger.read() as connection:
            count = connection.execute(select(func.count()).select_from(rule_versions)).scalar_one()
            is_kept = fact(connection, _KEPT) == str(count)
            return count, [] if is_kept or not count else _all_versions(connection)

    def kept_rule_versions(self) -> list[RuleVersion]:
        """All versions, where the archive has them all; none while a new one is still to be written there."""
        _, unkept = self.unkept_rule_versions()
        if unkept:
            return []
        with self.ledger.read() as connection:
            return _all_versions(connection)

    def mark_rule_versions_kept(self, count: int) -> None:
        """Notes how many versions the archive has: they are only ever added to."""
        with self.ledger.write(planning=True) as connection:
            put_fact(connection, _KEPT, str(count), 0)

    def restore_rule_versions(self, versions: Iterable[RuleVersion]) -> None:
        """Inserts the versions that the ledger lacks; the others stay unchanged."""
        with self.ledger.write(planning=True) as connection:
            there = {(row.name, row.version) for row in connection.execute(select(rule_versions))}
            for version in versions:
                if (version.name, version.version) not in there:
                    connection.execute(rule_versions.insert().values(_row(version)))


def _row(version: RuleVersion) -> dict[str, object]:
    return {name: getattr(version, name) for name in RuleVersion.__slots__} | {"deleted": int(version.deleted)}


def _all_versions(connection: Connection) -> list[RuleVersion]:
    rows = connection.execute(select(rule_versions).order_by(rule_versions.c.name, rule_versions.c.version))
    return [_version(row) for row in rows]


def _latest(connection: Connection) -> list[RuleVersion]:
    newest = (
        select(rule_versions.c.name, func.max(rule_versions.c.version).label("version"))
        .group_by(rule_versions.c.name)
        .subquery()
    )
    rows = connection.execute(
        select(rule_versions)
        .join(newest, (rule_versions.c.name == newest.c.name) & (rule_versions.c.version == newest.c.version))
        .order_by(rule_versions.c.name)
    )
    return [_version(row) for row in rows]


def _version(row: "object") -> RuleVersion:
    fields = row._mapping  # type: ignore[attr-defined] # SQLAlchemy's public name for a row as a mapping
    return RuleVersion(**{name: fields[name] for name in RuleVersion.__slots__} | {"deleted": bool(fields["deleted"])})


def _stale(edit: RuleEdit, current: RuleVersion | None) -> str:
    if current is None or current.deleted:
        return f"rule {edit.name!r} does not exist (any more); make it anew, or leave it"
    seen = f"version {edit.seen_version}" if edit.seen_version else "no such rule"
    return (
        f"rule {edit.name!r} was changed meanwhile: {current.author} made version {current.version}, this edit was "
        f"made from {seen}; compare the two and edit again"
    )


@dataclass(frozen=True, slots=True)
class RuleMark:
    """A version of a rule: its id, the kind of its series, and its hash, see `rule_hash`."""

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


class RuleUse(Queries):
    """The part of the ledger that knows which rules series were made with."""

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot; one of the same hash stays as it is."""
        with self.ledger.write(planning=True) as connection:
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
        with self.ledger.read() as connection:
            row = connection.execute(select(rule_snapshots).where(rule_snapshots.c.hash == snapshot_hash)).first()
        return None if row is None else _snapshot(row)

    def rule_snapshots(self) -> list[Snapshot]:
        """All snapshots, by hash."""
        with self.ledger.read() as connection:
            rows = connection.execute(select(rule_snapshots).order_by(rule_snapshots.c.hash))
            return [_snapshot(row) for row in rows]

    def jobs_lacking_rules(self, hour: str, marks: Sequence[RuleMark], lane: Lane | None = None) -> list[str]:
        """Ids of an hour's jobs whose series of some of these rules are of other versions, or were never made.

        Jobs that are not derived yet are not among them: their first derivation has all rules.
        """
        with self.ledger.read() as connection:
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
        with self.ledger.read() as connection:
            done = connection.execute(derived.where(exists(_file(mark).where(_has(mark))))).scalar_one()
            return done, connection.execute(derived.where(exists(_file(mark)))).scalar_one()

    def snapshots_of_hour(self, hour: str) -> dict[str, int]:
        """Snapshot -> files of series that were derived with it; "" where that is not known."""
        with self.ledger.read() as connection:
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
