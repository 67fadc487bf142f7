"""The table of series: an hour enters, is replaced and leaves by one commit, whoever else writes meanwhile."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from deltalake import DeltaTable

from pyro_assets.archive.table import ArchiveTable, NewFile, keys_of
from pyro_assets.errors import TableUnavailable
from pyro_assets.series.files import JobSeries, write_pieces
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import TABLE, hour_of, hour_start_ms, table_key
from tests.support.s3_server import s3, s3_endpoint

__all__ = ["s3", "s3_endpoint"]

ROOT = Path(__file__).parent.parent.parent
HOUR = "2026-11-25-09:00"
LATER = "2026-11-25-10:00"
NOW_MS = hour_start_ms(HOUR) + 2 * 3_600_000


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.service)])
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bucket]:
    yield open_bucket(request.getfixturevalue("s3") if request.param == "s3" else str(tmp_path), True)


def rows(job: str, values: list[int], hour: str, metric: str = "cpu") -> Any:
    count = len(values)
    columns = {
        "tenant": ["acme"] * count,
        "metric": [metric] * count,
        "labels": [[{"name": "pod", "value": f"pod-{number}"}] for number in range(count)],
        "timestamp_ms": [hour_start_ms(hour) + 5] * count,
        "value": [float(value) for value in values],
        "value_int": values,
        "rule": ["dimensions"] * count,
        "job": [job] * count,
    }
    return pa.table(columns, schema=SCHEMA)


def put(archive: Bucket, hour: str, number: int, values: list[int], kinds: tuple[str, ...] = ("dimension",)) -> Any:
    """Files of an hour, written but in no table yet."""
    made = []
    for kind in kinds:
        for position, piece in enumerate(write_pieces([JobSeries("a", rows("a", values, hour), {})])):
            key = table_key(kind, hour, number, position)
            archive.replace(key, piece.data)
            made.append(NewFile(key, kind, len(piece.data), piece.rows, piece.smallest, piece.largest))
    return made


def scanned(archive: Bucket) -> list[tuple[str, str, int]]:
    """Kind, hour and value as Polars sees them."""
    place = archive.delta_place(TABLE)
    frame = pl.scan_delta(place.url, storage_options=dict(place.options)).collect()
    return sorted(frame.select("kind", "hour", "value_int").rows())


def test_no_table_yet(archive: Bucket):
    table = ArchiveTable(archive)
    assert (table.why_not, table.files(), table.tidy(apply=True)) == ("", {}, [])
    assert table.replace(HOUR, 1, [], NOW_MS)
    assert table.files() == {}


def test_an_hour_enters_is_replaced_and_leaves(archive: Bucket):
    table = ArchiveTable(archive)
    assert table.replace(HOUR, 1, put(archive, HOUR, 1, [1, 2], ("dimension", "function")), NOW_MS)
    assert table.replace(LATER, 1, put(archive, LATER, 1, [7]), NOW_MS)
    early, late = ("2026-11-25T09", "2026-11-25T10")
    assert scanned(archive) == [
        ("dimension", early, 1), ("dimension", early, 2), ("dimension", late, 7),
        ("function", early, 1), ("function", early, 2),
    ]  # fmt: skip
    files = table.files()
    assert list(files) == [HOUR, LATER]
    assert keys_of(files[HOUR], "function") == [table_key("function", HOUR, 1, 0)]
    assert all(len(archive.get(file.key, file.size_bytes)) for of_hour in files.values() for file in of_hour)

    # Only dimension is there now: both kinds go by the same commit.
    versions = version(archive)
    assert table.replace(HOUR, 2, put(archive, HOUR, 2, [3]), NOW_MS)
    assert scanned(archive) == [("dimension", early, 3), ("dimension", late, 7)]
    assert table.replace(HOUR, 3, [], NOW_MS)
    assert scanned(archive) == [("dimension", late, 7)]
    assert version(archive) == versions + 2


def version(archive: Bucket) -> int:
    place = archive.delta_place(TABLE)
    return DeltaTable(place.url, storage_options=dict(place.options)).version()


def test_whoever_began_earlier_and_comes_later_changes_nothing(archive: Bucket):
    table = ArchiveTable(archive)
    slow = put(archive, HOUR, 1, [1])
    assert table.replace(HOUR, 2, put(archive, HOUR, 2, [2]), NOW_MS)
    assert not table.replace(HOUR, 1, slow, NOW_MS)
    assert scanned(archive) == [("dimension", "2026-11-25T09", 2)]
    # Nor after the hour was removed, though nothing of it is there any more.
    assert table.replace(HOUR, 4, [], NOW_MS)
    assert not table.replace(HOUR, 3, put(archive, HOUR, 3, [3]), NOW_MS)
    # The same once more is done already.
    versions = version(archive)
    assert table.replace(HOUR, 4, [], NOW_MS)
    assert (table.files(), version(archive)) == ({}, versions)


def test_two_that_write_a_new_hour_at_the_same_moment(archive: Bucket, monkeypatch: pytest.MonkeyPatch):
    """The table has nothing of the hour, so that its filter alone would let both in."""
    table = ArchiveTable(archive)
    assert table.replace(LATER, 1, put(archive, LATER, 1, [9]), NOW_MS)
    first, second = put(archive, HOUR, 1, [1]), put(archive, HOUR, 2, [2])
    commit = DeltaTable.create_write_transaction
    met: list[str] = []

    def slow(self: DeltaTable, *args: Any, **kwargs: Any) -> None:
        if not met:
            met.append("another commits between our look and our commit")
            assert table.replace(HOUR, 2, second, NOW_MS)
        commit(self, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", slow)
    assert not table.replace(HOUR, 1, first, NOW_MS)
    assert met
    assert scanned(archive) == [("dimension", "2026-11-25T09", 2), ("dimension", "2026-11-25T10", 9)]

    # The one with the greater number wins in the other order too, after a second look.
    met.clear()
    first, second = put(archive, HOUR, 4, [4]), put(archive, HOUR, 3, [3])

    def slower(self: DeltaTable, *args: Any, **kwargs: Any) -> None:
        if not met:
            met.append("")
            assert table.replace(HOUR, 3, second, NOW_MS)
        commit(self, *args, **kwargs)

    monkeypatch.setattr(DeltaTable, "create_write_transaction", slower)
    assert table.replace(HOUR, 4, first, NOW_MS)
    assert scanned(archive)[0] == ("dimension", "2026-11-25T09", 4)


def test_always_in_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from deltalake.exceptions import CommitFailedError

    archive = open_bucket(str(tmp_path), True)

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise CommitFailedError("met another")

    monkeypatch.setattr(DeltaTable, "create_write_transaction", refuse)
    with pytest.raises(TableUnavailable, match="20 commits of 2026-11-25-09:00 met those of others"):
        ArchiveTable(archive).replace(HOUR, 1, put(archive, HOUR, 1, [1]), NOW_MS)


WRITER = """
import sys
from tests.archive.test_table import ArchiveTable, open_bucket, put, NOW_MS, hour_of
archive, first = open_bucket(sys.argv[1], True), int(sys.argv[2])
done = [ArchiveTable(archive).replace(hour_of(n * 3_600_000), number, put(archive, hour_of(n * 3_600_000), number,
        [number]), NOW_MS) for n in range(6) for number in (first, first + 2)]
