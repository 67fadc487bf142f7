"""The commit record of a job: one immutable JSON object in the archive, from which the ledger can be rebuilt.

Add a field when the ledger could not be rebuilt without it, and raise `sealed_json.VERSION` when an older program could
not read it. No clock, no host, no version of a library: equal work gives equal bytes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast, get_args

from pyro_assets.ledger.records import Compaction, Failure, Job, Output
from pyro_assets.ledger.schema import SourceState
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import commit_key
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes

#: Records in memory at a time.
_READ_TOGETHER: Final = 500


@dataclass(frozen=True, slots=True)
class RecordedSource:
    """A source and what became of it; `failure` is there when it was set aside."""

    key: str
    size_bytes: int
    state: SourceState
    reason: str | None = None
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What a job committed.

    Attributes:
        job: its id; mode, dedup, kind, shard, tenant, hour, timestamp_ms: as in the ledger.
        instance: `pyroscope_instance` of the imported rules' series, None if no source could be read.
        sources: in job order.
        outputs: its level-1 blocks.
        profiles, samples, duplicates, conflicts, oldest_ms, newest_ms, services, facts: see `Compaction`.
    """

    job: str
    mode: str
    dedup: str
    kind: str
    shard: int
    tenant: str
    hour: str
    timestamp_ms: int
    instance: str | None
    sources: tuple[RecordedSource, ...]
    outputs: tuple[Output, ...]
    profiles: int = 0
    samples: int = 0
    duplicates: int = 0
    conflicts: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    services: tuple[tuple[str, str, int, int], ...] = ()
    facts: dict[str, int] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Where it lies in the archive."""
        return commit_key(self.hour, self.shard, self.job)

    def to_bytes(self) -> bytes:
        """See `sealed_json.to_bytes`."""
        return to_bytes(_plain(self))

    def compaction(self, seconds: float) -> Compaction:
        """What the ledger commits: the same whether the work was just done or is read from the archive."""
        return Compaction(
            outputs=self.outputs,
            sources={source.key: source.state for source in self.sources if source.state != "done"},
            reasons={source.key: source.reason for source in self.sources if source.reason is not None},
            sizes={source.key: source.size_bytes for source in self.sources},
            failures={source.key: source.failure for source in self.sources if source.failure is not None},
            profiles=self.profiles,
            samples=self.samples,
            duplicates=self.duplicates,
            conflicts=self.conflicts,
            oldest_ms=self.oldest_ms,
            newest_ms=self.newest_ms,
            services=self.services,
            facts=self.facts,
            instance=self.instance,
            seconds=seconds,
        )


def new_record(job: Job) -> CommitRecord:
    """The record of a job of which nothing came."""
    return CommitRecord(
        job=job.id,
        mode=job.mode,
        dedup=job.dedup,
        kind=job.kind,
        shard=job.shard,
        tenant=job.tenant,
        hour=job.hour,
        timestamp_ms=job.timestamp_ms,
        instance=None,
        sources=(),
        outputs=(),
    )


def record_of(job: Job, done: Compaction) -> CommitRecord:
    """The record of a committed job, as the ledger knows it."""
    return replace(
        new_record(job),
        instance=done.instance,
        sources=tuple(
            RecordedSource(one.key, one.size_bytes, one.state, one.reason, done.failures.get(one.key))
            for one in job.sources
        ),
        outputs=done.outputs,
        profiles=done.profiles,
        samples=done.samples,
        duplicates=done.duplicates,
        conflicts=done.conflicts,
        oldest_ms=done.oldest_ms,
        newest_ms=done.newest_ms,
        services=done.services,
        facts=dict(done.facts),
    )


def record_key(job: Job) -> str:
    """Where the record of a job lies."""
    return commit_key(job.hour, job.shard, job.id)


def parse_record(data: bytes, key: str) -> CommitRecord:
    """Reads a commit record.

    Raises:
        BadRecord: it does not parse, is damaged, or a newer program wrote it.
    """
    plain = from_bytes(data, key, "a commit record")
    with parsing(key, "a commit record"):
        sources = tuple(_source(item) for item in plain.pop("sources"))
        outputs = tuple(Output(**item) for item in plain.pop("outputs"))
        services = tuple((str(t), str(s), int(n), int(u)) for t, s, n, u in plain.pop("services"))
        return CommitRecord(sources=sources, outputs=outputs, services=services, **plain)


def read_records(archive: ReadOnlyBucket, prefix: str) -> Iterator[CommitRecord]:
    """The commit records below a prefix, in key order, some hundred in memory at a time.

    Raises:
        StorageError: one cannot be read.
        BadRecord: one does not parse.
    """
    for page in archive.pages(prefix, limit=_READ_TOGETHER):
        for item, data in zip(page, archive.get_many(page), strict=True):
            if isinstance(data, Exception):
                raise data
            yield parse_record(data, item.key)


def _plain(record: CommitRecord) -> dict[str, Any]:
    plain: dict[str, Any] = {
        name: getattr(record, name) for name in record.__slots__ if name not in ("sources", "outputs")
    }
    plain["outputs"] = [{name: getattr(output, name) for name in output.__slots__} for output in record.outputs]
    plain["sources"] = []
    for source in record.sources:
        item: dict[str, Any] = {"key": source.key, "size_bytes": source.size_bytes, "state": source.state}
        if source.reason is not None:
            item["reason"] = source.reason
        if source.failure is not None:
            item["failure"] = {name: getattr(source.failure, name) for name in source.failure.__slots__}
        plain["sources"].append(item)
    return plain


def _source(item: dict[str, Any]) -> RecordedSource:
    state = item["state"]
    if state not in get_args(SourceState):
        raise ValueError(f"unknown state {state!r}")
    failure = item.get("failure")
    return RecordedSource(
        key=str(item["key"]),
        size_bytes=int(item["size_bytes"]),
        state=cast("SourceState", state),
        reason=item.get("reason"),
        failure=None if failure is None else Failure(**failure),
    )
