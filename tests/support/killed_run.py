"""A program that does the golden jobs of a folder, sends them, and is killed (SIGKILL) after its n-th step.

Steps are what a crash can come between: objects written, transactions of the ledger, requests. What it did before is on
stdout, a line each. `python killed_run.py FOLDER URL KIND N`.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyro_assets.app import App
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.remote_write.transport import Transport
from pyro_assets.jobs.claims import Claims
from pyro_assets.operations import runs, sending
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.local import LocalBucket
from tests.support.exports import GOLDEN, HOUR, opened
from tests.support.killed_export import KINDS

#: A second one, so that a crash in the first leaves work that was not begun.
JOBS = GOLDEN.jobs[:2]


def receiver(url: str, kind: str) -> Receiver:
    """Who gets the samples."""
    return Receiver(name="r", url=url, start=HOUR, **KINDS[kind])


def do_everything(pipeline: App) -> None:
    """All jobs, from their sources to the receiver."""
    for report in runs.run_exact(pipeline, JOBS, run_id="run").values():
        assert not report.run.errors
    done = sending.export(pipeline, [HOUR])["r"]
    assert (done.error, done.refused.total()) == ("", 0)


LEDGER_STEPS = (
    (Claims, "claim_all"),
    (Claims, "commit"),
    (ReceiptRecords, "open_receipts"),
    (ReceiptRecords, "put_receipts"),
)


def main(folder: str, url: str, kind: str, kill_at: str) -> None:
    events = 0
    # Objects are written side by side.
    lock = threading.Lock()

    def watched(function: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal events
            result = function(*args, **kwargs)
            with lock:
                os.write(1, f"{name(*args)}\n".encode())
                if events == int(kill_at):
                    os.kill(os.getpid(), signal.SIGKILL)
                events += 1
            return result

        return call

    for method in ("create", "replace"):
        written = watched(getattr(LocalBucket, method), lambda _bucket, key, *_: f"wrote {key.split('/')[0]}")
        setattr(LocalBucket, method, written)
    for owner, method in LEDGER_STEPS:
        setattr(owner, method, watched(getattr(owner, method), lambda *_, method=method: method))
    Transport.write = watched(Transport.write, lambda *_: "request")  # type: ignore[method-assign]
    with opened(Path(folder), receiver(url, kind)) as pipeline:
        do_everything(pipeline)


if __name__ == "__main__":
    main(*sys.argv[1:])
