"""A process that reads mutants until it is done, under a limit of memory: one line of JSON about each failure.

`python fuzz_worker.py SEED FIRST COUNT LIMIT_MIB` reads COUNT mutants of the objects in its standard input (a JSON
list of paths), compacts what can still be read, and ends with a summary; `python fuzz_worker.py read LIMIT_MIB` reads
each of the objects once and tells the outcomes. It is a process of its own so that a crash, an endless loop or a
memory bomb is one failed test and not the end of all.
"""

import json
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import mutations

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_segment
from pyro_assets.compaction.compact import merge
from pyro_assets.errors import BlockError

#: No mutant of a few dozen KiB may take longer (good ones take 10 ms).
LONGEST_SECONDS = 5


class TooSlow(BaseException):
    """A mutant took longer than LONGEST_SECONDS."""


def _alarm(*_: object) -> None:
    raise TooSlow


def peak_mib() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def run(seed: int, first: int, count: int, paths: list[str]) -> dict[str, Any]:
    """Read the mutants number `first` and following of a seed; what came of them."""
    originals = [(path, Path(path).read_bytes()) for path in paths]
    layouts = {}
    for path, data in originals:
        datasets = mutations.metadata_of(data)["datasets"]
        layouts[path] = [mutations.layout(data, i) for i, one in enumerate(datasets) if one["format"] == 0]
        read_blocks([RawObject(path, data)], isolate=False)  # warms up, and shows that the original is good
    outcomes: Counter[str] = Counter()
    failures = []
    base, slowest = peak_mib(), 0.0
    signal.signal(signal.SIGALRM, _alarm)
    for number in range(first, first + count):
        rng = random.Random(f"{seed}/{number}")
        path, data = rng.choice(originals)
        kind, mutant = mutations.random_mutation(data, rng, layouts[path])
        print(json.dumps({"at": number, "kind": kind}), flush=True)
        before, started = peak_mib(), time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, LONGEST_SECONDS)
        try:
            outcomes[_read(path, mutant)] += 1
        except BlockError as error:
            outcomes[type(error).__name__] += 1
        # Whatever else comes out is what this test looks for.
        except (Exception, TooSlow) as error:  # noqa: BLE001
            name = type(error).__name__
            failures.append({"number": number, "kind": kind, "path": path, "error": f"{name}: {error}"})
            failures[-1]["trace"] = "".join(traceback.format_tb(error.__traceback__)[-3:])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        slowest = max(slowest, time.monotonic() - started)
        grown = peak_mib() - before
        if grown > 150:
            failures.append({"number": number, "kind": kind, "path": path, "error": f"{grown} MiB more memory"})
    return {
        "outcomes": dict(outcomes),
        "failures": failures,
        "grown_mib": peak_mib() - base,
        "slowest_seconds": round(slowest, 3),
    }


def _read(path: str, mutant: bytes) -> str:
    columns = read_blocks([RawObject(path, mutant)], isolate=False).columns
    # What the reader lets through must not break what comes after it.
    merged, _, _ = merge(columns, "exact")
    write_segment(merged, BlockIdentity("01M891VPM4XX31MPMZXPGM0RMZ", 1, 1))
    return "read"


def read_each(paths: list[str]) -> None:
    """Print one outcome for every object."""
    for path in paths:
        try:
            outcome = _read(path, Path(path).read_bytes())
        except BlockError as error:
            outcome = type(error).__name__
        print(json.dumps({"path": path, "outcome": outcome}), flush=True)


def main(arguments: list[str]) -> None:
    """What the module's docstring says."""
    limit = int(arguments[-1]) << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    paths = json.load(sys.stdin)
    if arguments[0] == "read":
        read_each(paths)
    else:
        seed, first, count = map(int, arguments[:3])
        print(json.dumps(run(seed, first, count, paths)))


if __name__ == "__main__":
    main(sys.argv[1:])
