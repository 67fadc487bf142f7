"""`verify` passes what is whole, names what is not, and goes on with the rest."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from tests.support import exports, golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, run

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
    from tests.oracle import decoder as slow_decoder

    index = next(dataset for dataset in slow_decoder.decode_object(bytes(data)).datasets if dataset.format == 1)
    data[index.toc[0] + index.size // 2] ^= 1
    (tmp_path / "x.bin").write_bytes(data)
    fails(run("verify", tmp_path / "x.bin"), "1 of 1 objects failed")


def test_a_key_that_is_nowhere(tmp_path: Path):
    env = {"PYRO_ASSETS_SOURCE_URL": str(tmp_path / "a"), "PYRO_ASSETS_ARCHIVE_URL": str(tmp_path / "b")}
    result = run("verify", "segments/1/anonymous/x/block.bin", env=env)
    fails(result, "1 of 1 objects failed")
    assert "neither a file nor a key" in result.stderr


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


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """The archive of the golden jobs, an hour after they are over."""
    with exports.opened(tmp_path) as pipeline:
        exports.derive(pipeline)
    return tmp_path / "archive"


def verify_archive(archive: Path, *options: object) -> Result:
    places = ("--archive-url", archive, "--ledger-url", archive.parent / "ledger.db", "--source-url", GOLDEN.root)
    return run("verify", "--archive", *places, *options, "--config", archive.parent / "rules.json")


def test_the_whole_archive_is_compared_and_put_back(archive: Path):
    (archive.parent / "rules.json").write_text(json.dumps({"recording_rules": GOLDEN.rules}))
    assert "0 damaged" in verify_archive(archive).stdout
    series, block = min(archive.rglob("*.parquet")), min(archive.rglob("block.bin"))
    good = {path: path.read_bytes() for path in (series, block)}
    series.write_bytes(good[series][:-1])
    block.unlink()
    result = verify_archive(archive)
    fails(result, "2 objects of the archive are damaged or missing", "--repair")
    assert "not asked for" in result.stdout
    found = json.loads(verify_archive(archive, "--json").stdout)
    assert {one["kind"] for one in found["damaged"]} == {"series", "block"}
    assert found["repaired"] == []
    assert json.loads(verify_archive(archive, "--json", "--from", "2026-11-26").stdout)["hours"] == []
    result = verify_archive(archive, "--repair")
    assert result.exit_code == 0, result.output
    assert [line.rstrip().endswith("yes") for line in result.stdout.splitlines()[2:4]] == [True, True]
    assert good == {path: path.read_bytes() for path in good}
    assert verify_archive(archive).exit_code == 0


def test_what_cannot_be_put_back_stays_and_is_told(archive: Path):
    min(archive.rglob("block.bin")).unlink()
    (archive.parent / "rules.json").write_text("{}")
    (archive.parent / "empty" / "segments").mkdir(parents=True)
    result = verify_archive(archive, "--repair", "--source-url", archive.parent / "empty")
    fails(result, "1 objects", "copy of the archive")
    assert "are gone" in result.stdout


def test_objects_and_the_archive_are_not_asked_for_at_once():
    for arguments in ((), ("--archive", "x"), ("x", "--repair"), ("x", "--from", "2026-11-25")):
        is_wrong_usage(run("verify", *arguments))
