"""A world whose series are real Parquet files, for tests of what is done to these files.

`values` is what a reader of the archive sees who only lists files; `sums` what the ledger's readers see.
"""

import shutil
from pathlib import Path
from typing import Any, Self

import polars as pl

from pyro_assets.archive.table import ArchiveTable
from pyro_assets.export.samples import Samples, samples_of
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.series.files import (
    current_files,
    parquet_to_series,
    parse_series_key,
    series_to_parquet,
    to_polars,
    without_jobs,
)
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.interface import DeltaPlace
from pyro_assets.storage.keys import HOUR_MS, TABLE
from tests.support import fakes
from tests.support.ledgers import HOUR, HOUR_START_MS
from tests.support.worlds import SETTINGS, World

#: When the hour of a world is over.
OVER_MS = HOUR_START_MS + HOUR_MS + SETTINGS.settle_ms

Row = tuple[str, str, int, float]


class ParquetEngine(fakes.TextEngine):
    """The engine of text with files of series as they really are."""

    def derive(self, columns: Any, job: Any, config: Any, kinds: frozenset[str]) -> Any:
        derived = super().derive(columns, job, config, kinds)
        for kind, rows in derived.frames.items():
            plain = [
                {
                    "tenant": row["tenant"],
                    "metric": f"of_{kind}",
                    "labels": [],
                    "timestamp_ms": row["time"],
                    "value": float(row["value"] + (1000 if config.name == "other" else 0)),
                    "value_int": row["value"] + (1000 if config.name == "other" else 0),
                    "rule": row["by"],
                    "job": row["job"],
                }
                for row in rows
            ]
            derived.frames[kind] = (
                to_polars(SCHEMA.empty_table()).vstack(pl.from_dicts(plain, to_polars(SCHEMA.empty_table()).schema))
                if plain
                else to_polars(SCHEMA.empty_table())
            )
        return derived

    def series_to_parquet(self, frame: Any, *notes: Any) -> bytes:
        self._called("series_to_parquet")
        return series_to_parquet(frame, *notes)


class TableBucket(fakes.MemoryBucket):
    """An archive in memory whose table's log is a folder, as Delta Lake wants it; its files are in both."""

    def __init__(self, folder: Path) -> None:
        super().__init__(url="memory://archive")
        self.folder = folder

    def delta_place(self, folder: str) -> DeltaPlace:
        self._called("delta_place", folder)
        return DeltaPlace(str(self.folder / folder))

    def replace(self, key: str, data: bytes) -> None:
        super().replace(key, data)
        if key.startswith(f"{TABLE}/"):
            path = self.folder / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


class ParquetWorld(World):
    """A world with that engine."""

    def open_archive(self, folder: Path) -> fakes.MemoryBucket:
        archive = TableBucket(folder / "archive")
        self.table = ArchiveTable(archive)
        return archive

    def copy(self, folder: Path) -> Self:
        made = super().copy(folder)
        if (self.folder / "archive").exists():
            shutil.copytree(self.folder / "archive", folder / "archive")
        return made

    def in_table(self, hour: str = HOUR) -> list[str]:
        """Names of the files that the table has of an hour."""
        return [file.key.removeprefix(f"{TABLE}/") for file in self.table.files().get(hour, ())]

    def open(self, config: str = "plain", settings: Any = None) -> Any:
        if not isinstance(self.engine, ParquetEngine):
            self.engine = ParquetEngine()
        return super().open(config, settings)

    def top_folders(self) -> set[str]:
        """Of everything that counts: files that left the table wait for a day."""
        there = {file.key for files in self.table.files().values() for file in files}
        return {key.split("/")[0] for key in self.archive.objects if not key.startswith(f"{TABLE}/") or key in there}

    def names(self, kind: str = "dimension") -> list[str]:
        """Names of the files of a kind, without the folder."""
        return [key.rpartition("/")[2] for key in self._below(f"series/kind={kind}/")]

    def values(self, kind: str = "dimension") -> list[Row]:
        """What somebody sees who has no ledger: an hour counts by the table, or by the files of its jobs."""
        table = self.table.files()
        rows: list[Row] = []
        if table:
            place = self.table.archive.delta_place(TABLE)
            frame = pl.scan_delta(place.url).filter(pl.col("kind") == kind)
            rows += frame.select("job", "tenant", "timestamp_ms", "value").collect().rows()
        listed = [key for key in self._below(f"series/kind={kind}/") if parse_series_key(key)[1] not in table]
        for file in current_files(listed):
            series = parquet_to_series(self.archive.objects[file.key], file.key)
            rows += without_jobs(series, file.without).select("job", "tenant", "timestamp_ms", "value").rows()
        return sorted(rows)

    def ledger_values(self, kind: str = "dimension", ledger: Ledger | None = None) -> list[Row]:
        """What somebody sees who follows the ledger."""
        ledger = ledger if ledger is not None else self.ledger
        reader = SeriesFiles(self.archive, ledger)
        rows: list[Row] = []
        for _, file in FileRecords(ledger).files_between(0, 2**60):
            if file.kind == kind:
                found: Samples = samples_of(reader, file)
                rows += [
                    (file.job_id, found.tenants[tenant], int(time_ms), float(value))
                    for tenant, time_ms, value in zip(found.tenant, found.timestamp_ms, found.value, strict=True)
                ]
        return sorted(rows)


def an_hour(world: ParquetWorld, jobs: int = 4, shards: int = 2) -> list[Any]:
    """Does some jobs of the hour, then it is over; returns what its series are."""
    for number in range(jobs * 3):
        world.segment(-60 + number, f"acme {number}\nbeta 1", shard=number % shards)
    world.clock.forward(10)
    world.tick_and_run()
    world.clock.now_ms = OVER_MS
    values = world.values()
    assert len(values) == 2 * jobs
    assert values == world.ledger_values()
    return values
