"""The ledger's database: opening it, transactions that several processes can share, and its errors in our words.

Here, too:
* single values that outlive a process: reading one, and putting another in its place.

Add what differs between SQLite and Postgres here, so that queries need not know. Tables and queries do not belong here.
"""

import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Text,
    any_,
    bindparam,
    create_engine,
    event,
    func,
    make_url,
    select,
    text,
)
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from pyro_assets.errors import JobConflict, LedgerDamaged, LedgerUnavailable, SettingsError
from pyro_assets.ledger.migrate import VERSION, migrate, version_of
from pyro_assets.ledger.schema import facts

#: A writer waits so long for another one: planning and commits take milliseconds.
BUSY_TIMEOUT_SECONDS: Final = 30
#: A server that does not answer is unavailable after this time: a tick has a minute.
_CONNECT_SECONDS: Final = 10
_DRIVERS: Final = ("psycopg2", "psycopg")
_INSTALL_DRIVER: Final = "pip install 'pyro-assets[postgres]'"
#: SQLite's codes of a file that will not become better by trying again.
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
# Any constant that no other user of the same Postgres is likely to lock.
_LOCK: Final = text(f"SELECT pg_advisory_xact_lock({0x7079726F})")
_NO_FLUSH: Final = text("SET LOCAL synchronous_commit TO OFF")


def parse_ledger_url(url: str) -> URL:
    """An SQLAlchemy URL from a URL or the path of an SQLite file; Postgres URLs get a driver that is installed.

    >>> str(parse_ledger_url("data/ledger.db"))
    'sqlite:///data/ledger.db'

    Raises:
        SettingsError: it is neither.
    """
    if not url:
        raise SettingsError("the ledger's URL is empty; name a file or for example postgresql://user@host/database")
    if "://" not in url:
        return URL.create("sqlite", database=url)
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        # A port that is no number is a plain ValueError.
        raise SettingsError(f"the ledger's URL does not parse: {error}") from error
    if parsed.drivername in ("postgres", "postgresql"):
        # A bare scheme means psycopg 3 to newer SQLAlchemy and psycopg2 to older one: take what is there.
        driver = next((name for name in _DRIVERS if find_spec(name)), None)
        if driver is None:
            raise SettingsError(f"a ledger on Postgres needs a driver: {_INSTALL_DRIVER}")
        return parsed.set(drivername=f"postgresql+{driver}")
    return parsed


