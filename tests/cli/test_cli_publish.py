"""`publish` makes the copy that a Pyroscope server imports, of real blocks."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_assets.block.metadata import parse_metadata
from pyro_assets.errors import Where
from tests.support import golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, run

GOLDEN = golden_bucket.committed()
SPAN = ["--from-hour", "2020-01-01", "--to-hour", "2040-01-01"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    options = ["--archive-url", folder / "archive", "--ledger-url", folder / "ledger.db"]
    assert run("run", "--source-url", GOLDEN.root, *options).exit_code == 0
    return folder / "archive"


def test_blocks_and_metadata_with_size(archive: Path, tmp_path: Path):
    options = ["--archive-url", archive, "--to", tmp_path / "copy", *SPAN]
    assert "would be copied" in run("publish", *options, "--dry-run").stdout
    assert not (tmp_path / "copy" / "blocks").exists()
    report = json.loads(run("publish", *options, "--json").stdout)
    blocks = sorted(path.relative_to(archive) for path in archive.glob("blocks/*/*/*/block.bin"))
    assert report["blocks"] == len(blocks) > 0
    for block in blocks:
        data = (tmp_path / "copy" / block).read_bytes()
        assert data == (archive / block).read_bytes()
        offer = tmp_path / "copy" / "dlq" / block.relative_to("blocks").with_name("meta.pb")
        meta = parse_metadata(offer.read_bytes(), Where(str(offer), "metadata"))
        assert (meta.size, meta.id, str(meta.shard)) == (len(data), block.parts[3], block.parts[1])
        # All else is the message that the block itself carries.
        assert replace(meta, size=0) == parse_metadata(data[meta.metadata_offset : -8], Where(str(block), "metadata"))
    assert len(list((tmp_path / "copy").glob("dlq/*/*/*/meta.pb"))) == len(blocks)


def test_what_a_server_has_taken_is_not_offered_again(archive: Path, tmp_path: Path):
    options = ["--archive-url", archive, "--to", tmp_path / "copy", *SPAN]
    assert run("publish", *options).exit_code == 0
    taken = list((tmp_path / "copy").glob("dlq/*/*/*/meta.pb"))
    for offer in taken:
        offer.unlink()
    assert json.loads(run("publish", *options, "--json").stdout)["jobs"] == 0
    assert not any(offer.exists() for offer in taken)
    assert json.loads(run("publish", *options, "--again", "--json").stdout)["blocks"] == len(taken)
    assert all(offer.exists() for offer in taken)


def test_only_the_hours_asked_for(archive: Path, tmp_path: Path):
    options = ["--archive-url", archive, "--to", tmp_path / "copy", "--json"]
    hours = json.loads(run("publish", *options, *SPAN, "--dry-run").stdout)["hours"]
    one = json.loads(run("publish", *options, "--from-hour", "2020-01-01", "--to-hour", hours[0]).stdout)
    assert (one["hours"], one["jobs"]) == ([], 0)


def test_targets_that_would_destroy_something(archive: Path, tmp_path: Path):
    for target in (archive, archive / "copy", archive.parent):
        fails(run("publish", "--archive-url", archive, "--to", target, *SPAN), "one of its own")
    env = {"PYRO_ASSETS_SOURCE_URL": str(tmp_path / "source")}
    fails(run("publish", "--archive-url", archive, "--to", tmp_path / "source", *SPAN, env=env), "source bucket")


def test_a_block_that_was_changed_is_not_published(archive: Path, tmp_path: Path):
    shutil.copytree(archive, tmp_path / "archive")
    block = next((tmp_path / "archive").glob("blocks/*/*/*/block.bin"))
    data = bytearray(block.read_bytes())
    data[100] ^= 1
    block.write_bytes(bytes(data))
    options = ["--archive-url", tmp_path / "archive", "--to", tmp_path / "copy", *SPAN]
    fails(run("publish", *options), "block.bin")
    assert not (tmp_path / "copy" / block.relative_to(tmp_path / "archive")).exists()


def test_wrong_usage(archive: Path, tmp_path: Path):
    is_wrong_usage(run("publish", "--to", tmp_path, *SPAN[2:]), "--from-hour")
    is_wrong_usage(run("publish", *SPAN), "--to")
