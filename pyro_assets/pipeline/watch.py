"""The time limit of jobs that a run computes itself: it holds whatever the interpreter is stuck in.

A timer of C ends the process together with its job; nothing of the process can tell then, so a small second one, one
for all jobs, has been told before which job that was, notes it in the ledger and says it. The next attempt computes the
job in a process that may die, see `running`. Add what must be known of a run that was ended here.
"""

import atexit
import contextlib
import faulthandler
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any, Final

from pyro_assets.errors import PyroAssetsError
from pyro_assets.ledger.claims import Retry
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import Failure, Job

_STDERR: Final = 2
#: It finds this module wherever this process has found it.
_PROGRAM: Final = "import sys; sys.path[:] = sys.argv[1:]; from pyro_assets.pipeline.watch import main; main()"
#: Starting the second process anew, and telling it of jobs, is one thread's at a time.
_LOCK: Final = threading.Lock()
_teller: subprocess.Popen[bytes] | None = None


@contextlib.contextmanager
def limited(ledger: Ledger, job: Job, seconds: float, retry: Retry) -> Iterator[None]:
    """Ends this process, with status 1 and its stacks on stderr, if the block takes longer; 0 seconds: no limit.

    Not for blocks that are inside of each other, or in several threads: the process has one such timer, and the last
    one that was set counts.

    Args:
        ledger: has the job.
        job: as this process claimed it.
        seconds: wall time.
        retry: when the job is tried again.
    """
    if not seconds:
        yield
        return
    where = f"job {job.id} of {job.hour}, shard {job.shard}"
    note = {"where": where, "seconds": seconds, "begun": time.monotonic(), "ledger": ledger.url, "retry": asdict(retry)}
    _tell(note | {"job": job.id, "fence": job.fence, "run_id": job.run_id})
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _tell(None)


def _tell(note: dict[str, Any] | None) -> None:
    """Tells the second process what this one is at; the limit holds without it, too."""
    # One for all runs of a process: each start would be lag.
    global _teller
    with _LOCK, contextlib.suppress(OSError):
        if _teller is None:
            _teller = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _PROGRAM, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                # Ctrl-C and a supervisor's signals are for those who work: it ends when its pipe does.
                start_new_session=True,
            )
            atexit.register(_teller.__exit__, None, None, None)
        assert _teller.stdin is not None  # noqa: S101 - made with a pipe
        _teller.stdin.write(json.dumps(note).encode() + b"\n")


def _tell_the_end(note: dict[str, Any]) -> None:
    """Says that a job took its run with it, and notes it in the ledger."""
    run_id, limit = note["run_id"], f"it took more than {note['seconds']:g} s"
    sys.stderr.write(
        f"Error: {note['where']}: {limit} (PYRO_ASSETS_JOB_SECONDS), so the run {run_id} was ended; its stacks stand "
        "above. What it had done is committed. The next run does all other jobs, then this one in a process of its own "
        "that finds which source is to blame; `pyro-assets quarantine list --all` shows what came of it\n"
    )
    try:
        ledger = Ledger.open(note["ledger"])
        try:
            job, _ = ledger.look_up(note["job"])
            failure = Failure("LimitExceeded", f"{limit}, and the run {run_id} was ended with it")
            held = replace(job, fence=note["fence"], run_id=run_id)
            ledger.fail(held, failure, time.time_ns() // 1_000_000, Retry(**note["retry"]))
        finally:
            ledger.close()
    except PyroAssetsError as error:
        sys.stderr.write(f"The ledger does not know of it, beyond that the job was begun: {error}\n")


def main() -> None:
    """What the second process does: listens until the first one is gone, and tells if its last job took too long."""
    note = None
    for line in sys.stdin.buffer:
        note = json.loads(line)
    if note is not None and time.monotonic() - note["begun"] >= note["seconds"]:
        _tell_the_end(note)
