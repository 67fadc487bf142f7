"""Plain values that the slow decoder returns: blocks, series, profiles, stacks, facts.

Only tuples and bytes, so that a test can compare, count and print them. No decoding here.
"""

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

Labels = tuple[tuple[bytes, bytes], ...]

PRIVATE_PROFILE_TYPE = b"__profile_type__"


class Mapping(NamedTuple):
    """A mapping with its strings resolved; a dangling string reference is None."""

    file_name: bytes | None
    build_id: bytes | None
    flags: int
    memory_start: int
    memory_limit: int
    file_offset: int


class Line(NamedTuple):
    """One line of a location with its function resolved; a dangling function leaves all names None."""

    name: bytes | None
    system_name: bytes | None
    file_name: bytes | None
    start_line: int
    line: int


class Frame(NamedTuple):
    """A location: lines, innermost first (none: native code not symbolised). Dangling mapping: None."""

    lines: tuple[Line, ...]
    address: int
    mapping: Mapping | None
    is_folded: bool


class Stack:
    """A stack trace, one object per distinct trace in this process: equality is identity, hashing is free.

    `frame` is the leaf, `parent` the rest of the stack; the empty stack (only the root) is EMPTY_STACK.
    """

    __slots__ = ("_names", "frame", "parent")
    _pool: ClassVar[dict[tuple[Frame, int], "Stack"]] = {}

    def __init__(self, frame: Frame | None, parent: "Stack | None") -> None:
        self.frame, self.parent = frame, parent
        self._names: frozenset[bytes] | None = None

    @classmethod
    def of(cls, frame: Frame, parent: "Stack") -> "Stack":
        key = (frame, id(parent))
        if key not in cls._pool:
            cls._pool[key] = cls(frame, parent)
        return cls._pool[key]

    @property
    def frames(self) -> tuple[Frame, ...]:
        """All frames, leaf first."""
        return tuple(self)

    def __iter__(self) -> Iterator[Frame]:
        stack: Stack | None = self
        while stack is not None and stack.frame is not None:
            yield stack.frame
            stack = stack.parent

    @property
    def function_names(self) -> frozenset[bytes]:
        """The names of all functions on the stack, inlined ones included."""
        if self._names is None:
            self._names = frozenset(line.name for frame in self for line in frame.lines if line.name is not None)
        return self._names

    def __repr__(self) -> str:
        return "Stack(" + " < ".join(repr(frame) for frame in self) + ")"

    def sort_key(self) -> str:
        """Something to sort by, for reports of differences."""
        return repr(self)


EMPTY_STACK = Stack(None, None)


class Sample(NamedTuple):
    """One sample of a profile; `labels` are (Key, Str, Num, NumUnit) as stored; ids None where absent."""

    stack: Stack
    value: int
    span_id: int | None
    trace_id: bytes | None
    labels: tuple[tuple[int, int | None, int | None, int | None], ...]


class Profile(NamedTuple):
    """One row of the profiles section, joined with its series and its partition's symbols."""

    id: bytes
    labels: Labels
    fingerprint: int
    partition: int
    time_ns: int
    total_value: int
    samples: tuple[Sample, ...]
    drop_frames: int | None
    keep_frames: int | None
    duration_ns: int | None
    period: int | None
    comments: tuple[int, ...]
    default_sample_type: int | None
    annotations: tuple[tuple[bytes, bytes], ...]


class Fact(NamedTuple):
    """One sample with everything that compaction must keep."""

    tenant: bytes
    service: bytes
    labels: Labels
    profile_type: bytes
    time_ns: int
    stack: Stack
    value: int
    span_id: int | None
    trace_id: bytes | None
    sample_labels: tuple[tuple[int, int | None, int | None, int | None], ...]


class Series(NamedTuple):
    """One series entry of a TSDB index; `chunks` are (min_time_ns, max_time_ns, series_index)."""

    labels: Labels
    fingerprint: int
    chunks: tuple[tuple[int, int, int], ...]
    reference: int


class Dataset(NamedTuple):
    """A dataset as its metadata and sections say. Sections that its format lacks are empty."""

    tenant: bytes
    name: bytes
    min_time_ms: int
    max_time_ms: int
    toc: tuple[int, ...]
    size: int
    label_sets: tuple[Labels, ...]
    format: int
    sections: tuple[bytes, ...]
    series: tuple[Series, ...]
    profiles: tuple[Profile, ...]
    partitions: dict[int, Any]


class Block(NamedTuple):
    """A whole object."""

    id: bytes
    shard: int
    level: int
    tenant: bytes
    min_time_ms: int
    max_time_ms: int
    created_by: bytes
    created_by_index: int
    size: int
    metadata_offset: int
    format_version: int
    string_table: tuple[bytes, ...]
    datasets: tuple[Dataset, ...]

    def facts(self) -> list[Fact]:
        """Every sample of every format-0 dataset."""
        return [fact for dataset in self.datasets for fact in dataset_facts(dataset)]


def dataset_facts(dataset: Dataset) -> list[Fact]:
    """Every sample of one dataset."""
    return [fact for profile in dataset.profiles for fact in profile_facts(dataset, profile)]


def profile_facts(dataset: Dataset, profile: Profile) -> list[Fact]:
    """Every sample of one profile."""
    profile_type = dict(profile.labels).get(PRIVATE_PROFILE_TYPE, b"")
    return [
        Fact(
            dataset.tenant,
            dataset.name,
            profile.labels,
            profile_type,
            profile.time_ns,
            sample.stack,
            sample.value,
            sample.span_id,
            sample.trace_id,
            sample.labels,
        )
        for sample in profile.samples
    ]


def facts_of(blocks: Iterable[Block]) -> list[Fact]:
    """All facts of several blocks."""
    return [fact for block in blocks for fact in block.facts()]