print(sum(done))
"""


@pytest.mark.service
def test_two_processes_write_the_same_hours_on_s3(s3: str):
    """Each hour has the rows of one writer, the one with the greatest number, whoever was faster."""
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, s3, first], stdout=subprocess.PIPE, cwd=ROOT)
        for first in ("1", "2")
    ]
    done = [int(writer.communicate(timeout=120)[0]) for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0]
    assert done[1] >= 6  # the greatest number of an hour is refused by nobody
    archive = open_bucket(s3, True)
    hours = [hour_of(n * 3_600_000) for n in range(6)]
    assert [value for _, _, value in scanned(archive)] == [4] * 6
    assert list(ArchiveTable(archive).files()) == hours


def test_read_by_duckdb_and_by_arrow(archive: Bucket):
    table = ArchiveTable(archive)
    table.replace(HOUR, 1, put(archive, HOUR, 1, [1, 2]), NOW_MS)
    table.replace(LATER, 1, put(archive, LATER, 1, [2**53 + 1]), NOW_MS)
    place = archive.delta_place(TABLE)
    dataset = DeltaTable(place.url, storage_options=dict(place.options)).to_pyarrow_dataset()
    with duckdb.connect() as connection:
        connection.register("series", dataset)
        found = connection.execute(
            "SELECT hour, sum(value_int)::BIGINT, any_value(labels[1].value) FROM series "
            "WHERE kind = 'dimension' AND metric = 'cpu' AND timestamp_ms > 0 GROUP BY hour ORDER BY hour"
        ).fetchall()
    assert found == [("2026-11-25T09", 3, "pod-0"), ("2026-11-25T10", 2**53 + 1, "pod-0")]


def test_what_is_left_over_goes_after_a_day_and_not_before(archive: Bucket, monkeypatch: pytest.MonkeyPatch):
    table = ArchiveTable(archive)
    table.replace(HOUR, 1, put(archive, HOUR, 1, [1]), NOW_MS)
    table.replace(HOUR, 2, put(archive, HOUR, 2, [2]), NOW_MS)
    put(archive, HOUR, 3, [3])  # and the process died
    assert table.tidy(apply=True) == []
    monkeypatch.setattr("pyro_assets.archive.table.GRACE_HOURS", 0)
    left = [table_key("dimension", HOUR, number, 0) for number in (1, 3)]
    assert table.tidy(apply=False) == left
    assert scanned(archive) == [("dimension", "2026-11-25T09", 2)]
    assert len(archive.read(left[0]))
    assert table.tidy(apply=True) == left
    keys = [item.key for page in archive.pages(f"{TABLE}/") for item in page]
    assert [key for key in keys if "kind=" in key] == [table_key("dimension", HOUR, 2, 0)]
    assert any("checkpoint" in key for key in keys)
    assert scanned(archive) == [("dimension", "2026-11-25T09", 2)]
    # Its memory of numbers outlives checkpoints.
    assert not table.replace(HOUR, 1, put(archive, HOUR, 1, [1]), NOW_MS)


def test_a_damaged_log_is_told_and_harms_no_file(tmp_path: Path):
    archive = open_bucket(str(tmp_path), True)
    table = ArchiveTable(archive)
    table.replace(HOUR, 1, put(archive, HOUR, 1, [1]), NOW_MS)
    (log,) = (tmp_path / TABLE / "_delta_log").glob("*1.json")
    log.write_text(log.read_text()[:-20])
    for call in (table.files, lambda: table.tidy(apply=True), lambda: table.replace(HOUR, 2, [], NOW_MS)):
        with pytest.raises(TableUnavailable, match="series_table cannot be used"):
            call()
    assert archive.read(table_key("dimension", HOUR, 1, 0))


def test_a_store_that_does_not_answer_is_told(s3_endpoint: str, s3: str, monkeypatch: pytest.MonkeyPatch):
    archive = open_bucket(s3.replace("s3://b", "s3://c"), True)
    with pytest.raises(TableUnavailable, match="series_table cannot be used"):
        ArchiveTable(archive).files()


test_a_store_that_does_not_answer_is_told = pytest.mark.service(test_a_store_that_does_not_answer_is_told)


def test_stores_that_have_no_table():
    archive = open_bucket("memory://somewhere", True)
    table = ArchiveTable(archive)
    assert "memory://" in table.why_not
    assert table.files() == {}
