"""What documents say is true: their commands run, their files are accepted, their links lead somewhere."""

import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import duckdb
import pytest
import yaml

from pyro_assets.block import metadata
from pyro_assets.block.symbols import index
from pyro_assets.block.tsdb import layout
from pyro_assets.demo.processes import Processes, listens
from pyro_assets.generator import manifest
from pyro_assets.ledger import migrate
from pyro_assets.receivers.file import parse_receivers
from pyro_assets.rules.config import parse_config
from pyro_assets.storage import sealed_json
from tests.cli.test_commands_named import why_refused
from tests.support import document_command
from tests.support.documents import (
    DOCUMENTS,
    MARKS,
    PROJECT,
    ROOT,
    Block,
    Reader,
    blocks_of,
    commands_in,
    name_of,
    slug,
)
from tests.support.forks import Forks
from tests.support.servers import free_port

BLOCKS = {path: blocks_of(path) for path in DOCUMENTS}
SERVED = [path for path, blocks in BLOCKS.items() if any(block.word in ("server", "service") for block in blocks)]
#: One that needs servers is followed once, from its beginning to its end.
RUN = [path for path, blocks in BLOCKS.items() if {"run"} == {block.word for block in blocks} & {"run", "server"}]
SOURCES = [path for folder in ("pyro_assets", "resources", "tests") for path in (ROOT / folder).rglob("*.py")]
OF_RULES = {"rules", "functions", "dimensions", "recording_rules", "overrides"}


def is_followed(block: Block, *marks: str) -> bool:
    """Whether a reader does something with a block, beside reading it."""
    return block.word in marks or (block.language == "yaml" and "." in block.word)


@pytest.fixture(scope="module")
def commands() -> Iterator[Forks]:
    with Forks(document_command.__file__) as forks:
        yield forks


@pytest.fixture(scope="module")
def pristine(commands: Forks, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project with an hour that is done, and a copy of it."""
    folder = tmp_path_factory.mktemp("project")
    reader = Reader(folder / "here", commands)
    reader.folder.mkdir()
    for command in ("init .", "generate --hours 0.2 --shards 1 --until 2026-11-25T10", "run"):
        reader.follow(Block("bash", "run", f"pyro-assets {command}", 0))
    with closing(sqlite3.connect(folder / "here" / "data" / "ledger.db")) as ledger, ledger:
        # An hour ago: what was derived just now does not enter the table yet.
        ledger.execute("UPDATE series_files SET written_ms = written_ms - 3600000")
    shutil.copytree(folder / "here", folder / "copy")
    return folder / "here", folder / "copy"


@pytest.fixture
def project(pristine: tuple[Path, Path]) -> Path:
    """The project as it was made, and where: a ledger knows which buckets it is about."""
    here, copy = pristine
    shutil.rmtree(here)
    shutil.copytree(copy, here)
    return here


def folder_of(path: Path, project: Path, empty: Path) -> Path:
    """Where a document's commands begin."""
    return project if PROJECT in path.read_text("utf-8") else empty


@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_commands_of_a_document_run(path: Path, commands: Forks, project: Path, tmp_path: Path):
    reader = Reader(folder_of(path, project, tmp_path), commands)
    for block in BLOCKS[path]:
        if is_followed(block, "run"):
            reader.follow(block)


@pytest.mark.service
@pytest.mark.parametrize("path", SERVED, ids=name_of)
def test_commands_that_need_servers_run(path: Path, commands: Forks, project: Path, tmp_path: Path):
    if shutil.which("prometheus") is None or shutil.which("promtool") is None:
        pytest.skip("prometheus not found; install Debian's prometheus")
    ports = {"9090": str(free_port()), "9119": str(free_port())}
    reader = Reader(folder_of(path, project, tmp_path), commands, ports)
    processes = Processes(tmp_path, reader.environment)
    try:
        for block in BLOCKS[path]:
            if block.word == "server":
                text = reader.here(block.text)
                (port,) = [free for free in reader.ports.values() if free in text.split("#")[0]]
                processes.start(f"port {port}", ["bash", "-c", f"exec {text}"], reader.folder)
                processes.wait_until(lambda port=port: listens(int(port)), f"port {port}", 60.0)
            elif is_followed(block, "run", "service"):
                reader.follow(block)
    finally:
        processes.stop_all()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_commands_stand_in_marked_blocks_and_can_be_read(path: Path):
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    if path.name != "FORMAT.md":
        # Such blocks have no language and no mark; in lists text may stand so.
        assert not re.search(r"^(?![-*\d ]).*\n\n {4}\S", text, re.MULTILINE), "a block of code without a fence"
    for block in BLOCKS[path]:
        assert block.language not in ("sh", "shell", "console")
        if block.language != "bash":
            continue
        assert block.word in MARKS, f"line {block.line}: say one of {MARKS}"
        subprocess.run(["bash", "-n", "-c", block.text], check=True)
        for command in commands_in(block.text):
            program, _, rest = command.partition(" ")
            if program == "pyro-assets" and block.word != "run":
                assert why_refused(rest) == "", f"line {block.line}: {command}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_files_of_a_document_are_accepted(path: Path):
    for block in BLOCKS[path]:
        if block.language == "yaml":
            found = yaml.safe_load(block.text)
            if "receivers" in found:
                for receiver in parse_receivers(block.text).receivers:
                    assert receiver.is_idempotent or receiver.org_id == "anonymous", receiver.name
            elif found.keys() & OF_RULES and path.name != "RULES.md":
                assert parse_config(block.text, name_of(path))
        elif block.language == "sql" and not block.word:
            assert duckdb.extract_statements(block.text)
        elif block.language == "python":
            compile(block.text, name_of(path), "exec")


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_to_files_and_headings(path: Path):
    for label, target in re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), f"[{label}]({target})"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text("utf-8"), re.MULTILINE)
            assert anchor in map(slug, headings), f"[{label}]({target})"


