"""Rules of series that people edit: every version that ever was, who made it and why.

A rule's body is text (JSON) whose meaning is none of the ledger's business. An edit names the version it was made
from, so that nobody overwrites what they have not seen; nothing is ever removed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, func, select

from pyro_assets.errors import StaleRule
from pyro_assets.ledger.database import Database
from pyro_assets.ledger.facts import fact, put_fact
from pyro_assets.ledger.schema import rule_versions

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


class Rules(Database):
    """The part of the ledger that keeps rules."""

    def rules(self) -> list[RuleVersion]:
        """The rules that exist, by name, all as of one moment."""
        with self._read() as connection:
            return [one for one in _latest(connection) if not one.deleted]

    def rule_history(self, name: str) -> list[RuleVersion]:
        """All versions of a rule, the newest first; empty for a name that never was."""
        with self._read() as connection:
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
        with self._write(planning=True) as connection:
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
        """How many versions there are, and all of them unless the archive has so many already."""
        with self._read() as connection:
            count = connection.execute(select(func.count()).select_from(rule_versions)).scalar_one()
            if fact(connection, _KEPT) == str(count) or not count:
                return count, []
            rows = connection.execute(select(rule_versions).order_by(rule_versions.c.name, rule_versions.c.version))
            return count, [_version(row) for row in rows]

    def kept_rule_versions(self) -> list[RuleVersion]:
        """All versions, where the archive has them all; none while a new one is still to be written there."""
        _, unkept = self.unkept_rule_versions()
        if unkept:
            return []
        with self._read() as connection:
            rows = connection.execute(select(rule_versions).order_by(rule_versions.c.name, rule_versions.c.version))
            return [_version(row) for row in rows]

    def mark_rule_versions_kept(self, count: int) -> None:
        """Notes that the archive has the first so many versions: they are only ever added to."""
        with self._write(planning=True) as connection:
            put_fact(connection, _KEPT, str(count), 0)

    def restore_rule_versions(self, versions: Iterable[RuleVersion]) -> None:
        """Puts versions back; those that are there stay as they are."""
        with self._write(planning=True) as connection:
            there = {(row.name, row.version) for row in connection.execute(select(rule_versions))}
            for version in versions:
                if (version.name, version.version) not in there:
                    connection.execute(rule_versions.insert().values(_row(version)))


def _row(version: RuleVersion) -> dict[str, object]:
    return {name: getattr(version, name) for name in RuleVersion.__slots__} | {"deleted": int(version.deleted)}


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
