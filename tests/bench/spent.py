"""What a piece of work took: wall time, and the CPU time of this process and of those that it started and waited for.

On a machine that others use, wall time says little; CPU time tells what two free cores would make of it.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Spent:
    """Seconds: `wall`, `own` CPU time, and `children`'s."""

    wall: float = 0.0
    own: float = 0.0
    children: float = 0.0

    @property
    def cpu(self) -> float:
        """CPU time of all processes."""
        return self.own + self.children

    def on_free_cores(self, workers: int, cores: int) -> float:
        """Wall time where as many cores are free: nothing is quicker than its busiest process, or than all cores."""
        return max(self.own, self.children / workers, self.cpu / cores)


@contextmanager
def spending() -> Iterator[Spent]:
    """Measures a block; filled in at its end."""
    spent = Spent()
    wall, own, children = time.perf_counter(), time.process_time(), _children()
    try:
        yield spent
    finally:
        spent.wall = time.perf_counter() - wall
        spent.own, spent.children = time.process_time() - own, _children() - children


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
