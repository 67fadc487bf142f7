"""`python -m pyro_assets.demo [--seconds N] [--fresh]`: the entry behind `make demo`.

Signals, arguments and the exit status are here; what happens stands in `story`.
"""

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Final

from pyro_assets.demo.layout import DemoFolder
from pyro_assets.demo.processes import Processes
from pyro_assets.demo.screen import Screen
from pyro_assets.demo.story import Story
from pyro_assets.errors import PyroAssetsError

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Ended(BaseException):
    """Somebody wants the demo to end; no ordinary handler may swallow it."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo.

    Returns:
        0: ended by a person, or the series equal the manifest. 1: anything else.
    """
    parser = argparse.ArgumentParser(prog="python -m pyro_assets.demo", description=__doc__)
    parser.add_argument("--seconds", type=float, help="end after this time, and compare everything with the manifest")
    parser.add_argument("--folder", type=Path, default=Path(".demo"), help="default: %(default)s")
    parser.add_argument("--fresh", action="store_true", help="begin anew, without what an earlier demo left")
    options = parser.parse_args(arguments)
    screen, layout = Screen(), DemoFolder(options.folder.resolve())
    for number in _ENDING:
        signal.signal(number, _end)
    if options.fresh and layout.root.is_dir():
        # Before the environment is made: partitions begin with the history of this demo.
        with contextlib.suppress(PyroAssetsError), layout.lock():
            layout.clear()
    processes = Processes(layout.logs, layout.environment(os.environ))
    story = Story(layout, processes, screen)
    try:
        with layout.lock():
            is_equal = story.run(options.seconds)
            story.leave()
            return 0 if is_equal else 1
    except PyroAssetsError as error:
        screen.error(str(error))
        return 1
    except _Ended:
        screen.step("ending everything that was started (once more, and it is ended at once)")
        with contextlib.suppress(_Ended, PyroAssetsError):
            story.leave()
        # With a time given, the demo is a proof, and it was not finished.
        return 0 if options.seconds is None else 1
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)
        processes.stop_all()


def _end(_number: int, _frame: FrameType | None) -> None:
    raise _Ended


if __name__ == "__main__":
    sys.exit(main())
