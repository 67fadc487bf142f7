"""A ledger of schema version 1 with data in it, opened by this version: nothing is lost, and work goes on."""

import sqlite3
from pathlib import Path

import pytest
from ledgers import HOUR, KINDS, NOW_MS, POLICY, claimed, compaction, derivation
from sqlalchemy import create_engine, inspect

from pyro_assets.ledger import schema
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.migrate import STEPS, VERSION, version_of
from pyro_assets.ledger.receipt import Receipt

OLD = Path(__file__).with_name("schema_1.sql").read_text()
DERIVED, PLANNED = "957dea61e6562de2ec27b2a0d2738380", "8653141b1560904c6c8b54907b70602d"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    connection = sqlite3.connect(path)
    connection.executescript(OLD)
    connection.close()
    return path


def rows(path: Path) -> dict[str, list[dict[str, object]]]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    found = {name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')] for name in names}
    connection.close()
    return found


def test_every_row_is_there_afterwards_and_the_schema_is_that_of_a_new_ledger(old: Path, tmp_path: Path) -> None:
    before = rows(old)
    assert before["schema_version"] == [{"version": 1, "applied_ms": NOW_MS}]
    assert {name for name, found in before.items() if found} >= {"sources", "jobs", "receipts", "quarantine", "outputs"}
    for _ in range(2):
        Ledger.open(str(old)).close()
    after = rows(old)
    for name, found in before.items():
        if name != "schema_version":
            assert [{key: row[key] for key in was} for was, row in zip(found, after[name], strict=True)] == found
    assert [row["version"] for row in after["schema_version"]] == [VERSION]
    Ledger.open(str(tmp_path / "new.db")).close()
    shapes = []
    for path in (old, tmp_path / "new.db"):
        engine = create_engine(f"sqlite:///{path}")
        with engine.connect() as connection:
            look = inspect(connection)
            assert version_of(connection) == VERSION
            shapes.append(
                {
                    name: (
                        {
                            (column["name"], str(column["type"]), column["nullable"])
                            for column in look.get_columns(name)
                        },
                        {(index["name"], *index["column_names"]) for index in look.get_indexes(name)},
                        tuple(look.get_pk_constraint(name)["constrained_columns"]),
                    )
                    for name in schema.metadata.tables
                }
            )
        engine.dispose()
    assert shapes[0] == shapes[1]


def test_work_and_export_go_on(old: Path) -> None:
    ledger = Ledger.open(str(old))
    try:
        (receipt,) = ledger.receipts_of(DERIVED)
        assert (receipt.state, receipt.accepted, receipt.file_ms) == ("sent", 11, None)
        # Whether that was about the present file nobody knows, so it is looked at again.
        (due,) = ledger.export_due("r", [HOUR])
        assert [file.kind for file in due.files] == sorted(KINDS)
        closed = [Receipt(DERIVED, file.kind, "r", "sent", samples=11, file_ms=file.written_ms) for file in due.files]
        ledger.put_receipts(closed, NOW_MS + 1, wanted_by=["r"])
        assert ledger.export_due("r", [HOUR]) == []
        job = claimed(ledger, PLANNED)
        ledger.commit_compacted(job, compaction(), NOW_MS)
        ledger.commit_derived(job, derivation(), NOW_MS, kinds=KINDS)
        assert [one.job_id for one in ledger.export_due("r", [HOUR])] == [PLANNED]
        later_ms = NOW_MS + 60_000
        assert ledger.plan(later_ms, POLICY) == 1  # the source that waited
        ledger.add_active_series("r", {("acme", 1): {1}}, later_ms)
        assert ledger.active_series("r", "acme", 1) == {1}
    finally:
        ledger.close()


def test_there_is_a_step_to_every_version() -> None:
    assert sorted(STEPS) == list(range(1, VERSION + 1))
