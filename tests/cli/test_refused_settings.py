"""Bad settings are refused at start: one sentence on stderr, status 2, nothing written. In Dagster: see tests/defs."""

import os
import socket
import stat
from pathlib import Path

import pytest

from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from tests.support import golden_bucket
from tests.support.cli_runner import is_refused, places, run

SOURCE = golden_bucket.committed().root


@pytest.mark.parametrize("archive", ["same", "same/", "./same", "same/below", "."])
def test_the_source_as_archive_or_one_inside_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, archive: str):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same").mkdir()
    ledger = f"sqlite:///{tmp_path}/l.db"
    sentence = is_refused(run("run", "--source-url", "same", "--archive-url", archive, "--ledger-url", ledger))
    assert "are the same place, or one lies inside the other" in sentence
    assert "name another archive" in sentence
    assert list((tmp_path / "same").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "PYRO_ASSETS_START_DATE",
            "yesterday",
            "PYRO_ASSETS_START_DATE is 'yesterday'; it must be an hour such as 2026-11-25-09:00",
        ),
        ("PYRO_ASSETS_JOB_BLOCKS", "many", "PYRO_ASSETS_JOB_BLOCKS is 'many'; it must be a whole number, 1 or more"),
        ("PYRO_ASSETS_JOB_BLOCKS", "0", "PYRO_ASSETS_JOB_BLOCKS is '0'; it must be a whole number, 1 or more"),
        ("PYRO_ASSETS_JOB_MIB", "-1", "PYRO_ASSETS_JOB_MIB is '-1'; it must be a number, 0.001 or more"),
        ("PYRO_ASSETS_JOB_AGE_SECONDS", "nan", "PYRO_ASSETS_JOB_AGE_SECONDS is 'nan'"),
        ("PYRO_ASSETS_ORDER", "sideways", "PYRO_ASSETS_ORDER is 'sideways'; it must be oldest or newest"),
        ("PYRO_ASSETS_LANES", "0", "PYRO_ASSETS_LANES is '0'; it must be a whole number, 1 or more"),
        ("PYRO_ASSETS_JOB_SECONDS", "inf", "PYRO_ASSETS_JOB_SECONDS is 'inf'"),
        ("PYRO_ASSETS_CONFIG", "no/such.yaml", "no/such.yaml"),
        ("PYRO_ASSETS_RECEIVERS", "no/such.yaml", "no/such.yaml"),
        ("PYRO_ASSETS_SOURCE_URL", "gopher://bucket", "gopher"),
        ("PYRO_ASSETS_SOURCE_URL", "s3://", "names no bucket; write for example s3://bucket/prefix"),
        ("PYRO_ASSETS_ARCHIVE_URL", "hdfs://", "names no bucket"),
        # Known to fsspec, but its package is not among ours.
        ("PYRO_ASSETS_SOURCE_URL", "gs://bucket", "gcsfs"),
        ("PYRO_ASSETS_LEDGER_URL", "oracle9://x", "oracle9"),
        ("PYRO_ASSETS_LEDGER_URL", "sqlite:////proc/no/ledger.db", "cannot be made"),
    ],
)
def test_a_variable_that_cannot_be_used(tmp_path: Path, name: str, value: str, words: str):
    env = {
        "PYRO_ASSETS_SOURCE_URL": str(SOURCE),
        "PYRO_ASSETS_ARCHIVE_URL": str(tmp_path / "archive"),
        "PYRO_ASSETS_LEDGER_URL": f"sqlite:///{tmp_path / 'l.db'}",
        name: value,
    }
    is_refused(run("run", env=env), words)
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("name", "choices"), [("PYRO_ASSETS_COMPACTION", "'own', 'observe'"), ("PYRO_ASSETS_DEDUP", "'exact', 'original'")]
)
def test_an_unknown_mode_or_rule_of_duplicates(tmp_path: Path, name: str, choices: str):
    # These are options too, which click refuses with their choices.
    result = run("run", "--source-url", SOURCE, *places(tmp_path), env={name: "both"})
    assert result.exit_code == 2
    assert f"'both' is not one of {choices}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_database(tmp_path: Path):
    pytest.importorskip("psycopg2")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://u:secret@127.0.0.1:{nobody.getsockname()[1]}/x"
        sentence = is_refused(run("run", "--source-url", SOURCE, *places(tmp_path), "--ledger-url", url))
    assert "ledger" in sentence
    assert "secret" not in sentence


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_archive(tmp_path: Path):
    archive = tmp_path / "archive"
    archive.mkdir()
    archive.chmod(stat.S_IRUSR | stat.S_IXUSR)
    sentence = is_refused(run("run", "--source-url", SOURCE, *places(tmp_path)))
    assert "the archive cannot be written to" in sentence
    assert "give this user permission" in sentence


def test_an_archive_on_a_file_system_that_nobody_may_write_to(tmp_path: Path):
    # There root may not write either.
    options = ["--source-url", SOURCE, *places(tmp_path), "--archive-url", "/sys/no-archive"]
    sentence = is_refused(run("run", *options))
    assert "the archive cannot be written to" in sentence


def test_another_mode_while_work_is_pending(tmp_path: Path):
    from pyro_assets.ledger.database import Ledger
    from pyro_assets.planning.listing import FoundBlock
    from pyro_assets.planning.policy import Policy
    from pyro_assets.storage.keys import parse_block_key

    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    key = golden_bucket.committed().jobs[0][0]
    policy = Modes(ledger).enter_mode(Policy(), 2**40)
    Planner(ledger).plan_exact([[FoundBlock(parse_block_key(key), 1)]], 2**40, policy)
    ledger.close()
    sentence = is_refused(run("run", "--mode", "observe", "--source-url", SOURCE, *places(tmp_path)))
    assert sentence.startswith("observe mode cannot begin: 1 jobs of own mode are not done")
