"""The commit record of a job: one immutable JSON object in the archive, from which the ledger can be rebuilt.

Add a field when the ledger could not be rebuilt without it, and raise `sealed_json.VERSION` when an older program could
not read it. No clock, no host, no version of a library: equal work gives equal bytes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, cast, get_args

from pyro_assets.errors import ObjectConflict, ObjectMissing
from pyro_assets.ledger.records import Failure, Job, JobIdentity, JobSource, Output, plain
from pyro_assets.ledger.schema import SourceState
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes


@dataclass(frozen=True, slots=True)
class CommitRecord(JobIdentity):
    """What a job committed: the same whether the work was just done, is in the ledger, or read from the archive.

    Attributes:
        instance: `pyroscope_instance` of the imported rules' series, None if no source could be read.
        sources: in job order.
        outputs: its level-1 blocks.
        profiles, samples: in the outputs; duplicates, conflicts: as compaction counted them.
        oldest_ms, newest_ms: first and last profile, None without any.
        services: (tenant, service, samples, unsymbolised samples).
        facts: name -> count of what was odd.
    """

    instance: str | None = None
    sources: tuple[JobSource, ...] = ()
    outputs: tuple[Output, ...] = ()
    profiles: int = 0
    samples: int = 0
    duplicates: int = 0
    conflicts: int = 0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    services: tuple[tuple[str, str, int, int], ...] = ()
    facts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, job: JobIdentity, **results: Any) -> Self:
        """The record of a job with these results; without any, nothing came of it."""
        return cls(**job.identity(), **results)

    @property
    def is_lost(self) -> bool:
        """Whether all its sources were gone."""
        return bool(self.sources) and all(source.state == "lost" for source in self.sources)

    def committed(self, job: Job) -> Job:
        """The job once this is committed."""
        return replace(job, committed=True, outputs=self.outputs, instance=self.instance)

    def to_bytes(self) -> bytes:
        """See `sealed_json.to_bytes`."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        found["job"] = found.pop("id")
        found["outputs"] = [plain(output) for output in self.outputs]
        found["sources"] = [_plain_source(source) for source in self.sources]
        return to_bytes(found)


def parse_record(data: bytes, key: str) -> CommitRecord:
    """Reads a commit record.

    Raises:
        BadRecord: it does not parse, is damaged, or a newer program wrote it.
    """
    found = from_bytes(data, key, "a commit record")
    with parsing(key, "a commit record"):
        sources = tuple(_source(item) for item in found.pop("sources"))
        outputs = tuple(Output(**item) for item in found.pop("outputs"))
        services = tuple((str(t), str(s), int(n), int(u)) for t, s, n, u in found.pop("services"))
        return CommitRecord(id=found.pop("job"), sources=sources, outputs=outputs, services=services, **found)


def read_records(archive: ReadOnlyBucket, prefix: str) -> Iterator[CommitRecord]:
    """The commit records below a prefix, in key order, some hundred in memory at a time.

    Raises:
        StorageError: one cannot be read.
        BadRecord: one does not parse.
    """
    return (parse_record(data, key) for key, data in archive.read_all(prefix))


def find_record(archive: ReadOnlyBucket, job: JobIdentity) -> CommitRecord | None:
    """The record of a job if it is in the archive.

    Raises:
        StorageError: the archive does not answer, or the record is damaged.
    """
    try:
        return parse_record(archive.read(job.record_key), job.record_key)
    except ObjectMissing:
        return None


def write_record(archive: Bucket, record: CommitRecord) -> CommitRecord:
    """Writes a record, unless the job has one: what is committed is never overwritten.

    Returns:
        The one that is in the archive now.

    Raises:
        StorageError: the archive does not answer, or the record that is there is damaged.
    """
    try:
        archive.create(record.record_key, record.to_bytes())
    except ObjectConflict:
        return parse_record(archive.read(record.record_key), record.record_key)
    return record


def _plain_source(source: JobSource) -> dict[str, Any]:
    item: dict[str, Any] = {"key": source.key, "size_bytes": source.size_bytes, "state": source.state}
    if source.reason is not None:
        item["reason"] = source.reason
    if source.failure is not None:
        item["failure"] = plain(source.failure)
    return item


def _source(item: dict[str, Any]) -> JobSource:
    state = item["state"]
    if state not in get_args(SourceState):
        raise ValueError(f"unknown state {state!r}")
    failure = item.get("failure")
    return JobSource(
        key=str(item["key"]),
        size_bytes=int(item["size_bytes"]),
        state=cast("SourceState", state),
        reason=item.get("reason"),
        failure=None if failure is None else Failure(**failure),
    )
