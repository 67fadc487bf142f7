"""What the demo's proof reads while upkeep goes on."""

from collections.abc import Iterator
from pathlib import Path, PosixPath

import polars as pl
import pytest

from pyro_assets.demo.proof import read_series

FOLDER = "series/kind=dimension/hour=2026-11-25T09"


def write(archive: Path, job: str, name: str) -> None:
    (archive / FOLDER).mkdir(parents=True, exist_ok=True)
    row = {"tenant": ["t"], "metric": ["m"], "timestamp_ms": [1], "value": [2.0], "job": [job]}
    pl.DataFrame(row).write_parquet(archive / FOLDER / name)


class Changing(PosixPath):
    """A folder whose files are replaced by newer ones after each of so many listings."""

    left = 0

    def rglob(self, pattern: str) -> Iterator[Path]:  # type: ignore[override]
        found = list(super().rglob(pattern))
        if type(self).left:
            type(self).left -= 1
            (newest,) = (path for path in found if path.name.startswith("b"))
            newest.rename(newest.with_name(f"b-{9 - self.left:06}.parquet"))
        return iter(found)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_files_that_are_replaced_after_the_listing_are_listed_again(tmp_path: Path, times: int):
    write(tmp_path, "a", "a.parquet")
    write(tmp_path, "b", "b.parquet")
    Changing.left = times
    assert sorted(read_series(Changing(tmp_path))["job"]) == ["a", "b"]
    assert Changing.left == 0


def test_files_that_are_gone_again_and_again_are_an_error(tmp_path: Path):
    write(tmp_path, "b", "b.parquet")
    Changing.left = 9
    with pytest.raises(FileNotFoundError):
        read_series(Changing(tmp_path))


def test_an_archive_without_series(tmp_path: Path):
    assert read_series(tmp_path).is_empty()
