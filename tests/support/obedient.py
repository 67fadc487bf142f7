"""What processes of a pool do in tests: as their tasks say, or nothing, for they do not come up.

Apart from the tests, for each process imports this module: nothing of the project or slow belongs here.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import Any


def obey(_state: Any) -> Callable[[str], str]:
    """A process that does what its tasks say."""
    return _obey


def _obey(task: str) -> str:
    if task == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.startswith("doze"):
        time.sleep(0.9)
    if task == "sleep":
        time.sleep(60)
    if task == "pid":
        return str(os.getpid())
    if task == "eat":
        eaten = bytearray(400 << 20)
        eaten[::4096] = b"x" * len(eaten[::4096])
        time.sleep(60)
    return f"did {task}"


class Endless:
    """Travels to another process and does not arrive."""

    def __reduce__(self) -> Any:
        return time.sleep, (600,)


class Unloadable:
    """Travels to another process and fails there."""

    def __reduce__(self) -> Any:
        return os.getxattr, ("/nowhere", "user.x")
