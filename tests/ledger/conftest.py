"""A ledger of its own for each test: SQLite in a folder, and Postgres where services are tested."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import ledger_file

from pyro_assets.ledger.ledger import Ledger


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return ledger_file(tmp_path / "ledger.db")
    return str(request.getfixturevalue("postgres_ledger_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """For what only SQLite can show, such as its plans."""
    opened = Ledger.open(ledger_file(tmp_path / "ledger.db"))
    yield opened
    opened.close()
