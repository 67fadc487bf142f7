"""What is worked out of a configuration once and shared by all jobs that have it.

Add nothing here but what concerns remembering; what is worked out belongs to who needs it.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from pyro_assets.series.config import SeriesConfig

T = TypeVar("T")


class Compiler(Generic[T]):
    """Works something out per configuration, and remembers it for the last few. Safe to share between threads.

    Args:
        compile_config: what is worked out.
        size: for so many configurations it is remembered.
    """

    def __init__(self, compile_config: Callable[[SeriesConfig], T], size: int) -> None:
        self._compile, self._size = compile_config, size
        # The hash of a large configuration takes longer than a small job; the same object is recognised without it.
        self._latest: tuple[SeriesConfig, T] | None = None
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, config: SeriesConfig) -> T:
        """What belongs to a configuration; equal ones share it."""
        latest = self._latest
        if latest is not None and latest[0] is config:
            return latest[1]
        key = config.hash
        with self._lock:
            if key not in self._known:
                self._known[key] = self._compile(config)
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            self._latest = (config, self._known[key])
            return self._known[key]

    def known(self) -> list[T]:
        """All that is remembered."""
        with self._lock:
            return list(self._known.values())
