"""What every test may use: the folders of golden data, a ledger and a world of its own."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from pyro_assets.ledger.database import Ledger

# A session's only Postgres: fixtures of other servers are imported where they are used.
from tests.support.postgres_server import ledger_template, postgres, postgres_ledger_url, postgres_url
from tests.support.worlds import World

TESTS = Path(__file__).parent

__all__ = ["ledger_template", "postgres", "postgres_ledger_url", "postgres_url"]

# Every run of the tests asks the same; `make nightly` looks further.
settings.register_profile(
    "ci", max_examples=16, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# Databases and archives of tests need not survive a power failure: in memory no flush waits for a disk.
_MEMORY = Path("/dev/shm")
if "TMPDIR" not in os.environ and _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 4 << 30:
    os.environ["TMPDIR"] = tempfile.tempdir = str(_MEMORY)


def pytest_collection_finish() -> None:
    """Keeps what was imported out of garbage collections, which the slow models of the tests cause many of."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def shared_data_root() -> Path:
    """The folder of real objects that may be read but not committed: beside the checkout, or as the variable says."""
    return Path(os.environ.get("PYRO_ASSETS_TEST_DATA", TESTS.parent.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that is not ours to commit; tests are skipped where it is absent."""
    root = shared_data_root()
    if not root.is_dir():
        pytest.skip(f"real data not found at {root}; set PYRO_ASSETS_TEST_DATA")
    return root


@pytest.fixture(scope="session")
def bucket_2026(shared_data: Path) -> Path:
    """The whole bucket of our own program: 342 segments, 31 level-1 blocks, recorded samples."""
    return shared_data / "bucket-2026"


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A ledger of its own for each test: SQLite in a folder, and Postgres where services are tested."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.db")
    return str(request.getfixturevalue("postgres_ledger_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    opened = Ledger.open(ledger_url)
    yield opened
    opened.close()


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Iterator[Ledger]:
    """For what only SQLite can show, such as its plans."""
    opened = Ledger.open(str(tmp_path / "ledger.db"))
    yield opened
    opened.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()
