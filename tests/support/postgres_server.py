"""A Postgres of the tests' own: one cluster for a session, a database for each test, gone when the session ends.

The fixtures are known everywhere through tests/conftest.py; nothing is started before a test asks. Flushing to disk is
off, so what a power failure leaves cannot be tested here.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_BINARIES = Path("/usr/lib/postgresql")
_READY_SECONDS = 60.0
_SETTINGS = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "on", "max_connections": "60"}


@dataclass
class PostgresServer:
    """A running cluster; its only user is `tester`, who needs the password."""

    port: int
    password: str
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres", password: str | None = None) -> str:
        """The URL of a database, with this driver and another password if wanted."""
        secret = self.password if password is None else password
        return f"postgresql+psycopg2://tester:{secret}@127.0.0.1:{self.port}/{database}"

    def cpu_seconds(self) -> float:
        """What the server has used, without the processes of sessions that are still open."""
        # Behind the name in brackets: utime, stime, and those of children that have ended.
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def new_database(self, template: str = "template1") -> str:
        """The URL of a new database, empty or a copy of another one that nobody is connected to."""
        name = f"t{uuid.uuid4().hex}"
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Removes a database, whoever is connected to it."""
        self._run(f'DROP DATABASE "{url.rpartition("/")[2]}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        import psycopg2

        connection = psycopg2.connect(self.url().replace("+psycopg2", ""))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A server on a free port, run by somebody without rights where the tests are root's."""
    pytest.importorskip("psycopg2")
    programs = newest_programs()
    if programs is None:
        pytest.skip(f"no Postgres found below {_BINARIES} or on the path; install Debian's postgresql")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        with running(programs, folder) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def ledger_template(postgres: PostgresServer) -> str:
    """The name of a database with the tables of a ledger: copying it is faster than making them."""
    from pyro_assets.ledger.database import Ledger

    url = postgres.new_database()
    Ledger.open(url).close()
    return url.rpartition("/")[2]


@pytest.fixture
def postgres_ledger_url(postgres: PostgresServer, ledger_template: str) -> Iterator[str]:
    """The URL of an empty ledger."""
    url = postgres.new_database(ledger_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    url = postgres.new_database()
    yield url
    postgres.drop_database(url)


def newest_programs() -> Path | None:
    """The folder of `initdb` and `postgres`, which Debian keeps off the path."""
    found = [path.parent for path in _BINARIES.glob("*/bin/postgres") if path.with_name("initdb").exists()]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def running(programs: Path, folder: Path) -> Iterator[PostgresServer]:
    """Run a cluster in an empty folder."""
    # Postgres refuses to run as root.
    account = _account() if os.geteuid() == 0 else None
    as_user: dict[str, Any] = {}
    password = uuid.uuid4().hex
    secret = folder / "password"
    secret.write_text(password)
    if account is not None:
        as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        for path in (folder, secret):
            os.chown(path, account.pw_uid, account.pw_gid)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    make: list[str | Path] = [
        programs / "initdb", "-D", folder / "data", "-U", "tester", "--pwfile", secret,
        "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C",
    ]  # fmt: skip
    run: list[str | Path] = [programs / "postgres", "-D", folder / "data", "-k", folder]
    run += ["-h", "127.0.0.1", "-p", str(port), *(f"--{name}={value}" for name, value in _SETTINGS.items())]
    log_path = folder / "log"
    with log_path.open("ab") as log:
        made = subprocess.run(make, stdout=log, stderr=log, cwd=folder, **as_user)
        assert made.returncode == 0, f"initdb failed: {log_path.read_text()}"
        process = subprocess.Popen(run, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder, **as_user)
    server = PostgresServer(port, password, process)
    try:
        _wait(server, log_path)
        yield server
    finally:
        # A fast shutdown ends sessions that a failed test left open.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)


def _wait(server: PostgresServer, log_path: Path) -> None:
    import psycopg2

    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            psycopg2.connect(server.url().replace("+psycopg2", "")).close()
        except psycopg2.OperationalError as error:
            assert server.process.poll() is None, f"it ended at once: {log_path.read_text()}"
            assert time.monotonic() < deadline, f"not ready after {_READY_SECONDS} s ({error}): {log_path.read_text()}"
            time.sleep(0.05)
        else:
            return


def _account() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("no account without rights was found to run Postgres as")
