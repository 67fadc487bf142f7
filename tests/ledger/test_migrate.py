"""A ledger of schema version 1 with data in it, opened by this version: nothing is lost, and work goes on."""

import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ActiveSeriesRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.ledger import schema
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.migrate import VERSION, version_of
from pyro_assets.planning.plan import Planner
from tests.support.ledgers import HOUR, KINDS, NOW_MS, POLICY, claimed, compacted, derivation

OLD = Path(__file__).with_name("schema_1.sql").read_text()
DERIVED, PLANNED = "957dea61e6562de2ec27b2a0d2738380", "8653141b1560904c6c8b54907b70602d"


#: What version 1 made otherwise on Postgres.
POSTGRES_TYPES = {
    "CREATE TABLE sources (\n\tid INTEGER": "CREATE TABLE sources (\n\tid BIGSERIAL",
    "source_id INTEGER": "source_id BIGINT",
}
SERIAL = "SELECT setval(pg_get_serial_sequence('sources', 'id'), (SELECT max(id) FROM sources))"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of the old ledger."""
    if request.param == "postgres":
        url = str(request.getfixturevalue("postgres_url"))
        make_on_postgres(url)
        return url
    connection = sqlite3.connect(tmp_path / "ledger.db")
    connection.executescript(OLD)
    connection.close()
    return f"sqlite:///{tmp_path}/ledger.db"


def make_on_postgres(url: str) -> None:
    """Run the dump in an order in which no table is named before it is there."""
    order = {table.name: number for number, table in enumerate(schema.metadata.sorted_tables)}
    script = OLD
    for on_sqlite, on_postgres in POSTGRES_TYPES.items():
        script = script.replace(on_sqlite, on_postgres)
    statements = [text.strip() for text in script.split(";\n")]

    def rank(statement: str) -> tuple[bool, int]:
        name = re.search(r"(?:TABLE|INTO|ON) \W?(\w+)", statement)
        assert name is not None, statement
        return not statement.startswith("CREATE TABLE"), order[name[1]]

    wanted = [text for text in statements if text.startswith(("CREATE", "INSERT"))]
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in [*sorted(wanted, key=rank), SERIAL]:
            connection.exec_driver_sql(statement)
    engine.dispose()


def rows(url: str) -> dict[str, list[dict[str, object]]]:
    engine = create_engine(url)
    with engine.connect() as connection:
        names = sorted(inspect(connection).get_table_names())
        found = {
            name: [dict(row) for row in connection.exec_driver_sql(f'SELECT * FROM "{name}" ORDER BY 1, 2').mappings()]
            for name in names
        }
    engine.dispose()
    return found


def test_every_row_is_there_afterwards_and_the_schema_is_that_of_a_new_ledger(
    old: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    before = rows(old)
    assert before["schema_version"] == [{"version": 1, "applied_ms": NOW_MS}]
    assert {name for name, found in before.items() if found} >= {"sources", "jobs", "receipts", "quarantine", "outputs"}
    for _ in range(2):
        Ledger.open(old).close()
    after = rows(old)
    for name, found in before.items():
        if name != "schema_version":
            assert [{key: row[key] for key in was} for was, row in zip(found, after[name], strict=True)] == found
    assert [row["version"] for row in after["schema_version"]] == [VERSION]
    on_sqlite = old.startswith("sqlite")
    new = f"sqlite:///{tmp_path}/new.db" if on_sqlite else request.getfixturevalue("postgres_ledger_url")
    Ledger.open(new).close()
    assert shape(old) == shape(new)


def shape(url: str) -> dict[str, object]:
    """Columns, indexes and keys of every table."""
    engine = create_engine(url)
    with engine.connect() as connection:
        look = inspect(connection)
        assert version_of(connection) == VERSION
        found: dict[str, object] = {
            name: (
                {(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(name)},
                {(index["name"], *index["column_names"]) for index in look.get_indexes(name)},
                tuple(look.get_pk_constraint(name)["constrained_columns"]),
            )
            for name in schema.metadata.tables
        }
    engine.dispose()
    return found


def test_work_and_export_go_on(old: str) -> None:
    ledger = Ledger.open(old)
    try:
        (receipt,) = ReceiptRecords(ledger).receipts_of(DERIVED)
        assert (receipt.state, receipt.accepted, receipt.file_ms) == ("sent", 11, None)
        # Whether that was about the present file nobody knows, so it is looked at again.
        (due,) = ReceiptRecords(ledger).export_due("r", [HOUR])
        assert [file.kind for file in due.files] == sorted(KINDS)
        closed = [Receipt(DERIVED, file.kind, "r", "sent", samples=11, file_ms=file.written_ms) for file in due.files]
        ReceiptRecords(ledger).put_receipts(closed, NOW_MS + 1, wanted_by=["r"])
        assert ReceiptRecords(ledger).export_due("r", [HOUR]) == []
        job = claimed(ledger, PLANNED)
        Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
        Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
        assert [one.job_id for one in ReceiptRecords(ledger).export_due("r", [HOUR])] == [PLANNED]
        later_ms = NOW_MS + 60_000
        assert Planner(ledger).plan(later_ms, POLICY) == 1  # the source that waited
        ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 1): {1}}, later_ms)
        assert ActiveSeriesRecords(ledger).active_series("r", "acme", 1) == {1}
    finally:
        ledger.close()
