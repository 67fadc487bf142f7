"""A program that exports the golden jobs of a folder and is killed (SIGKILL) at its n-th step, before or after it.

Steps are writes of receipts to the ledger and the archive, and requests. `python killed_export.py FOLDER URL N KIND`.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyro_assets.export.receipt import ReceiptFiles
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.remote_write.transport import Transport
from pyro_assets.operations import sending
from pyro_assets.receivers.model import Receiver
from tests.support.exports import HOUR, opened

#: What each kind of receiver declares.
KINDS: dict[str, dict[str, Any]] = {
    "prometheus": {"kind": "prometheus", "out_of_order_window": "3650d"},
    "default": {"kind": "prometheus"},
    "short": {"kind": "prometheus", "out_of_order_window": "1s"},
    "victoriametrics": {"kind": "victoriametrics", "dedup": True, "retention": "10y"},
    "without dedup": {"kind": "victoriametrics", "retention": "10y"},
}


def main(folder: str, url: str, kill_at: str, kind: str) -> None:
    events = 0

    def event() -> None:
        nonlocal events
        if events == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        events += 1

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            event()
            result = function(*args, **kwargs)
            event()
            return result

        return call

    for owner, name in (
        (ReceiptRecords, "open_receipts"),
        (ReceiptRecords, "put_receipts"),
        (ReceiptFiles, "write"),
        (Transport, "write"),
    ):
        setattr(owner, name, watched(getattr(owner, name)))
    receiver = Receiver(name="r", url=f"{url}/api/v1/write", start=HOUR, **KINDS[kind])
    with opened(Path(folder), receiver) as pipeline:
        sending.export(pipeline, [HOUR])
    sys.stdout.write(str(events))


if __name__ == "__main__":
    main(*sys.argv[1:])
