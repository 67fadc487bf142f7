"""`python -m tests.simulate`: a million segments in 64 shards and three days through planner, ledger and sensor.

Prints figures as JSON, and into a file if one is named; the status is 1 when a target was missed. The ledger is a
SQLite file of its own, or any database that is named, or a Postgres that is started for it. Not part of the tests.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SEGMENTS, SHARDS, HOURS = 1_000_000, 64, 72
TESTS = Path(__file__).parent.parent


@contextmanager
def ledger_url(wanted: str) -> Iterator[tuple[str, Callable[[], float | None]]]:
    """The URL of an empty ledger that is gone afterwards, and what its server used of the CPU, None if nobody knows.

    A ledger that was named stays.
    """
    if wanted not in ("sqlite", "postgres"):
        yield wanted, lambda: None if "://" in wanted else 0.0
        return
    folder = Path(tempfile.mkdtemp(prefix="simulate-"))
    try:
        if wanted == "sqlite":
            yield str(folder / "ledger.db"), lambda: 0.0
            return
        sys.path.insert(0, str(TESTS))
        from tests.support.postgres_server import newest_programs, running

        programs = newest_programs()
        if programs is None:
            sys.exit("no Postgres is installed; Debian's package is called postgresql")
        with running(programs, folder) as server:
            yield server.new_database(), server.cpu_seconds
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Simulate what was asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulate", description="Planner, ledger and sensor at scale."
    )
    parser.add_argument("--segments", type=int, default=SEGMENTS)
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--hours", type=int, default=HOURS)
    parser.add_argument("--ledger", default="sqlite", help="sqlite, postgres, or the URL of an empty database")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()

    from tests.simulate.figures import figures_of, missed
    from tests.simulate.simulation import Simulation
    from tests.simulate.stream import Stream

    with ledger_url(options.ledger) as (url, server_cpu_seconds):
        simulation = Simulation(Stream(options.segments, options.shards, options.hours), url)
        started, cpu_started = time.perf_counter(), time.process_time()
        simulation.run()
        spent = time.perf_counter() - started, time.process_time() - cpu_started
        figures = figures_of(simulation, *spent, server_cpu_seconds())
    figures["missed"] = missed(figures)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json is not None:
        options.json.write_text(text + "\n")
    sys.exit(1 if figures["missed"] else 0)


if __name__ == "__main__":
    main()
