"""A program that exports the golden jobs of a folder and is killed (SIGKILL) at its n-th step, before or after it.

Steps are writes of receipts to the ledger and the archive, and requests. `python killed_export.py FOLDER URL N KIND`.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from exports import HOUR, opened

from pyro_assets.export.receivers import Receiver
from pyro_assets.export.transport import Transport
from pyro_assets.ledger.receipts import Receipts
from pyro_assets.pipeline.receipt_files import ReceiptFiles

#: What each kind of receiver declares.
KINDS: dict[str, dict[str, Any]] = {
    "prometheus": {"kind": "prometheus", "out_of_order_window": "3650d"},
    "default": {"kind": "prometheus"},
    "short": {"kind": "prometheus", "out_of_order_window": "1s"},
    "victoriametrics": {"kind": "victoriametrics", "dedup": True, "retention": "10y"},
    "without dedup": {"kind": "victoriametrics", "retention": "10y"},
}


def main(folder: str, url: str, kill_at: int, kind: str) -> None:
    events = 0

    def event() -> None:
        nonlocal events
        if events == kill_at:
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
        (Receipts, "open_receipts"),
        (Receipts, "put_receipts"),
        (ReceiptFiles, "write"),
        (Transport, "write"),
    ):
        setattr(owner, name, watched(getattr(owner, name)))
    receiver = Receiver(name="r", url=f"{url}/api/v1/write", start=HOUR, **KINDS[kind])
    with opened(Path(folder), receiver) as pipeline:
        pipeline.export([HOUR])
    sys.stdout.write(str(events))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
