"""Mutants of real and made-up objects end in our own errors, or are read; within memory and time."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_assets.compaction.compact import compact
from tests.support import golden_bucket, mutations, strategies

WORKER = Path(__file__).parents[1] / "support" / "fuzz_worker.py"
#: Address space of the worker. Its libraries alone map about 1.5 GiB; what mutants may add is bounded apart.
LIMIT_MIB = 4096


def corpus(folder: Path) -> list[str]:
    """Small real segments of every shard, and one object with everything that those lack."""
    bucket = golden_bucket.committed()
    keys = [key for job in bucket.jobs for key in sorted(job, key=lambda key: len(bucket.read(key)))[:3]]
    rich = strategies.raw_object(strategies.rich_object())
    (folder / "rich.bin").write_bytes(rich.data)
    # What we write ourselves: other pages, dictionaries.
    (folder / "block.bin").write_bytes(compact([rich]).blocks[0].data)
    return [str(bucket.root / key) for key in keys] + [str(folder / "rich.bin")] * 3 + [str(folder / "block.bin")]


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


def test_some_mutants_end_in_our_errors(tmp_path):
    result = fuzz(seed=4, count=200, paths=corpus(tmp_path), timeout=60)
    # The run is worth something only if it got past the first checksum, and if some mutants are harmless.
    assert len(result["outcomes"]) >= 6
    assert result["outcomes"]["read"] > 10


def read_in_another_process(mutants: dict[str, bytes], folder: Path) -> dict[str, str]:
    """Name of each mutant -> what reading it came to; "died" for the one that ended the process."""
    outcomes: dict[str, str] = {}
    paths = {}
    for number, (name, data) in enumerate(mutants.items()):
        paths[str(folder / f"{number}.bin")] = name
        (folder / f"{number}.bin").write_bytes(data)
    left = list(paths)
    while left:
        command = [sys.executable, str(WORKER), "read", str(LIMIT_MIB)]
        done = subprocess.run(command, input=json.dumps(left), capture_output=True, text=True, timeout=600, check=False)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        outcomes |= {paths[line["path"]]: line["outcome"] for line in lines}
        if done.returncode == 0:
            break
        outcomes[paths[left[len(lines)]]] = f"died: {done.stderr.strip()[-200:]}"
        left = left[len(lines) + 1 :]
    return outcomes


def parquet_mutants(values: tuple[int, ...]) -> dict[str, bytes]:
    """Every number of the Parquet footer of one real segment, set to each of the values."""
    bucket = golden_bucket.committed()
    data = bucket.read(min(bucket.jobs[0], key=lambda key: len(bucket.read(key))))
    found = mutations.layout(data)
    names = [name for name in found.fields if name.startswith("parquet.") and found.fields[name][1] == 1]
    assert len(names) > 80
    return {
        f"{name}={value}": mutations.patched(data, found, {name: value}, refix=False)
        for name in names
        for value in values
    }


def test_parquet_footers_that_contradict_their_schema_do_not_end_the_process(tmp_path):
    outcomes = read_in_another_process(parquet_mutants((0x06, 0x7E)), tmp_path)
    assert {name: outcome for name, outcome in outcomes.items() if outcome.startswith("died")} == {}


def test_a_corpus_of_mutants_with_right_checksums_comes_to_what_it_came_to(tmp_path):
    """One mutant for each check behind the checksums that deep fuzzing has reached, and some that are read."""
    bucket = golden_bucket.committed()
    mutants, expected = {}, {}
    for number, seed in enumerate(json.loads((Path(__file__).parent / "seeds.json").read_text("utf-8"))):
        data = bucket.read(seed["object"])
        for start, end, content in reversed(seed["patches"]):
            data = data[:start] + bytes.fromhex(content) + data[end:]
        name = f"{number}: {seed['change']}"
        mutants[name], expected[name] = data, seed["outcome"]
    assert len(set(expected.values())) >= 9
    assert read_in_another_process(mutants, tmp_path) == expected


@pytest.mark.nightly
def test_no_number_of_a_parquet_footer_ends_the_process(tmp_path):
    outcomes = read_in_another_process(parquet_mutants(tuple(range(0, 256, 5))), tmp_path)
    assert {name: outcome for name, outcome in outcomes.items() if outcome.startswith("died")} == {}


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 120))
def test_many_mutants_end_in_our_errors(seed, tmp_path):
    fuzz(seed=seed, count=4000, paths=corpus(tmp_path), timeout=1200)
