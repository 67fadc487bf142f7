"""Taking turns: questions that read the archive wait for each other; who would wait too long shall come again.

How many run at once, and how many wait for how long, is the site's to say; add nothing here that knows a page.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException


class Turns:
    """So many at once, and so many who wait; safe to be asked by several threads.

    Args:
        at_once: questions that are answered at the same time.
        waiting: further ones that wait; each holds a thread, of which pages and calls of other kinds need some.
        wait_seconds: how long they wait.
    """

    def __init__(self, at_once: int, waiting: int, wait_seconds: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._places = threading.BoundedSemaphore(at_once + waiting)
        self._wait_seconds = wait_seconds

    @contextmanager
    def take(self) -> Iterator[None]:
        """One turn, from when it is free to the end of the block.

        Raises:
            HTTPException: 503 with Retry-After: too many wait already, or none became free in time.
        """
        if not self._places.acquire(blocking=False):
            raise self._refusal()
        try:
            if not self._free.acquire(timeout=self._wait_seconds):
                raise self._refusal()
            try:
                yield
            finally:
                self._free.release()
        finally:
            self._places.release()

    def _refusal(self) -> HTTPException:
        seconds = max(int(self._wait_seconds), 1)
        why = f"others read the archive at the moment; try again in {seconds} s, or choose fewer hours"
        return HTTPException(503, why, {"Retry-After": str(seconds)})