def test_targets_modules_and_files_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    data = {path.name for path in (ROOT / "tests" / "golden" / "data").iterdir()}
    for path in (*DOCUMENTS, *SOURCES):
        text = path.read_text("utf-8")
        where = name_of(path)
        if path.name == Path(__file__).name:
            continue
        for name in re.findall(r"resources/[\w/.-]+\.(?:md|yaml|json|svg|png)\b", text):
            assert (ROOT / name).is_file(), f"{where}: {name}"
        if path.suffix == ".md":
            for name in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE):
                assert name in targets, f"{where}: make {name}"
            for name in re.findall(r"python -m (pyro_assets[\w.]*|tests[\w.]*)", text):
                assert find_spec(name) is not None, f"{where}: python -m {name}"
            for name in re.findall(r"(?<![\w-])[a-z]+-20\d\d(?![\w-])", text):
                assert name in data, f"{where}: {name} is no data that readers have"


def test_readme_is_read_in_five_minutes_and_leads_everywhere():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 150
    contents = (ROOT / "resources" / "docs" / "index.md").read_text("utf-8")
    for path in (ROOT / "resources" / "docs").glob("*.md"):
        assert path.name == "index.md" or f"]({path.name})" in contents, path.name
    decisions = (ROOT / "resources" / "docs" / "decisions.md").read_text("utf-8")
    for path in (ROOT / "resources" / "docs" / "decisions").glob("*.md"):
        title = path.read_text("utf-8").partition("\n")[0].partition(". ")[2]
        assert f"[{title}](decisions/{path.name})" in decisions, f"add {path.name} to resources/docs/decisions.md"


def test_versions_of_data_are_those_of_the_code():
    page = (ROOT / "resources" / "docs" / "format.md").read_text("utf-8")
    assert f"| {migrate.VERSION} | 1 to {migrate.VERSION}: migrated" in page
    assert f"| {sealed_json.VERSION} | 1 (from before checksums) and {sealed_json.VERSION} |" in page
    assert f"| {metadata.FORMAT_VERSION}, {layout.VERSION}, {index.VERSION} | the same |" in page
    assert f"| generated manifests | {manifest.VERSION} |" in page


def test_operating_has_every_alert():
    rules = yaml.safe_load((ROOT / "resources" / "observability" / "alerts.yaml").read_text())["groups"][0]["rules"]
    page = (ROOT / "resources" / "docs" / "operating.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(PyroAssets\w+)` \|", page, re.MULTILINE)) == {one["alert"] for one in rules}


def test_readme_has_every_room():
    table = (ROOT / "README.md").read_text("utf-8").partition("## Rooms")[2]
    rooms = {path.name for path in (ROOT / "pyro_assets").iterdir() if path.is_dir() and path.name[0] != "_"}
    assert set(re.findall(r"`(\w+)/`", table.partition("\n\nApache")[0])) - {"remote_write", "pyro_assets"} == rooms
