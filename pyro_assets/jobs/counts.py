"""What runs count of their jobs, for metadata, tables and JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class RunCounts:
    """What one run did for one hour.

    Attributes:
        compacted: jobs whose level-1 blocks it committed.
        derived: jobs whose series it committed.
        failed: attempts that failed; `errors` has the first messages.
        busy: jobs that another worker has or took meanwhile.
        left: jobs it did not get to before its deadline.
        removed: jobs whose series stay as they are, because retention removed their level-1 blocks or rows.
        seconds: time spent on the jobs of this hour.
    """

    compacted: int = 0
    derived: int = 0
    failed: int = 0
    busy: int = 0
    left: int = 0
    removed: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def nothing_to_do(self) -> bool:
        """Whether the hour had no work for this run."""
        return not (self.compacted or self.derived or self.failed or self.busy or self.left)

    @property
    def summary(self) -> str:
        """One sentence for people.

        >>> RunCounts().summary, RunCounts(compacted=2, derived=2, left=1).summary
        ('nothing to do', 'compacted 2 jobs, derived 2 jobs, left 1 for the next run')
        """
        kept = f"{self.removed} jobs stay as they are: retention removed their blocks or rows"
        if self.nothing_to_do:
            return f"nothing to do; {kept}" if self.removed else "nothing to do"
        parts = [f"compacted {self.compacted} jobs"] if self.compacted else []
        parts += [f"derived {self.derived} jobs"] if self.derived else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.busy} are another worker's"] if self.busy else []
        parts += [f"left {self.left} for the next run"] if self.left else []
        parts += [kept] if self.removed else []
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Difference:
    """A total that is not what it must be; empty names where the whole job is meant."""

    job_id: str
    tenant: str
    service: str
    profile_type: str
    what: str
    expected: int
    actual: int

    def __str__(self) -> str:
        place = "/".join(part for part in (self.job_id, self.tenant, self.service, self.profile_type) if part)
        return f"job {place}: {self.what}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether the level-1 objects of an hour, as read back, hold what their sources held.

    Attributes:
        hour: the partition key.
        checked: jobs compared now; before: jobs that an earlier check compared and found equal.
        unverifiable: jobs whose sources are gone; their level-1 objects were still compared with the job's counts.
        left: jobs that the deadline left for the next check.
        totals: (tenant, service, profile type) groups compared.
        differences: what is not equal, the first 100.
        seconds: how long it took.
    """

    hour: str
    checked: int = 0
    before: int = 0
    unverifiable: int = 0
    left: int = 0
    totals: int = 0
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every total that could be compared is equal."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"equal": self.equal}


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every job of a run: `done` of `total` jobs, the last one's id and hour."""

    done: int
    total: int
    job_id: str
    hour: str


@dataclass(slots=True)
class Trust:
    """Whether the program is known to work: a job was done since it was started."""

    works: bool = False
