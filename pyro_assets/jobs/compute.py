"""The computing of jobs: sources to level-1 blocks, record and series in the archive, before the ledger knows of it.

Here, too:
* which jobs are computed at once.

Done in the process of a run or in one of its pool; failures are part of the answer. Add a step of the computing here;
how it does its work stands in `compact` and `derive`, and what the ledger is told in `work`.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from pyro_assets.errors import LedgerUnavailable, ObjectChanged, ObjectUnreadable, StorageUnavailable, TooLarge
from pyro_assets.jobs.compact import Compactor, HigherLevel, failure_of
from pyro_assets.jobs.derive import Deriver
from pyro_assets.jobs.pool import keep_freed_memory
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.records import Derivation, Failure, Job

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.rules.config import SeriesConfig

#: So many jobs are computed at once: most of what that saves is saved by then.
MOST_TOGETHER: Final = 16
#: Of sources; larger jobs gain nothing by company.
_MOST_BYTES: Final = 6 << 20


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed job and the kinds of series to derive; `config` where it is not derived with what is in force."""

    job: Job
    kinds: frozenset[str]
    config: "SeriesConfig | None" = None


@dataclass(slots=True)
class Answer:
    """What became of a task, before the ledger knows.

    Attributes:
        record: in the archive, of a job that was not committed; compact_seconds: how long that took.
        derived: its series, in the archive.
        failure: why it ended early; counts: whether that says something of the job; of_program: whether it looks like
            a fault of the program; exception: the same where this process has it; unreadable: the same where the
            bucket does not give out some sources.
        too_large: nothing was done: its sources need too much memory together.
        higher: nothing was done yet: it is a block of a higher level.
        seconds: how long all of it took.
    """

    record: CommitRecord | None = None
    compact_seconds: float = 0.0
    derived: Derivation | None = None
    failure: Failure | None = None
    counts: bool = True
    of_program: bool = False
    exception: Exception | None = None
    unreadable: ObjectUnreadable | None = None
    too_large: TooLarge | None = None
    higher: HigherLevel | None = None
    seconds: float = 0.0

    def fail(self, error: Exception) -> None:
        """Notes why it ended early."""
        self.failure = failure_of(error)
        self.counts = counts(error)
        self.of_program = is_of_program(error)
        self.exception = error
        self.unreadable = error if isinstance(error, ObjectUnreadable) else None
        if isinstance(error, TooLarge):
            # The frames that it passed hold the sources, and what was read of them, while the parts are computed.
            self.too_large = error.with_traceback(None)


def serve(state: tuple[Compactor, Deriver | None]) -> Callable[[list[Task]], list[Answer]]:
    """Makes a process of a pool ready to compute passes."""
    # Ctrl-C reaches every process of a terminal: the parent decides what becomes of jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    import pyarrow as pa

    # Every core has a process already. Polars looks once, when it is first imported.
    pa.set_cpu_count(1)
    os.putenv("POLARS_MAX_THREADS", "1")

    def answer(tasks: list[Task]) -> list[Answer]:
        # Not every exception comes through a pipe; the parent renews leases meanwhile.
        return [replace(one, exception=None) for one in compute_pass(tasks, *state, lambda _: None)]

    return answer


def passes(tasks: Iterable[Task], compactor: Compactor) -> Iterator[list[Task]]:
    """Puts tasks that can be computed at once together, in their order; others are alone.

    What an earlier attempt left, what other jobs have, and whatever may end its process is looked at job by job.
    """
    many: list[Task] = []
    size_bytes = 0
    for task in tasks:
        job = task.job
        own = sum(source.size_bytes for source in job.sources)
        is_plain = compactor.engine.compact_jobs is not None and task.config is None and job.mode == "own"
        is_new = not (job.committed or job.compares or job.isolate) and job.attempts == 1
        fits = not many or (
            len(many) < MOST_TOGETHER
            and size_bytes + own <= _MOST_BYTES
            and (task.kinds, job.dedup) == (many[0].kinds, many[0].job.dedup)
        )
        if many and not (is_plain and is_new and fits):
            yield many
            many, size_bytes = [], 0
        if is_plain and is_new:
            many.append(task)
            size_bytes += own
        else:
            yield [task]
    if many:
        yield many


def compute_pass(
    tasks: Sequence[Task], compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[Job], None]
) -> list[Answer]:
    """Does the computing of jobs; failures are part of the answers, together with what was done before them.

    Several are computed at once; where that does not work, for whatever reason, each is computed alone.

    Args:
        tasks: what to do, see `passes`.
        compactor: does the first half of jobs.
        deriver: does the second half.
        still_ours: raises LeaseLost when a job is not; called before anything is replaced.

    Raises:
        LedgerUnavailable: `still_ours` cannot be answered.
    """
    begun = time.perf_counter()
    answers = None
    if len(tasks) > 1:
        try:
            answers = _compute_together(tasks, compactor, deriver, still_ours)
        except LedgerUnavailable:
            raise
        # Whose fault it is shows when each is alone.
        except Exception:  # noqa: BLE001
            answers = None
    if answers is None:
        return [_compute(task, compactor, deriver, still_ours) for task in tasks]
    for answer in answers:
        answer.seconds = (time.perf_counter() - begun) / len(tasks)
    return answers


def _compute_together(
    tasks: Sequence[Task], compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[Job], None]
) -> list[Answer] | None:
    begun = time.perf_counter()
    done = compactor.compact_jobs([task.job for task in tasks])
    if done is None:
        return None
    records, made = done
    seconds = (time.perf_counter() - begun) / len(tasks)
    answers = [Answer(record, seconds) for record in records]
    if tasks[0].kinds and deriver is not None:
        jobs = [record.committed(task.job) for task, record in zip(tasks, records, strict=True)]

        def are_ours() -> None:
            for job in jobs:
                still_ours(job)

        derived = deriver.derive_jobs(jobs, made, tasks[0].kinds, are_ours)
        if derived is None:
            return None
        for answer, own in zip(answers, derived, strict=True):
            answer.derived = own
    return answers


def _compute(task: Task, compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[Job], None]) -> Answer:
    answer, begun = Answer(), time.perf_counter()
    try:
        _compute_alone(task, compactor, deriver, lambda: still_ours(task.job), answer)
    except LedgerUnavailable:
        raise
    # Whatever a job does must not stop the others; it is recorded when the answer is settled.
    except Exception as error:  # noqa: BLE001
        answer.fail(error)
    answer.seconds = time.perf_counter() - begun
    return answer


def counts(error: BaseException) -> bool:
    """Whether a failure says something of the job, which a bucket that does not answer, or is written to, does not."""
    return not isinstance(error, StorageUnavailable | ObjectChanged)


def is_of_program(error: BaseException) -> bool:
    """Whether an error looks like a fault of the program or its installation, and not of what a job holds.

    >>> is_of_program(ModuleNotFoundError("no module")), is_of_program(ValueError("bad value"))
    (True, False)
    """
    return isinstance(error, ImportError | NameError | AttributeError | TypeError | SyntaxError | NotImplementedError)


def _compute_alone(
    task: Task, compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[], None], answer: Answer
) -> None:
    job = task.job
    columns: BlockColumns | None = None
    if not job.committed:
        begun = time.perf_counter()
        compacted = compactor.compact(job, still_ours)
        if isinstance(compacted, HigherLevel):
            answer.higher = compacted
            return
        answer.compact_seconds = time.perf_counter() - begun
        answer.record, columns = compacted.record, compacted.columns
        job = compacted.record.committed(job)
    if task.kinds and deriver is not None:
        answer.derived = deriver.derive(job, columns, task.kinds, still_ours, task.config)
