"""Opening a ledger: empty, of this version, of a newer one, unreachable; and the schema on both databases."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from pyro_assets.archive.rows import SourceRows
from pyro_assets.errors import LedgerDamaged, LedgerUnavailable, SchemaMismatch, SettingsError
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger import schema
from pyro_assets.ledger.database import Ledger, parse_ledger_url
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.migrate import VERSION, version_of
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.rules.stored import StoredRules
from tests.support.ledgers import HOUR, KINDS, NOW_MS, POLICY, claimed, compacted, derivation, found, planned, record
from tests.support.postgres_server import PostgresServer


def test_makes_folder_file_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.db"
    Ledger.open(str(path)).close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        assert version_of(connection) == VERSION
        assert set(inspect(connection).get_table_names()) == set(schema.metadata.tables)
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    engine.dispose()


def test_opens_again_without_change(tmp_path: Path) -> None:
    for _ in range(2):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.db").close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(str(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE schema_version SET version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(SchemaMismatch, match="version 99"):
        Ledger.open(str(path))


def test_a_file_that_is_no_database_is_rebuilt_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"something else entirely" * 100)
    with pytest.raises(LedgerDamaged, match=r"not a database.*rebuild-ledger"):
        Ledger.open(str(path))


def test_a_file_with_damaged_pages_is_rebuilt_not_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(str(path)).close()
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(LedgerDamaged, match=r"malformed.*rebuild-ledger"), Ledger.open(str(path)) as ledger:
        StoredRules(ledger).rules()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnavailable, match="cannot be made"):
        Ledger.open(str(tmp_path / "file" / "ledger.db"))


@pytest.mark.parametrize(
    "url", ["", "nonsense://", "no such driver://x", "postgresql://me@host:port/db", "mysql+nothing://host/db"]
)
def test_urls_that_cannot_be_used_are_refused(url: str) -> None:
    with pytest.raises(SettingsError):
        Ledger.open(url)


def test_postgres_urls_name_a_driver_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyro_assets.ledger.database.find_spec", lambda name: name == "psycopg2")
    for url in ("postgresql://me@host/db", "postgres://me@host/db"):
        assert parse_ledger_url(url).drivername == "postgresql+psycopg2"
    assert parse_ledger_url("postgresql+pg8000://me@host/db").drivername == "postgresql+pg8000"
    monkeypatch.setattr("pyro_assets.ledger.database.find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"needs a driver: pip install 'pyro-assets\[postgres\]'"):
        parse_ledger_url("postgresql://me@host/db")


def test_a_driver_that_is_missing_is_named() -> None:
    with pytest.raises(SettingsError, match=r"pg8000.*pip install 'pyro-assets\[postgres\]'"):
        Ledger.open("postgresql+pg8000://me@host/db")


REMEDY = r"; check that its server runs, and host, port, user, password and database of the ledger's URL$"


def test_a_server_that_is_not_there_is_unavailable_in_one_sentence() -> None:
    with socket.socket() as taken:
        # Bound but not listening: nothing else can answer there.
        taken.bind(("127.0.0.1", 0))
        url = f"postgresql+psycopg2://me:secret@127.0.0.1:{taken.getsockname()[1]}/db"
        with pytest.raises(LedgerUnavailable, match=f"[Cc]onnection refused.*{REMEDY}") as caught:
            Ledger.open(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.service
@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_postgres_that_refuses_us_is_unavailable_in_one_sentence(postgres: PostgresServer, wrong: str) -> None:
    url = postgres.url(password="guessed") if wrong == "password" else postgres.url("nowhere")
    with pytest.raises(LedgerUnavailable, match=f"{wrong}.*{REMEDY}") as caught:
        Ledger.open(url)
    for secret in ("guessed", postgres.password):
        assert secret not in str(caught.value)


@pytest.mark.service
def test_a_connection_that_breaks_is_unavailable_and_the_next_one_works(postgres: PostgresServer, postgres_url: str):
    ledger = Ledger.open(postgres_url)
    try:
        with pytest.raises(LedgerUnavailable), ledger.write() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
        assert HourRecords(ledger).hours() == []
    finally:
        ledger.close()


@pytest.mark.service
def test_only_plans_wait_for_the_disk(postgres_url: str) -> None:
    ledger = Ledger.open(postgres_url)
    for planning, expected in ((True, "on"), (False, "off")):
        with ledger.write(planning=planning) as connection:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == expected
    ledger.close()


def test_a_locked_database_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.db"
    Ledger.open(str(path)).close()
    monkeypatch.setattr("pyro_assets.ledger.database.BUSY_TIMEOUT_SECONDS", 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    # Opening and reading go on while another process writes.
    ledger = Ledger.open(str(path))
    assert HourRecords(ledger).hours() == []
    with pytest.raises(LedgerUnavailable, match="locked"):
        record(ledger, [found(-1)])
    ledger.close()
    other.close()


def test_what_is_in_use_while_another_ledger_of_that_url_is_closed_is_closed_afterwards(tmp_path: Path) -> None:
    ledger, other = (Ledger.open(str(tmp_path / "ledger.db")) for _ in range(2))
    with ledger.read() as connection:
        other.close()
        used = connection.connection.dbapi_connection
    assert isinstance(used, sqlite3.Connection)
    with pytest.raises(sqlite3.ProgrammingError, match="closed database"):
        used.execute("SELECT 1")
    assert HourRecords(ledger).hours() == []
    ledger.close()


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()], ids=["sqlite", "postgresql"])
def test_the_schema_compiles(dialect: object) -> None:
    for table in schema.metadata.sorted_tables:
        assert str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            assert str(CreateIndex(index).compile(dialect=dialect))


@contextmanager
def walking_over_nothing(ledger: Ledger) -> Iterator[None]:
    """Fails where a statement within has to look at all rows of a table that grows."""
    asked: list[tuple[str, Any]] = []

    def listen(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(ledger._engine, "before_cursor_execute", listen)
    yield
    event.remove(ledger._engine, "before_cursor_execute", listen)
    grown = ("sources", "jobs", "job_sources", "series_files", "receipts", "hour_upkeep", "collapsed_sources")
    with ledger.read() as connection:
        for statement, parameters in asked:
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                parameters = parameters[0] if isinstance(parameters, list) else parameters
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
                for line in (row.detail for row in plan):
                    assert not line.startswith(tuple(f"SCAN {table}" for table in grown)), f"{line}: {statement}"


def test_ticks_and_claims_walk_over_nothing_that_is_finished(sqlite_ledger: Ledger) -> None:
    ledger = sqlite_ledger
    job_id = planned(ledger)
    with walking_over_nothing(ledger):
        record(ledger, [found(-9)])
        Planner(ledger).plan(NOW_MS, POLICY)
        SourceRecords(ledger).cursors()
        DueJobs(ledger).backlog(NOW_MS, KINDS)
        DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS)
        job = claimed(ledger, job_id)
        Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
        Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
        DueJobs(ledger).unverified_jobs(HOUR, again=False)
        HourRecords(ledger).hours()
        ReceiptRecords(ledger).keep_changed("r", NOW_MS - 60_000, NOW_MS, NOW_MS)


def test_late_sources_of_hours_whose_rows_are_gone_are_planned_without_a_walk(sqlite_ledger: Ledger) -> None:
    ledger = sqlite_ledger
    job = claimed(ledger, planned(ledger))
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
    assert SourceRows(ledger).collapse(HOUR, NOW_MS, {}, has_table=False)
    with walking_over_nothing(ledger):
        record(ledger, [found(-30, salt=7)])
        assert Planner(ledger).plan(NOW_MS, POLICY) == 1
    [late] = DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS)
    assert JobRecords(ledger).look_up(late)[0].timestamp_ms == NOW_MS - 30_000 + 1
