"""Rules as append-only records of the archive: what a run had in force, and every version that people saved.

Add a field when a rebuilt ledger could not do without it; nothing here is ever changed or removed. Which rules count
is `rules`' business.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.errors import BadRecord
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import Job
from pyro_assets.ledger.rule_use import Snapshot
from pyro_assets.ledger.rules import RuleVersion
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import RULES, rule_snapshot_key, rule_version_key

if TYPE_CHECKING:
    from pyro_assets.series.config import SeriesConfig

VERSION: Final = 1
_PAGE_KEYS: Final = 500


@dataclass(slots=True)
class RuleKeeper:
    """Keeps the rules in force in ledger and archive, and knows what past jobs were derived with; one per run."""

    ledger: Ledger
    archive: Bucket
    config: "SeriesConfig"
    clock: Callable[[], int]
    _is_kept: bool = False
    _snapshots: dict[str, Snapshot | None] = field(default_factory=dict)
    _listed: dict[str, tuple[str, str]] | None = None

    def config_for(self, job: Job) -> "SeriesConfig | None":
        """The configuration that a job is derived with, None where it is the one in force; a snapshot of it is kept.

        A rule with `top_k` keeps the list of functions that it had when the job was derived first, so that a backfill
        gives what live gave. It gets the list in force where it was not there then, or was edited since.

        Raises:
            StorageError: the archive does not take a snapshot.
        """
        from pyro_assets.series.choice import keep_lists

        self._keep(self.config)
        lists: dict[str, list[str]] = {}
        for name, (kind, version) in self._rules_with_lists().items() if job.files else ():
            file = next((file for file in job.files if file.kind == kind), None)
            if file is not None:
                _, snapshot_hash = file.later.get(name, ("", file.config_hash or ""))
                snapshot = self._snapshot(snapshot_hash)
                if snapshot is not None and snapshot.rules.get(name) == version:
                    lists[name] = _list_of(snapshot, name)
        changed = keep_lists(self.config, lists) if lists else self.config
        if changed is self.config:
            return None
        self._keep(changed)
        return changed

    def _keep(self, config: "SeriesConfig") -> None:
        if config is self.config and self._is_kept:
            return
        from pyro_assets.series.choice import config_text, rule_hashes

        snapshot_hash = config.hash
        if self._snapshot(snapshot_hash) is None:
            keep_versions(self.ledger, self.archive)
            snapshot = Snapshot(snapshot_hash, rule_hashes(config), config_text(config), self.clock())
            self.archive.create(rule_snapshot_key(snapshot.hash), _snapshot_bytes(snapshot))
            self.ledger.add_snapshot(snapshot)
            self._snapshots[snapshot_hash] = snapshot
        self._is_kept = self._is_kept or config is self.config

    def _rules_with_lists(self) -> dict[str, tuple[str, str]]:
        """Name -> kind and hash of the rules with `top_k`."""
        if self._listed is None:
            from pyro_assets.series.choice import listed_rules, rule_hash, rule_kinds

            kinds = rule_kinds(self.config)
            self._listed = {name: (kinds[name], rule_hash(self.config, name)) for name in listed_rules(self.config)}
        return self._listed

    def _snapshot(self, snapshot_hash: str) -> Snapshot | None:
        if snapshot_hash not in self._snapshots:
            self._snapshots[snapshot_hash] = self.ledger.rule_snapshot(snapshot_hash)
        return self._snapshots[snapshot_hash]


def keep_versions(ledger: Ledger, archive: Bucket) -> int:
    """Writes what people saved since the last call to the archive; one question to the ledger where that is nothing.

    Returns:
        How many versions were written.

    Raises:
        StorageError: the archive does not take them.
    """
    count, versions = ledger.unkept_rule_versions()
    for version in versions:
        data = _version_bytes(version)
        digest = sha256(data).hexdigest()[:8]  # of two ledgers with one archive, both stay
        archive.create(rule_version_key(version.name, version.version, digest), data)
    if versions:
        ledger.mark_rule_versions_kept(count)
    return len(versions)


def restore_rules(ledger: Ledger, archive: ReadOnlyBucket, now_ms: int) -> int:
    """Puts rules with their whole history, and snapshots, back into a ledger that lost them.

    Returns:
        How many versions and snapshots the archive has.

    Raises:
        BadRecord: one does not parse.
        StorageError: the archive does not answer.
    """
    found = 0
    versions: dict[tuple[str, int], RuleVersion] = {}
    for key, plain in _records(archive, "versions"):
        version = _parse(key, lambda plain=plain: RuleVersion(**plain))  # type: ignore[misc]
        same = (version.name, version.version)
        if same not in versions or versions[same].at_ms < version.at_ms:
            versions[same] = version
        found += 1
    ledger.restore_rule_versions(versions.values())
    for key, plain in _records(archive, "snapshots"):
        ledger.add_snapshot(_parse(key, lambda plain=plain: Snapshot(**plain, at_ms=now_ms)))  # type: ignore[misc]
        found += 1
    return found


def _records(archive: ReadOnlyBucket, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for page in archive.pages(f"{RULES}/{folder}/", limit=_PAGE_KEYS):
        for item, data in zip(page, archive.get_many(page), strict=True):
            if isinstance(data, Exception):
                raise data
            plain = _parse(item.key, lambda data=data: json.loads(data))  # type: ignore[misc]
            if _parse(item.key, lambda plain=plain: plain.pop("record")) != VERSION:  # type: ignore[misc]
                raise BadRecord(f"{item.key} is of another version; this program knows {VERSION}", key=item.key)
            yield item.key, plain


def _parse(key: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadRecord(
            f"{key} is no record of rules ({type(error).__name__}: {error}); restore it from a copy of the archive",
            key=key,
        ) from error


def _list_of(snapshot: Snapshot, name: str) -> list[str]:
    rules: list[dict[str, Any]] = json.loads(snapshot.body)["rules"]
    return next((list(rule.get("resolved", ())) for rule in rules if rule["name"] == name), [])


def _version_bytes(version: RuleVersion) -> bytes:
    return _to_bytes({"record": VERSION, **asdict(version)})


def _snapshot_bytes(snapshot: Snapshot) -> bytes:
    """Without the time: equal rules give equal bytes, whoever writes them first."""
    plain = {"hash": snapshot.hash, "rules": dict(snapshot.rules), "body": snapshot.body}
    return _to_bytes({"record": VERSION, **plain})


def _to_bytes(plain: dict[str, Any]) -> bytes:
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"
