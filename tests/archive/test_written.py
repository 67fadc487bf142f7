"""What earlier releases wrote is read by this one: opened, compared, derived again, and the ledger rebuilt, for ever.

Each release adds a folder to `written` (see `writing`); none is ever changed or taken away.
"""

import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_assets.app import App
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.operations import runs, sending, ticks, upkeep
from pyro_assets.operations.decide import left_out
from pyro_assets.rules.stored import StoredRules
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.archive.writing import HOURS, LEDGER, digest_of, opened, series_of
from tests.golden import passport
from tests.support.exports import scripted
from tests.support.scripted_server import scripted_server

WRITTEN = sorted((Path(__file__).parent / "written").iterdir())


@pytest.fixture(params=WRITTEN, ids=lambda folder: folder.name)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what a release wrote, with its ledger as a database."""
    folder: Path = request.param
    shutil.copytree(folder, tmp_path / folder.name)
    with closing(sqlite3.connect(tmp_path / folder.name / "ledger.db")) as database:
        database.executescript((folder / LEDGER).read_text("utf-8"))
    return tmp_path / folder.name


@pytest.fixture
def now_ms() -> list[int]:
    """Two days after the last hour, to begin with."""
    return [hour_start_ms(HOURS[-1]) + 48 * HOUR_MS]


@pytest.fixture
def app(written: Path, now_ms: list[int]) -> Iterator[App]:
    with opened(written, written / "ledger.db", now_ms) as made:
        yield made


def is_as_it_was(folder: Path) -> bool:
    """Whether the series are those that the release wrote."""
    found = re.search(
        r"^(\d+) series, SHA-256 of their lines: (\w+)$", (folder / "PASSPORT.md").read_text(), re.MULTILINE
    )
    assert found is not None
    lines = series_of(folder)
    return (len(lines), digest_of(lines)) == (int(found[1]), found[2])


@pytest.mark.parametrize("folder", WRITTEN, ids=lambda folder: folder.name)
def test_what_was_written_is_there_and_small(folder: Path):
    assert passport.files(folder) == passport.checksums(folder) != {}
    assert sum(size for size, _ in passport.files(folder).values()) < 300_000


def test_nothing_is_damaged_and_nothing_is_left_to_do(app: App, written: Path):
    ticks.tick(app)
    ticks.list_hours(app, HOURS)
    for report in runs.run(app, HOURS, run_id="later").values():
        assert report.run is None or report.run.failed == 0
        assert report.pending == 0
    report = upkeep.scrub(app, hours=HOURS)
    assert report.objects > 10
    assert (report.damaged, report.failures) == ([], [])
    assert upkeep.hours_without_blocks(app) == [HOURS[2]]
    # The source that was cut off was let go by a person; the one that vanished was not.
    assert left_out(app.ledger).lost == 1
    assert is_as_it_was(written)


def test_series_are_derived_again_and_enter_the_table(app: App, written: Path, now_ms: list[int]):
    steps = frozenset({"dimension_series", "function_series"})
    reports = runs.run(app, HOURS[1:], steps, run_id="again")
    assert sum(report.run.derived for report in reports.values() if report.run) == 2
    assert is_as_it_was(written)
    now_ms[0] += HOUR_MS
    upkeep.merge_series(app)
    assert not list((written / "archive" / "series").rglob("*.parquet"))
    assert is_as_it_was(written)


def test_nothing_is_sent_twice_by_a_ledger_that_is_rebuilt(written: Path, now_ms: list[int]):
    with scripted_server() as server, opened(written, written / "new.db", now_ms) as base:
        app = replace(base, receivers=lambda: (scripted(server, "local", start=HOURS[0]),))
        report = rebuild(app.ledger, app.archive, now_ms[0])
        assert (report.records, report.damaged) == (3, [])
        of_hour = upkeep.compact_hours(app, [HOURS[1]])[HOURS[1]]
        assert (of_hour.is_done, of_hour.units, of_hour.damaged) == (True, 0, [])
        assert [rule.version for rule in StoredRules(app.ledger).rules()] == [3]
        ticks.tick(app)
        runs.run(app, HOURS, run_id="later")
        sending.export(app, HOURS)
        assert server.requests == []
    assert is_as_it_was(written)
