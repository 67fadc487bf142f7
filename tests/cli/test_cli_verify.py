"""`verify` passes what is whole, names what is not, and goes on with the rest."""

import json
from pathlib import Path

import golden_bucket
import pytest
from cli_runner import fails, is_wrong_usage, run

GOLDEN = golden_bucket.committed()
KEYS = GOLDEN.jobs[0][:3]


def test_whole_objects_pass(tmp_path: Path):
    result = run("verify", "--url", GOLDEN.root, *KEYS)
    assert result.exit_code == 0
    assert [line.split()[:2] for line in result.stdout.splitlines()] == [["ok", key] for key in KEYS]


def test_keys_are_looked_for_in_source_and_archive(tmp_path: Path):
    env = {"PYRO_ASSETS_SOURCE_URL": str(tmp_path / "nothing"), "PYRO_ASSETS_ARCHIVE_URL": str(GOLDEN.root)}
    assert run("verify", KEYS[0], env=env).exit_code == 0


def test_a_broken_object_fails_and_the_others_are_checked(tmp_path: Path):
    data = bytearray(GOLDEN.read(KEYS[0]))
    data[-20] ^= 1
    broken = tmp_path / "block.bin"
    broken.write_bytes(data)
    (tmp_path / "empty.bin").write_bytes(b"")
    result = run("verify", "--url", GOLDEN.root, KEYS[0], broken, tmp_path / "empty.bin", KEYS[1])
    fails(result, "2 of 4 objects failed")
    assert result.stdout.count("ok  ") == 2
    assert f"{broken}: " in result.stderr


def test_json_is_a_line_per_object(tmp_path: Path):
    (tmp_path / "cut.bin").write_bytes(GOLDEN.read(KEYS[0])[:-1])
    result = run("verify", "--json", "--url", GOLDEN.root, KEYS[0], tmp_path / "cut.bin")
    good, bad = map(json.loads, result.stdout.splitlines())
    assert (good["ok"], good["level"], good["profiles"] > 0, good["dataset_indices"]) == (True, 0, True, 1)
    assert bad["ok"] is False
    assert bad["error"] in ("ChecksumMismatch", "Truncated", "BadLength", "BadMetadata")


def test_a_broken_dataset_index_is_found(tmp_path: Path):
    data = bytearray(GOLDEN.read(KEYS[0]))
    import slow_decoder

    index = next(dataset for dataset in slow_decoder.decode_object(bytes(data)).datasets if dataset.format == 1)
    data[index.toc[0] + index.size // 2] ^= 1
    (tmp_path / "x.bin").write_bytes(data)
    fails(run("verify", tmp_path / "x.bin"), "1 of 1 objects failed")


def test_a_key_that_is_nowhere(tmp_path: Path):
    env = {"PYRO_ASSETS_SOURCE_URL": str(tmp_path / "a"), "PYRO_ASSETS_ARCHIVE_URL": str(tmp_path / "b")}
    result = run("verify", "segments/1/anonymous/x/block.bin", env=env)
    fails(result, "1 of 1 objects failed")
    assert "neither a file nor a key" in result.stderr


def test_without_keys_it_is_wrong_usage():
    is_wrong_usage(run("verify"), "Missing argument")


@pytest.mark.parametrize("content", ["{", "{}", '[{"id": 5}]', '[{"no_such_field": 1}]'])
def test_metadata_from_outside_must_be_metadata(tmp_path: Path, content: str):
    (tmp_path / "metas.json").write_text(content)
    fails(run("verify", "--metas", tmp_path / "metas.json", tmp_path / "x.bin"))


def test_blocks_without_footer(shared_data: Path):
    folder = shared_data / "segments-2024"
    blocks = sorted(folder.glob("*/block.bin"))
    result = run("verify", "--metas", folder / "metas.json", *blocks)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 10
    fails(run("verify", blocks[0]), "1 of 1")
