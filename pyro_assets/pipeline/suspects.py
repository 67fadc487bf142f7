"""Whether a failure that looks like the program's is the program's, or that of one job which brings it about.

A missing module fails every job: no job is to blame, and the run ends. A bug that one job's data leads to fails that
job only: the others go on, and it is tried again later each time. What tells them apart is whether any job was done.
"""

from collections.abc import Callable
from typing import Final

from pyro_assets.errors import ProgramError
from pyro_assets.ledger.records import Job
from pyro_assets.pipeline.work import Attempt, Outcome, Worker

#: So many jobs in a row, with none that was done, and the program is at fault.
_ENOUGH: Final = 3


class Suspects:
    """The jobs of a run whose failures are not judged yet; they are claimed until then.

    Args:
        worker: has claimed them.
        note: told of every attempt that is judged, with its job and its seconds.
    """

    def __init__(self, worker: Worker, note: Callable[[Job, Attempt, float], None]) -> None:
        self._worker, self._note = worker, note
        self._held: list[tuple[Job, Attempt, float]] = []

    def judge(self, job: Job, attempt: Attempt, seconds: float) -> None:
        """Takes an attempt.

        Raises:
            ProgramError: nothing works; no job is touched.
        """
        if attempt.outcome is Outcome.SUSPECT:
            self._held.append((job, attempt, seconds))
        else:
            self._note(job, attempt, seconds)
            self._worker.trust.works = self._worker.trust.works or attempt.outcome is Outcome.DONE
        if self._worker.trust.works:
            for other, failed, spent in self._held:
                self._note(other, self._worker.blame(other, failed), spent)
            self._held = []
        elif len(self._held) >= _ENOUGH:
            self.end()

    def end(self) -> None:
        """Judges what is left when there is no further job.

        Raises:
            ProgramError: nothing works; no job is touched.
        """
        if not self._held:
            return
        held, self._held = self._held, []
        self._worker.give_back(job for job, _, _ in held)
        _, first, _ = held[0]
        raise ProgramError(
            f"{len(held)} of {len(held)} jobs failed in a way that is no fault of theirs; the first: {first.error}. "
            "Something in this installation is missing or does not fit (`pyro-assets doctor` looks at versions); "
            "repair it: no job was touched, and the next run takes them all"
        ) from first.exception