class Ledger:
    """Connections to every source, job, output and receipt; what is asked of them stands in the rooms, as `Queries`.

    Open one with `Ledger.open(url)`, close it with `close`. Safe to use from several threads and processes at once.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Opens the ledger; makes the file or the tables where they are missing, migrates an older schema.

        Args:
            url: an SQLAlchemy URL, or the path of an SQLite file.

        Raises:
            SettingsError: the URL cannot be used.
            LedgerUnavailable: the database cannot be reached or opened.
            LedgerDamaged: its file is broken, or no database.
            SchemaMismatch: it was written by a newer version of this project.
        """
        parsed = parse_ledger_url(url)
        shown = parsed.render_as_string()
        engine = _engine_of(parsed)
        if engine.dialect.name == "sqlite":
            _make_folder(parsed)
        database = cls(engine)
        try:
            # Ticks and checks open the ledger every few seconds: without a change of schema they take no lock.
            with _reached(shown), database.read() as connection:
                is_current = version_of(connection) == VERSION
            if not is_current:
                with database.write(planning=True) as connection:
                    migrate(connection, time.time_ns() // 1_000_000)
        except BaseException:
            engine.dispose()
            raise
        return database

    @classmethod
    def open_existing(cls, url: str) -> Self | None:
        """Opens the ledger as `open` does, but makes no file; None where there is none."""
        parsed = parse_ledger_url(url)
        is_file = parsed.get_backend_name() == "sqlite"
        return None if is_file and not Path(parsed.database or "").is_file() else cls.open(url)

    @property
    def url(self) -> str:
        """Where another process finds it; holds the password."""
        return self._engine.url.render_as_string(hide_password=False)

    def close(self) -> None:
        """Gives the connections back."""
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the ledger."""
        with _our_errors(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, planning: bool = False) -> Iterator[Connection]:
        """A transaction that writes; with `planning` at most one at a time, over all processes, and on the disk.

        A plan that a power failure took back would let the archive's records name sources of other jobs. Any other
        commit may be lost that way: the job is done again, with the same result, and a flush each costs milliseconds.
        """
        with _our_errors(), self._engine.connect() as connection:
            connection = connection.execution_options(pyro_writes="FULL" if planning else "NORMAL")
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(_LOCK if planning else _NO_FLUSH)
                yield connection

    def lock_planning(self, connection: Connection) -> None:
        """Waits for other planners, and keeps them out until the end of the transaction (SQLite has one writer)."""
        if connection.dialect.name == "postgresql":
            connection.execute(_LOCK)


class Queries:
    """Statements of one room over an open ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger


def among(connection: Connection, column: Column[Any]) -> ColumnElement[bool]:
    """Whether a column is one of the values that are bound as "among", see `values_of`.

    One text for any number of values; a list of names in the statement would be made, sent and parsed each time.
    """
    if connection.dialect.name == "postgresql":
        return column == any_(bindparam("among", type_=ARRAY(column.type)))
    listed = func.json_each(bindparam("among", type_=Text())).table_valued("value")
    return column.in_(select(listed.c.value))


def values_of(connection: Connection, values: Sequence[object]) -> object:
    """The value to bind as "among"."""
    return list(values) if connection.dialect.name == "postgresql" else json.dumps(list(values))


@lru_cache(maxsize=8)
def _engine_of(url: URL) -> Engine:
    """The engine of a URL, kept after its connections are closed.

    With it SQLAlchemy keeps the text of each statement, which takes longer to make than most take to run: ticks open
    the ledger every few seconds.

    Raises:
        SettingsError: the URL cannot be used.
    """
    on_postgres = url.get_backend_name() == "postgresql"
    takes_timeout = url.drivername.endswith(_DRIVERS) and "connect_timeout" not in url.query
    try:
        engine = create_engine(
            url,
            pool_pre_ping=url.get_backend_name() != "sqlite",
            connect_args={"connect_timeout": _CONNECT_SECONDS} if takes_timeout else {},
        )
    except (SQLAlchemyError, ImportError) as error:
        driver = f"; install its driver: {_INSTALL_DRIVER}" if on_postgres else ""
        raise SettingsError(f"the ledger {url.render_as_string()} cannot be used: {error}{driver}") from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    _close_late_connections(engine)
    return engine


def _close_late_connections(engine: Engine) -> None:
    """Closes connections that come back after another ledger of the same URL was closed, and the pool with it."""

    @event.listens_for(engine, "connect")
    def connect(_connection: Any, record: ConnectionPoolEntry) -> None:
        record.info["pool"] = engine.pool

    @event.listens_for(engine, "checkin")
    def checkin(_connection: Any, record: ConnectionPoolEntry) -> None:
        if record.info.get("pool") is not engine.pool:
            record.close()


def _make_folder(url: URL) -> None:
    if url.database and url.database != ":memory:":
        folder = Path(url.database).absolute().parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerUnavailable(f"the folder {folder} of the ledger cannot be made: {error.strerror}") from error


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: ours begin as what they are.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("pyro_writes")
        if writes is not None:
            connection.exec_driver_sql(f"PRAGMA synchronous = {writes}")
        # IMMEDIATE takes the lock at once: a transaction that reads first and writes then could only fail.
        connection.exec_driver_sql("BEGIN" if writes is None else "BEGIN IMMEDIATE")


@contextmanager
def _reached(shown: str) -> Iterator[None]:
    """Says of the first connection what to look at when there is none."""
    try:
        yield
    except LedgerUnavailable as error:
        if not isinstance(error.__cause__, OperationalError) or shown.startswith("sqlite"):
            raise
        reason = " ".join(str(error.__cause__.orig).split())
        raise LedgerUnavailable(
            f"the ledger {shown} cannot be reached: {reason}; check that its server runs, and host, port, user, "
            "password and database of the ledger's URL"
        ) from error.__cause__


@contextmanager
def _our_errors() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise JobConflict(f"the ledger refuses a contradiction: {error.orig}") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
            raise LedgerDamaged(
                f"the ledger's file is damaged, or no ledger ({error.orig}): stop what uses it, move the file away, "
                "and run `pyro-assets rebuild-ledger`, which makes a new one of the archive's records; nothing was lost"
            ) from error
        raise LedgerUnavailable(
            f"the ledger's database does not do what was asked ({error.orig}); check that it is reachable, "
            "writable and has room, then run again: nothing was lost"
        ) from error


def fact(connection: Connection, name: str) -> str | None:
    """The value of a fact; None where there is none."""
    return connection.execute(select(facts.c.value).where(facts.c.name == name)).scalar()


def put_fact(connection: Connection, name: str, value: str | None, now_ms: int) -> None:
    """Puts a value in the place of the one before; None leaves none."""
    connection.execute(facts.delete().where(facts.c.name == name))
    if value is not None:
        connection.execute(facts.insert().values(name=name, value=value, updated_ms=now_ms))
