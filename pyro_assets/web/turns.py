"""Taking turns: questions that read whole blocks wait for each other, and who waits too long is told to come again.

How many run at once, and how long others wait, is the site's to say; add nothing here that knows a page.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.exceptions import HTTPException


class Turns:
    """So many at once; safe to be asked by several threads."""

    def __init__(self, at_once: int, wait_seconds: float) -> None:
        self._free = threading.BoundedSemaphore(at_once)
        self._wait_seconds = wait_seconds

    @contextmanager
    def take(self, refusal: str) -> Iterator[None]:
        """One turn, from when it is free to the end of the block.

        Raises:
            HTTPException: 503 with the refusal: none became free in time.
        """
        if not self._free.acquire(timeout=self._wait_seconds):
            raise HTTPException(503, refusal)
        try:
            yield
        finally:
            self._free.release()
