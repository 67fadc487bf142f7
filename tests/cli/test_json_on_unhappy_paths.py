"""Where something is wrong, every `--json` still prints JSON; the exit status and one sentence say what is wrong."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import click
import pytest

from pyro_assets.cli.main import COMMANDS, main
from pyro_assets.jobs.claims import Claims, Retry
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Failure
from tests.support import golden_bucket
from tests.support.cli_runner import places, run
from tests.support.scripted_server import scripted_server

GOLDEN = golden_bucket.committed()
#: The first is broken.
KEYS = [key for job in GOLDEN.jobs for key in job]
SPAN = ["--from", "2026-11-25T09", "--to", "2026-11-25T10"]
HOURS = ["--from-hour", "2026-11-25T09", "--to-hour", "2026-11-25T10"]
FAILED = Failure("ValueError", 'it said "no"\nand \\ went')
SOURCE, ARCHIVE, LEDGER, FILE = "source", "archive", "ledger", "receivers"

#: Command -> what it needs to be named, further words, and its exit status; every command that has `--json` is here.
CASES: dict[str, tuple[list[str], list[Any], int]] = {
    "run": ([SOURCE, ARCHIVE, LEDGER], [], 1),
    "inspect": ([], ["KEY"], 1),
    "verify": ([], ["KEY"], 1),
    "verify --archive": ([SOURCE, ARCHIVE, LEDGER], [*SPAN], 1),
    "rules list": ([ARCHIVE, LEDGER], [], 0),
    "rules preview": ([ARCHIVE, LEDGER], ["main"], 0),
    "series": ([ARCHIVE], [], 1),
    "doctor": ([SOURCE, ARCHIVE, LEDGER], [], 1),
    "rescan": ([SOURCE, LEDGER], [], 0),
    "retention": ([ARCHIVE, LEDGER], ["--keep-series-days", 1], 0),
    "publish": ([ARCHIVE], ["--to", "TO", *HOURS], 1),
    "rebuild-ledger": ([ARCHIVE], ["--ledger-url", "NEW"], 1),
    "quarantine list": ([LEDGER], ["--all"], 0),
    "quarantine show": ([LEDGER], ["KEY IN THE BUCKET"], 0),
    "export": ([SOURCE, ARCHIVE, LEDGER, FILE], [*SPAN], 1),
    "export --estimate": ([SOURCE, ARCHIVE, LEDGER, FILE], [], 1),
    "receivers list": ([SOURCE, ARCHIVE, LEDGER, FILE], [], 0),
    "receivers check": ([LEDGER, FILE], [], 1),
    "reconcile": ([SOURCE, ARCHIVE, LEDGER, FILE], ["--receiver", "local", *SPAN], 1),
    "generate": ([], ["--url", "TO", "--hours", 0.001, "--shards", 1], 0),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """A source set aside, a job given up, one that waits, a damaged record and file, a receiver that takes nothing."""
    folder = tmp_path_factory.mktemp("unhappy")
    for key in KEYS:
        path = folder / "source" / key
        path.parent.mkdir(parents=True)
        path.write_bytes(GOLDEN.read(key)[: -5 if key == KEYS[0] else None])
    (folder / "rules.yaml").write_text('rules:\n- {name: main, functions: [{glob: "main.*"}], by: []}\n')
    assert run("rules", "apply", "-f", folder / "rules.yaml", *places(folder)[2:]).exit_code == 0
    assert run("run", *places(folder), "--source-url", folder / "source", "--json").exit_code == 1
    with contextlib.closing(Ledger.open(str(folder / "ledger.db"))) as ledger:
        with ledger.write() as connection:
            ids = [row[0] for row in connection.exec_driver_sql("SELECT id FROM jobs ORDER BY id LIMIT 2")]
            connection.exec_driver_sql(f"UPDATE jobs SET state = 'compacted' WHERE id IN {tuple(ids)}")
        for job_id, retry in zip(ids, (Retry(max_attempts=1), Retry()), strict=True):
            job = Claims(ledger).claim(job_id, "run", 2**42, 1, retry, states=["compacted"])
            assert job is not None
            Claims(ledger).fail(job, FAILED, 2**42, retry)
    for kind in ("commits/*/*/*.json", "series/*/*/*.parquet"):
        (first, *_) = sorted((folder / "archive").glob(kind))
        first.write_bytes(first.read_bytes()[:-40])
    with scripted_server(default=401) as server:
        one = {"name": "local", "kind": "prometheus", "url": f"{server.url}/api/v1/write", "start": "2026-11-25-09:00"}
        (folder / "receivers.yaml").write_text(json.dumps({"receivers": [one]}))
        archive_url, ledger_url = places(folder)[:2], places(folder)[2:]
        yield {
            SOURCE: ["--source-url", folder / "source"],
            ARCHIVE: archive_url,
            LEDGER: ledger_url,
            FILE: ["--receivers", folder / "receivers.yaml"],
            "KEY": folder / "source" / KEYS[0],
            "KEY IN THE BUCKET": KEYS[0],
            "NEW": f"sqlite:///{folder / 'new.db'}",
            "TO": folder / "to",
        }


def with_json(command: click.Command, path: str = "") -> Iterator[str]:
    """Paths of all commands that have the option."""
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from with_json(found, f"{path} {name}".strip())
    elif any("--json" in option.opts for option in command.params):
        yield path


def test_every_command_with_json_is_tried_here():
    assert set(with_json(main)) == {name.partition(" --")[0] for name in CASES}
    assert {name.split()[0] for name in CASES} <= set(COMMANDS)


@pytest.mark.parametrize("name", CASES)
def test_json_is_printed_whatever_is_wrong(place: dict[str, Any], name: str):
    needs, words, status = CASES[name]
    arguments = [*name.split(), *(word for need in needs for word in place[need])]
    result = run(*arguments, *(place.get(word, word) for word in words), "--json")
    assert result.exit_code == status, result.output
    # A command that has read nothing yet says its sentence alone.
    assert result.stdout or status == 1
    for document in result.stdout.splitlines() if name == "series" else filter(None, [result.stdout]):
        json.loads(document)
    sentences = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == (status > 0)
    assert "Traceback" not in result.stderr
