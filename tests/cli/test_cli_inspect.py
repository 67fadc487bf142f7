"""`inspect` tells what the slow decoder finds in the same object."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import decoder as slow_decoder
from tests.oracle.series import text_labels
from tests.support import golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, run

GOLDEN = golden_bucket.committed()
SEGMENT = GOLDEN.jobs[0][0]
BLOCK = GOLDEN.level1_keys(GOLDEN.jobs[0])[0]


def inspected(key: str, *options: Any) -> dict[str, Any]:
    result = run("inspect", "--json", "--url", GOLDEN.root, key, *options)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("key", [SEGMENT, BLOCK])
def test_it_tells_what_is_there(key: str):
    found, block = inspected(key), slow_decoder.decode_object(GOLDEN.read(key), ascending=False)
    metadata = found["metadata"]
    assert (metadata["id"], metadata["level"], metadata["shard"]) == (block.id.decode(), block.level, block.shard)
    assert (metadata["min_time_ms"], metadata["max_time_ms"]) == (block.min_time_ms, block.max_time_ms)
    assert metadata["tenant"] == block.tenant.decode()
    assert metadata["size_bytes"] == len(GOLDEN.read(key))
    assert [(one["tenant"], one["service"], one["format"]) for one in found["datasets"]] == [
        (dataset.tenant.decode(), dataset.name.decode(), dataset.format) for dataset in block.datasets
    ]
    for one, dataset in zip(found["datasets"], block.datasets, strict=True):
        assert sum(one["sections_bytes"].values()) == one["size_bytes"] == dataset.size
        if dataset.format == 0:
            assert one["profiles"] == len(dataset.profiles)
            assert one["samples"] == sum(len(profile.samples) for profile in dataset.profiles)
            assert one["series"] == len(dataset.series)


def test_series_have_their_totals():
    found, block = inspected(SEGMENT), slow_decoder.decode_object(GOLDEN.read(SEGMENT))
    totals: dict[str, int] = defaultdict(int)
    for dataset in block.datasets:
        for profile in dataset.profiles:
            totals[json.dumps(text_labels(profile.labels))] += profile.total_value
    assert {json.dumps(one["labels"]): one["total"] for one in found["series"]} == totals


def test_functions_are_ranked_by_total_and_self():
    kind = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
    found, block = (
        inspected(BLOCK, "--type", kind, "--top", 5),
        slow_decoder.decode_object(GOLDEN.read(BLOCK), ascending=False),
    )
    assert {one["labels"]["__profile_type__"] for one in found["series"]} == {kind}
    group = found["functions"][0]
    total: dict[str, int] = defaultdict(int)
    own: dict[str, int] = defaultdict(int)
    for dataset in block.datasets:
        if dataset.name.decode() != group["service"]:
            continue
        for profile in dataset.profiles:
            if dict(profile.labels)[b"__profile_type__"].decode() != kind:
                continue
            for sample in profile.samples:
                for name in sample.stack.function_names:
                    total[name.decode()] += sample.value
                if sample.stack.frame is not None and sample.stack.frame.lines:
                    own[(sample.stack.frame.lines[0].name or b"").decode()] += sample.value
    assert [one["total"] for one in group["by_total"]] == sorted(total.values(), reverse=True)[:5]
    assert [one["self"] for one in group["by_self"]] == sorted(own.values(), reverse=True)[:5]
    assert all(total[one["function"]] == one["total"] for one in group["by_total"])
    assert all(own[one["function"]] == one["self"] for one in group["by_self"])


def test_people_get_tables():
    result = run("inspect", "--url", GOLDEN.root, SEGMENT, "--top", 2)
    assert result.exit_code == 0
    for words in (SEGMENT.split("/")[3], "level 0", "(dataset index)", "profile type", "by total", "by self"):
        assert words in result.stdout


def test_a_local_file(tmp_path: Path):
    (tmp_path / "block.bin").write_bytes(GOLDEN.read(SEGMENT))
    assert run("inspect", tmp_path / "block.bin").exit_code == 0


def test_what_is_broken_or_missing_fails_with_a_sentence(tmp_path: Path):
    (tmp_path / "broken.bin").write_bytes(GOLDEN.read(SEGMENT)[:-3])
    fails(run("inspect", tmp_path / "broken.bin"), "broken.bin")
    fails(run("inspect", "--url", GOLDEN.root, "segments/1/anonymous/none/block.bin"), "neither a file nor a key")
    is_wrong_usage(run("inspect"))
    is_wrong_usage(run("inspect", SEGMENT, "--top", 0))


def test_blocks_without_footer(shared_data: Path):
    folder = shared_data / "segments-2024"
    block = min(folder.glob("*/block.bin"))
    result = run("inspect", "--metas", folder / "metas.json", block, "--json")
    assert json.loads(result.stdout)["datasets"][0]["tenant"] == "anonymous"
