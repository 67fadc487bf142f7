"""Whether everything that was made came out: the archive's series against the generator's manifest, exactly.

The series are read with plain Polars, as any user would; what is right is decided in `generator.check`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pyro_assets.generator.check import Discrepancy, compare
from pyro_assets.generator.manifest import read_manifest
from pyro_assets.series.files import ROW, current_files, without_jobs
from pyro_assets.storage.keys import TABLE

_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Proof:
    """What was compared, and every difference."""

    segments: int
    jobs: int
    series: int
    differences: tuple[Discrepancy, ...]

    @property
    def equal(self) -> bool:
        """Whether anything was made, all of it was processed, and every value is what it must be."""
        return self.segments > 0 and self.jobs > 0 and self.series > 0 and not self.differences


def prove(archive: Path, manifest: Path, functions: Mapping[str, str]) -> Proof:
    """Compare all series of an archive with all that a manifest says.

    Args:
        archive: a folder.
        manifest: of the generator; it may still be written to.
        functions: selector by function, as configured.
    """
    made = read_manifest(manifest)
    commits = read_commits(archive)
    series = read_series(archive)
    differences = compare(made, series, commits, functions)
    return Proof(len(made.segments), len(commits), len(series), tuple(differences))


def read_commits(archive: Path) -> list[dict[str, Any]]:
    """All commit records of an archive."""
    return [json.loads(path.read_bytes()) for path in sorted((archive / "commits").rglob("*.json"))]


def read_series(archive: Path) -> Any:
    """All series of an archive as a Polars frame, newest last; empty if there are none."""
    import polars as pl

    for left in reversed(range(_TRIES)):
        try:
            frames = list(_current_frames(archive))
            break
        except FileNotFoundError:
            # In the table since it was listed.
            if not left:
                raise
    if not frames:
        return pl.DataFrame()
    return pl.concat(frames, how="diagonal").sort("timestamp_ms", "tenant", "metric", maintain_order=True)


def _current_frames(archive: Path) -> Iterator[Any]:
    import polars as pl

    # Upkeep moves the files of an hour that is over into the table: an hour counts by one or the other. Listed first,
    # so that an hour that is moved meanwhile is seen.
    files = current_files(map(str, (archive / "series").rglob("*.parquet")))
    closed: set[str] = set()
    if (archive / TABLE / "_delta_log").is_dir():
        table = pl.scan_delta(str(archive / TABLE)).drop(ROW).collect()
        closed = set(table["hour"].unique())
        yield table
    for file in files:
        if Path(file.key).parent.name.removeprefix("hour=") not in closed:
            frame = pl.read_parquet(file.key, hive_partitioning=True)
            yield without_jobs(frame, file.without)
