"""Time of the way from stored series to bodies of requests, on one core: `python tests/export/bench_encode.py`.

Prints samples per second of every step; the goal is 150,000 for encoding and compressing.
"""

import time

import numpy as np
import pyarrow as pa

from pyro_assets.export.batch import prepare
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.samples import open_series
from pyro_assets.series.frame import SCHEMA, to_polars
from pyro_assets.series.store import series_to_parquet


def series_file(count: int, labels: int = 8) -> bytes:
    """A file of `count` series of one job, each with `labels` labels beside the metric's name."""
    rng = np.random.default_rng(7)
    names = [f"label_{position}" for position in range(labels - 2)]
    rows = [
        {
            "tenant": "acme", "metric": f"pyroscope_exported_metrics_type_{number % 9}", "timestamp_ms": 1_795_600_276_100,
            "labels": [
                *({"name": name, "value": f"value-{int(code)}"} for name, code in zip(names, rng.integers(0, 40, labels))),
                {"name": "pod", "value": f"checkout-7d9c5b{number // 9:08x}"}, {"name": "pyroscope_shard", "value": "3"},
            ],
            "value": float(number * 1_000_003), "value_int": number * 1_000_003, "rule": "dimensions", "job": "j",
        }
        for number in range(count)
    ]  # fmt: skip
    return series_to_parquet(to_polars(pa.Table.from_pylist(rows, schema=SCHEMA)))


def bench(count: int = 100_000, repeat: int = 3) -> dict[str, float]:
    """Best samples per second of each step."""
    data = series_file(count)
    receiver = Receiver(name="bench", url="http://localhost/", kind="prometheus")
    best: dict[str, float] = {}
    for _ in range(repeat):
        begin = time.process_time()
        samples = open_series(data)
        read = time.process_time()
        prepared = prepare(samples, receiver, 1_795_600_276_100)
        checked = time.process_time()
        sent = size = requests = 0
        for batch in prepared.batches():
            requests += 1
            sent += len(batch)
            size += len(batch.body())
        encoded = time.process_time()
        assert sent == count
        steps = {"read": read - begin, "dress and check": checked - read, "encode and compress": encoded - checked,
                 "all": encoded - begin}  # fmt: skip
        for step, seconds in steps.items():
            best[step] = max(best.get(step, 0), count / seconds)
    best["bytes per sample"] = size / sent
    best["requests"] = requests
    return best


if __name__ == "__main__":
    for step, rate in bench().items():
        print(f"{step:>20}  {rate:>12,.0f}")
