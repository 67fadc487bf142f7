"""Rules as append-only records of the archive: what a run had in force, and every version that people saved.

Add a field when a rebuilt ledger could not do without it; nothing here is ever changed or removed. Which rules count
is `rules`' business.
"""

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.errors import BadRecord, ObjectConflict
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Job
from pyro_assets.rules.stored import RuleUse, RuleVersion, Snapshot, StoredRules
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import RULES, rule_snapshot_key, rule_version_key
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes

if TYPE_CHECKING:
    from pyro_assets.rules.config import SeriesConfig

_WHAT: Final = "a record of rules"
_VERSIONS: Final = f"{RULES}/versions/"
_SNAPSHOTS: Final = f"{RULES}/snapshots/"


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
        from pyro_assets.rules.choice import keep_lists

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
        from pyro_assets.rules.choice import config_text, rule_hashes

        snapshot_hash = config.hash
        if self._snapshot(snapshot_hash) is None:
            keep_versions(self.ledger, self.archive)
            snapshot = Snapshot(snapshot_hash, rule_hashes(config), config_text(config), self.clock())
            write_snapshot(self.archive, snapshot)
            RuleUse(self.ledger).add_snapshot(snapshot)
            self._snapshots[snapshot_hash] = snapshot
        self._is_kept = self._is_kept or config is self.config

    def _rules_with_lists(self) -> dict[str, tuple[str, str]]:
        """Name -> kind and hash of the rules with `top_k`."""
        if self._listed is None:
            from pyro_assets.rules.choice import listed_rules, rule_hash, rule_kinds

            kinds = rule_kinds(self.config)
            self._listed = {name: (kinds[name], rule_hash(self.config, name)) for name in listed_rules(self.config)}
        return self._listed

    def _snapshot(self, snapshot_hash: str) -> Snapshot | None:
        if snapshot_hash not in self._snapshots:
            self._snapshots[snapshot_hash] = RuleUse(self.ledger).rule_snapshot(snapshot_hash)
        return self._snapshots[snapshot_hash]


def write_snapshot(archive: Bucket, snapshot: Snapshot) -> None:
    """Writes the rules of a run, unless the archive has them: without the time, so equal rules give equal bytes.

    Raises:
        StorageError: the archive does not take them, or has others under this hash.
    """
    key, data = _snapshot_record(snapshot)
    try:
        archive.create(key, data)
    except ObjectConflict:
        # An older version wrote the same without a checksum.
        if _plain(archive.read(key), key) != _plain(data, key):
            raise


def keep_versions(ledger: Ledger, archive: Bucket) -> int:
    """Writes what people saved since the last call to the archive; one question to the ledger where that is nothing.

    Returns:
        How many versions were written.

    Raises:
        StorageError: the archive does not take them.
    """
    count, versions = StoredRules(ledger).unkept_rule_versions()
    for version in versions:
        archive.create(*_version_record(version))
    if versions:
        StoredRules(ledger).mark_rule_versions_kept(count)
    return len(versions)


def damaged_rules(archive: ReadOnlyBucket, ledger: Ledger) -> dict[str, str]:
    """Keys of records of rules that are damaged, or missing although the ledger has them, with one sentence each.

    Raises:
        StorageError: the archive does not answer.
    """
    there: set[str] = set()
    found: dict[str, str] = {}
    for key, data in (*archive.read_all(_VERSIONS), *archive.read_all(_SNAPSHOTS)):
        there.add(_stem(key))
        try:
            plain = _plain(data, key)
            with parsing(key, _WHAT):
                RuleVersion(**plain) if _VERSIONS in key else Snapshot(**plain, at_ms=0)
        except BadRecord as error:
            found[key] = str(error)
    return found | {key: f"{key} is missing" for key, _ in _kept(ledger) if _stem(key) not in there}


def rewrite_rules(archive: Bucket, ledger: Ledger, damaged: Collection[str]) -> None:
    """Writes records of rules that are damaged or missing again, as the ledger has them.

    Raises:
        StorageError: the archive does not take them.
    """
    stems = {_stem(key) for key in damaged}
    for key, data in _kept(ledger):
        if _stem(key) in stems:
            archive.replace(key, data)
            # What an older version wrote of the same rule has another key.
            archive.remove([other for other in damaged if _stem(other) == _stem(key) and other != key])


def _kept(ledger: Ledger) -> Iterator[tuple[str, bytes]]:
    """Keys and bytes of all records of rules that the archive must have."""
    yield from map(_version_record, StoredRules(ledger).kept_rule_versions())
    yield from map(_snapshot_record, RuleUse(ledger).rule_snapshots())


def _stem(key: str) -> str:
    """A key without what follows from the bytes: an older version wrote other ones."""
    return key.rpartition("-")[0] if _VERSIONS in key else key


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
    for key, plain in _records(archive, _VERSIONS):
        with parsing(key, _WHAT):
            version = RuleVersion(**plain)
        same = (version.name, version.version)
        if same not in versions or versions[same].at_ms < version.at_ms:
            versions[same] = version
        found += 1
    StoredRules(ledger).restore_rule_versions(versions.values())
    for key, plain in _records(archive, _SNAPSHOTS):
        with parsing(key, _WHAT):
            snapshot = Snapshot(**plain, at_ms=now_ms)
        RuleUse(ledger).add_snapshot(snapshot)
        found += 1
    return found


def _records(archive: ReadOnlyBucket, folder: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, data in archive.read_all(folder):
        yield key, _plain(data, key)


def _plain(data: bytes, key: str) -> dict[str, Any]:
    return from_bytes(data, key, _WHAT, version="record")


def _list_of(snapshot: Snapshot, name: str) -> list[str]:
    rules: list[dict[str, Any]] = json.loads(snapshot.body)["rules"]
    return next((list(rule.get("resolved", ())) for rule in rules if rule["name"] == name), [])


def _version_record(version: RuleVersion) -> tuple[str, bytes]:
    data = to_bytes(asdict(version), version="record")
    digest = sha256(data).hexdigest()[:8]  # of two ledgers with one archive, both stay
    return rule_version_key(version.name, version.version, digest), data


def _snapshot_record(snapshot: Snapshot) -> tuple[str, bytes]:
    plain = {"hash": snapshot.hash, "rules": dict(snapshot.rules), "body": snapshot.body}
    return rule_snapshot_key(snapshot.hash), to_bytes(plain, version="record")
