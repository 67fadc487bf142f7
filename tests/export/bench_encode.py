"""Time of the way from stored series to bodies of requests, on one core: `python tests/export/bench_encode.py`.

Prints samples per second of every step; the goal is 150,000 for encoding and compressing.
"""

import sys
import time
from pathlib import Path

from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.samples import open_series
from pyro_assets.receivers.model import Receiver

sys.path.insert(0, str(Path(__file__).parent.parent))  # as conftest does for tests
from tests.support.remote_write import series_file


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
