"""`python -m tests.bench.remote_read`: samples a second and core of remote read, and how memory grows with the span.

An archive of hours is made by hand, one file an hour as closed hours have it. Times are of the process's CPU; what a
Prometheus takes to decode and to evaluate is not in them.
"""

import argparse
import resource
import tempfile
import time

import numpy as np
import pyarrow as pa

from pyro_assets.explore.remote_read.answer import RemoteReader
from pyro_assets.explore.remote_read.rows import View
from pyro_assets.ledger.database import Ledger
from pyro_assets.receivers.model import Receiver
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import HOUR_MS
from tests.support.remote_reads import NAME, Archive, body, query

_END_MS = 1_795_597_200_000
_JOBS, _SERIES, _METRICS = 360, 196, 10


def hour(begin_ms: int, chance: np.random.Generator) -> pa.Table:
    """The series of an hour of one shard: a job every ten seconds with every series, sorted by these."""
    labels = [
        [{"name": f"label_{name}", "value": f"value-{name}-{one % (name + 2)}-{one // _METRICS}"} for name in range(6)]
        for one in range(_SERIES)
    ]
    metrics = [f"metric_{one % _METRICS}" for one in range(_SERIES)]
    text = pa.large_string()
    order = np.lexsort((np.tile(np.arange(_SERIES), _JOBS), np.tile(np.arange(_SERIES) % _METRICS, _JOBS)))
    rows = _JOBS * _SERIES
    return pa.table(
        [
            pa.array(["anonymous"] * rows, text),
            pa.array(metrics * _JOBS, text),
            pa.concat_arrays([pa.array(labels, SCHEMA.field("labels").type)] * _JOBS),
            pa.array(np.repeat(begin_ms + 10_000 * np.arange(_JOBS), _SERIES)),
            pa.array(chance.integers(10**7, 10**10, rows).astype(float)),
            pa.nulls(rows, pa.int64()),
            pa.array(["dimensions"] * rows, text),
            pa.array([""] * rows, text),
        ],
        schema=SCHEMA,
    ).take(order)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        archive = Archive(open_bucket(f"{folder}/archive", writable=True), Ledger.open(f"{folder}/ledger.db"))
        chance = np.random.default_rng(1)
        for back in range(1, arguments.hours + 1):
            archive.add_table(hour(_END_MS - back * HOUR_MS, chance), shared=True)
        reader = RemoteReader(archive.bucket, archive.ledger)
        view = View(Receiver(name="bench", url="http://127.0.0.1/", kind="prometheus"))
        one = (NAME, "=", "metric_3")
        for what, conditions, kind in (("one metric", [one], 1), ("one metric, plain", [one], 0), ("all", [], 1)):
            for hours in (1, arguments.hours):
                asked = body(query(*conditions, span=(_END_MS - hours * HOUR_MS, _END_MS)), accepts=[kind])
                begun = time.process_time()
                answer = reader.answer(asked, view, seconds=3600)
                size = sum(map(len, answer.parts))
                took = time.process_time() - begun
                peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
                print(
                    f"{what:18} {hours:4} h {answer.samples:12,} samples {took:7.2f} s {answer.samples / took:12,.0f} "
                    f"samples a second and core {size / max(answer.samples, 1):5.1f} bytes each, {peak} MiB so far"
                )
        archive.ledger.close()


if __name__ == "__main__":
    main()
