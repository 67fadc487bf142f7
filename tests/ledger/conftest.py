"""A ledger of its own for each test: SQLite in a folder, or whatever database a variable names (emptied first)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from pyro_assets.ledger import schema
from pyro_assets.ledger.database import parse_ledger_url
from pyro_assets.ledger.ledger import Ledger


@pytest.fixture
def ledger_url(tmp_path: Path) -> str:
    url = os.environ.get("PYRO_ASSETS_TEST_LEDGER_URL")
    if url is None:
        return str(tmp_path / "ledger.db")
    engine = create_engine(parse_ledger_url(url))
    schema.metadata.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()
