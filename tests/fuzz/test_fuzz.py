"""Mutants of real and made-up objects end in our own errors, or are read; within memory and time."""

import json
import subprocess
import sys
from pathlib import Path

import golden_bucket
import pytest
import strategies

WORKER = Path(__file__).parent.parent / "fuzz_worker.py"
#: Address space of the worker. Its libraries alone map about 1.5 GiB; what mutants may add is bounded apart.
LIMIT_MIB = 4096


def corpus(folder: Path) -> list[str]:
    """Small real segments of every shard, and one object with everything that those lack."""
    bucket = golden_bucket.committed()
    keys = [key for job in bucket.jobs for key in sorted(job, key=lambda key: len(bucket.read(key)))[:3]]
    rich = folder / "rich.bin"
    rich.write_bytes(strategies.raw_object(strategies.rich_object()).data)
    return [str(bucket.root / key) for key in keys] + [str(rich)] * 3


def fuzz(seed: int, count: int, paths: list[str], timeout: float) -> dict:
    done = subprocess.run(
        [sys.executable, str(WORKER), str(seed), "0", str(count), str(LIMIT_MIB)],
        input=json.dumps(paths),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"died at {lines[-1:]} with status {done.returncode}: {done.stderr[-2000:]}"
    result = json.loads(lines[-1])
    assert result["failures"] == []
    assert result["grown_mib"] < 250
    assert sum(result["outcomes"].values()) == count
    return result


def test_a_few_hundred_mutants_end_in_our_errors(tmp_path):
    result = fuzz(seed=4, count=400, paths=corpus(tmp_path), timeout=60)
    # The run is worth something only if it got past the first checksum, and if some mutants are harmless.
    assert len(result["outcomes"]) >= 6
    assert result["outcomes"]["read"] > 20


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_mutants_end_in_our_errors(seed, tmp_path):
    fuzz(seed=seed, count=4000, paths=corpus(tmp_path), timeout=1200)
