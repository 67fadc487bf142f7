"""The computing of a job in a process of its own: sources to level-1 blocks, record and series in the archive.

Add what a job computes here when `work` does it in the run's own process. Nothing here knows the ledger: the parent
holds the lease and commits. So series are written before the ledger knows the blocks; the record is there already, and
a crash in between is repaired as any other, by doing the job again.
"""

import os
import signal
import time
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from pyro_assets.errors import ObjectChanged, ObjectUnreadable, StorageUnavailable, TooLarge
from pyro_assets.ledger.records import Derivation, Failure, Job
from pyro_assets.pipeline.allocator import keep_freed_memory
from pyro_assets.pipeline.compacting import Compactor, HigherLevel, failure_of
from pyro_assets.pipeline.deriving import Deriver
from pyro_assets.pipeline.record import CommitRecord

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.series.config import SeriesConfig


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed job and the kinds of series to derive; `config` where it is not derived with what is in force."""

    job: Job
    kinds: frozenset[str]
    config: "SeriesConfig | None" = None


@dataclass(slots=True)
class Answer:
    """What became of a task.

    Attributes:
        record: in the archive, of a job that was not committed; compact_seconds: how long that took.
        derived: its series, in the archive.
        failure: why it ended early; counts: whether that says something of the job; of_program: whether it looks like
            a fault of the program; unreadable: the same where the bucket does not give out some sources.
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
    unreadable: ObjectUnreadable | None = None
    too_large: TooLarge | None = None
    higher: HigherLevel | None = None
    seconds: float = 0.0


def serve(connection: Connection, state: tuple[Compactor, Deriver | None]) -> None:
    """Answers tasks until the parent goes away."""
    # Ctrl-C reaches every process of a terminal: the parent decides what becomes of jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    import pyarrow as pa

    # Every core has a process already. Polars looks once, when it is first imported.
    pa.set_cpu_count(1)
    os.putenv("POLARS_MAX_THREADS", "1")
    compactor, deriver = state
    try:
        while True:
            task: Task = connection.recv()
            connection.send(compute(task, compactor, deriver))
    except (EOFError, OSError):
        return


def compute(task: Task, compactor: Compactor, deriver: Deriver | None) -> Answer:
    """Does the computing of one job; failures are part of the answer, together with what was done before them."""
    answer, begun = Answer(), time.perf_counter()
    try:
        _compute(task, compactor, deriver, answer)
    # Whatever a job does must not stop the others; the parent records it.
    except Exception as error:  # noqa: BLE001
        answer.failure = failure_of(error)
        answer.counts = counts(error)
        answer.of_program = is_of_program(error)
        answer.unreadable = error if isinstance(error, ObjectUnreadable) else None
        answer.too_large = error if isinstance(error, TooLarge) else None
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


def _compute(task: Task, compactor: Compactor, deriver: Deriver | None, answer: Answer) -> None:
    job = task.job
    columns: BlockColumns | None = None
    if not job.committed:
        begun = time.perf_counter()
        # The parent renews the lease while this process works.
        compacted = compactor.compact(job, lambda: None)
        if isinstance(compacted, HigherLevel):
            answer.higher = compacted
            return
        answer.compact_seconds = time.perf_counter() - begun
        answer.record, columns = compacted.record, compacted.columns
        done = compacted.record
        job = replace(job, committed=True, outputs=done.outputs, instance=done.instance)
    if task.kinds and deriver is not None:
        answer.derived = deriver.derive(job, columns, task.kinds, lambda: None, task.config)
