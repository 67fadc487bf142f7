"""A process that reads mutants until it is done, under a limit of memory: one line of JSON about each failure.

`python fuzz_worker.py SEED FIRST COUNT LIMIT_MIB` reads COUNT mutants of the objects in its standard input (a JSON
list of paths), compacts what can still be read, and ends with a summary; `python fuzz_worker.py read LIMIT_MIB` reads
each of the objects once and tells the outcomes. It is a process of its own so that a crash, an endless loop or a
memory bomb is one failed test and not the end of all.
"""

import faulthandler
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

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_segment
from pyro_assets.compaction.compact import merge
from pyro_assets.errors import BlockError
from tests.oracle import decoder as slow_decoder
from tests.oracle.values import Fact
from tests.support import column_facts, mutations

#: No mutant of a few dozen KiB may take longer on the processor (good ones take 10 ms).
LONGEST_SECONDS = 5
#: Each so manieth mutant is read together with neighbours and compared with the slow decoder.
EVERY = 3


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
    neighbours = Neighbours(originals[0], originals[1])
    base, slowest = peak_mib(), 0.0
    signal.signal(signal.SIGPROF, _alarm)
    for number in range(first, first + count):
        rng = random.Random(f"{seed}/{number}")
        path, data = rng.choice(originals)
        kind, mutant = mutations.random_mutation(data, rng, layouts[path])
        print(json.dumps({"at": number, "kind": kind}), flush=True)
        before, started = peak_mib(), time.process_time()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_SECONDS)
        # For what does not come back to the interpreter, which the alarm waits for.
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            outcome = _outcome(path, mutant)
            outcomes[outcome] += 1
            if number % EVERY == 0:
                neighbours.check(path, mutant, outcome)
        # Whatever else comes out is what this test looks for.
        except (Exception, TooSlow) as error:  # noqa: BLE001
            name = type(error).__name__
            failures.append({"number": number, "kind": kind, "path": path, "error": f"{name}: {error}"})
            failures[-1]["trace"] = "".join(traceback.format_tb(error.__traceback__)[-3:])
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
        slowest = max(slowest, time.process_time() - started)
        grown = peak_mib() - before
        if grown > 150:
            failures.append({"number": number, "kind": kind, "path": path, "error": f"{grown} MiB more memory"})
    return {
        "outcomes": dict(outcomes),
        "failures": failures,
        "grown_mib": peak_mib() - base,
        "slowest_seconds": round(slowest, 3),
    }


def _outcome(path: str, mutant: bytes) -> str:
    """ "read", or the name of the error."""
    try:
        columns = read_blocks([RawObject(path, mutant)], isolate=False).columns
        # What the reader lets through must not break what comes after it.
        merged = merge(columns, "exact").columns
        write_segment(merged, BlockIdentity("01M891VPM4XX31MPMZXPGM0RMZ", 1, 1))
    except BlockError as error:
        return type(error).__name__
    return "read"


class Neighbours:
    """Two good objects that are read together with mutants and must come out as if they were alone."""

    def __init__(self, *good: tuple[str, bytes]) -> None:
        self.good = [RawObject(path, data) for path, data in good]
        self.expected = [Counter(slow_decoder.decode_object(data).facts()) for _, data in good]

    def check(self, path: str, mutant: bytes, outcome: str) -> None:
        """Read a mutant between the two; fails if they change, or if it is not what the slow decoder finds."""
        result = read_blocks([self.good[0], RawObject(path, mutant), self.good[1]])
        facts: list[Counter[Fact]] = [Counter(), Counter(), Counter()]
        named = column_facts.datasets_of(result.columns)
        for info, dataset in zip(result.columns.datasets, named, strict=True):
            facts[info.source].update(column_facts.facts_of_dataset(dataset))
        if (facts[0], facts[2]) != tuple(self.expected):
            raise AssertionError("a neighbour of the mutant changed")
        reasons = [type(error).__name__ for position, error in result.set_aside if position == 1]
        if len(result.set_aside) != len(reasons) or (outcome == "read" and reasons):
            raise AssertionError(f"set aside: {result.set_aside}, alone: {outcome}")
        if not reasons:
            try:
                slow = slow_decoder.decode_object(mutant, ascending=False)
            # It is stricter about what does not matter, and reads by plain Python, which has its own errors.
            except Exception:  # noqa: BLE001
                return
            if Counter(slow.facts()) != facts[1]:
                raise AssertionError("the slow decoder finds other facts in the mutant")


def read_each(paths: list[str]) -> None:
    """Print one outcome for every object."""
    for path in paths:
        print(json.dumps({"path": path, "outcome": _outcome(path, Path(path).read_bytes())}), flush=True)


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
