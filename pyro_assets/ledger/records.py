"""Values that the ledger hands out and takes in: jobs with their sources and outputs, and the results of their steps.

Add a field when it is stored and needed outside; rows of the database stay inside the ledger.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import ColumnElement, and_

from pyro_assets.errors import SettingsError
from pyro_assets.ledger.schema import COMMITTED_STATES, JobState, SourceState, jobs
from pyro_assets.storage.keys import HOUR_MS, commit_key, hour_of, parse_block_key


@dataclass(frozen=True, slots=True)
class Lane:
    """A share of the shards, dealt by a hash of their numbers so that no pattern of them leaves a lane empty.

    >>> [lane_of_shard(shard, count=4) for shard in (1, 2, 3, 4)]
    [2, 0, 3, 1]
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise SettingsError(f"lane {self.index} of {self.count} does not exist; lanes are numbered from 0")

    def has(self, shard: int) -> bool:
        """Whether a shard belongs to it."""
        return bool(lane_of_shard(shard, self.count) == self.index)


def lane_of_shard(shard: Any, count: int) -> Any:
    """The number of the lane that a shard belongs to; of a database's column, the expression for it.

    Multiples of the golden ratio: numbers that follow each other are spread as evenly as numbers with gaps.
    """
    return shard * 40503 % 65536 * count // 65536


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt, or a source, failed; `cause` is the error's class, `offset` counts from the section's start."""

    cause: str
    message: str
    section: str | None = None
    offset: int | None = None

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """As the quarantine keeps it."""
        return cls(row.cause, row.message, row.section, row.offset)


@dataclass(frozen=True, slots=True)
class JobSource:
    """A source of a job and what became of it.

    Attributes:
        reason: why it is in no output; failure: the error, where it was set aside and that is asked for.
    """

    key: str
    size_bytes: int
    state: SourceState
    reason: str | None = None
    failure: Failure | None = None

    @property
    def created_ms(self) -> int:
        """Creation, Unix milliseconds, as its key tells it."""
        return parse_block_key(self.key).created_ms


@dataclass(frozen=True, slots=True)
class Output:
    """A level-1 block in the archive; `tenant` is printable, the block itself has the bytes."""

    tenant: str
    block_id: str
    key: str
    size_bytes: int
    crc32c: int
    profiles: int
    samples: int

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """As the table of outputs has it."""
        return cls(row.tenant, row.block_id, row.key, row.size_bytes, row.crc32c, row.profiles, row.samples)


def plain(value: Output | Failure) -> dict[str, Any]:
    """Its fields by name: columns of its row, and what its record says."""
    return {name: getattr(value, name) for name in value.__slots__}


@dataclass(frozen=True, slots=True)
class SeriesFile:
    """The series of a kind of a job in the archive: in a file of its own, or in one that jobs of an hour share.

    Attributes:
        key: "" where a job without outputs was derived to nothing, or retention removed the file.
        rows: of the job.
        size_bytes, crc32c: of the file; the checksum is None where it is not known.
        config_hash: the snapshot of rules that it was derived with, None where that is not known.
        later: rules whose series were put in since: id -> (its hash, the snapshot it was in).
        written_ms: when the ledger heard of it; moving the series into a shared file does not change it.
        is_changed: it holds other samples than the file before it.
    """

    kind: str
    job_id: str
    key: str
    rows: int = 0
    size_bytes: int = 0
    crc32c: int | None = None
    config_hash: str | None = None
    later: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    written_ms: int = 0
    is_changed: bool = True

    @classmethod
    def from_row(cls, row: Any) -> Self:
        """As the table of files has it."""
        later = {rule: (version, snapshot) for rule, (version, snapshot) in json.loads(row.later or "{}").items()}
        file = (row.kind, row.job_id, row.key or "", row.rows, row.size_bytes, row.crc32c)
        return cls(*file, row.config_hash, later, row.written_ms)

    def to_row(self, written_ms: int) -> dict[str, Any]:
        """Its row in the table of files."""
        return {
            "job_id": self.job_id,
            "kind": self.kind,
            "key": self.key or None,
            "rows": self.rows,
            "size_bytes": self.size_bytes,
            "crc32c": self.crc32c,
            "config_hash": self.config_hash,
            "later": json.dumps(dict(self.later), sort_keys=True) if self.later else None,
            "written_ms": written_ms,
        }


@dataclass(frozen=True, slots=True)
class Derivation:
    """The result of deriving a job.

    Attributes:
        files: one for each kind that was derived.
        config_hash: the snapshot of rules they follow.
        rules: only the series of these were made; the others stayed as they were. None for all.
        facts: name -> count of what was odd.
        examples: the first of these in words.
        seconds: how long it took.
    """

    files: tuple[SeriesFile, ...]
    config_hash: str
    rules: tuple[str, ...] | None = None
    facts: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JobIdentity:
    """What tells a job from others.

    Attributes:
        id: derived from sources, mode and dedup.
        kind: "segments" or "blocks" (observe mode).
        shard: all sources are of this one.
        tenant: "" or, in observe mode, the tenant's folder.
        hour: partition key.
        timestamp_ms: of all its samples.
        mode, dedup: how to do it.
    """

    id: str
    kind: str
    shard: int
    tenant: str
    hour: str
    timestamp_ms: int
    mode: str
    dedup: str

    @property
    def record_key(self) -> str:
        """Where its commit record lies in the archive."""
        return commit_key(self.hour, self.shard, self.id)

    def identity(self) -> dict[str, Any]:
        """These fields by name, which are columns of its row."""
        return {name: getattr(self, name) for name in JobIdentity.__slots__}


@dataclass(frozen=True, slots=True)
class Job(JobIdentity):
    """A job as a worker claimed it.

    Attributes:
        state: before this attempt; `committed` tells whether its level-1 blocks are.
        attempts: how often it was claimed since it last got further, this time included.
        run_id, fence: who has it; a commit with another fence is refused.
        sources: in job order.
        outputs: committed level-1 blocks.
        files: series that are committed, by kind.
        config_hash: the rules of its series so far.
        instance: `pyroscope_instance` of the imported rules' series, known once it is committed.
        committed: its level-1 blocks are committed; blocks_removed: retention removed them since, or is about to.
        series_number: of its files of series that are written now; None in an hour that upkeep has not touched.
        failed: a failure of it may be kept, which its next step forgives.
        isolate: it may take its process with it: a worker exceeded a limit over it, or over the job that it was a part
            of, or did not come back.
        level: in observe mode the level of a block above 1, once it is known.
        compares: profiles that other jobs have are left out of it, see `observed`.
        known: blocks of these jobs.
    """

    state: JobState
    attempts: int
    run_id: str
    fence: int
    sources: tuple[JobSource, ...]
    outputs: tuple[Output, ...] = ()
    files: tuple[SeriesFile, ...] = ()
    config_hash: str | None = None
    instance: str | None = None
    committed: bool = False
    blocks_removed: bool = False
    series_number: int | None = None
    failed: bool = True
    isolate: bool = False
    level: int | None = None
    compares: bool = False
    known: tuple[Output, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of series that are committed."""
        return frozenset(file.kind for file in self.files)


def is_there(*hours: str) -> ColumnElement[bool]:
    """Whether a job of some hours is committed and its level-1 blocks were not removed."""
    return and_(
        jobs.c.hour.in_(hours),
        jobs.c.compacted_ms.is_not(None),
        jobs.c.blocks_removed_ms.is_(None),
        jobs.c.state.in_(COMMITTED_STATES),
    )


def in_lane(lane: Lane | None) -> ColumnElement[bool]:
    """Whether a job's shard belongs to a lane; without one every shard does."""
    if lane is None or lane.count == 1:
        return jobs.c.shard >= 0
    mine: ColumnElement[bool] = lane_of_shard(jobs.c.shard, lane.count) == lane.index
    return mine


def within(begin_ms: int, end_ms: int) -> ColumnElement[bool]:
    """Whether a job's samples are of [begin_ms, end_ms), Unix ms."""
    return and_(
        # Timestamps have no index of their own; a job's is in its hour, or some milliseconds later.
        jobs.c.hour >= hour_of(max(begin_ms - HOUR_MS, 0)),
        jobs.c.hour <= hour_of(end_ms),
        jobs.c.timestamp_ms >= begin_ms,
        jobs.c.timestamp_ms < end_ms,
    )
