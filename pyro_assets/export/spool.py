"""Sorting more samples than fit into memory: sorted runs on disk, merged piece by piece.

A run is a Parquet file of lines, sorted by series in byte order and time. Memory is bounded by `MAX_ROWS`, whatever
goes through. What lines mean is not known here.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

#: Lines in memory while a run is made, and again while runs are merged.
MAX_ROWS: Final = 128 * 1024
_FEWEST_ROWS: Final = 512
_MAX_RUNS: Final = 256
_ORDER: Final = [("series", "ascending"), ("timestamp_ms", "ascending")]
_SCHEMA: Final = pa.schema(
    [
        pa.field("series", pa.string()),
        pa.field("timestamp_ms", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("metric", pa.string()),
        pa.field("rule", pa.string()),
    ]
)


class Spool:
    """Collects lines in a folder of its own and gives them back in order.

    Args:
        folder: empty; its files are removed by `close`.
    """

    def __init__(self, folder: Path, max_rows: int = MAX_ROWS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_rows = max_rows
        self._parts: list[Any] = []
        self._rows = 0
        self._runs: list[Path] = []
        self._made = 0

    def add(self, table: Any) -> None:
        """Take lines in any order."""
        for begin in range(0, table.num_rows, self._max_rows):
            part = table.slice(begin, self._max_rows).select(_SCHEMA.names).cast(_SCHEMA)
            if self._rows + part.num_rows > self._max_rows:
                self.flush()
            self._parts.append(part)
            self._rows += part.num_rows

    def sorted(self) -> Iterator[Any]:
        """All lines by series and time, in tables of about `max_rows` lines; equal ones are in the same table."""
        self.flush()
        while len(self._runs) > _MAX_RUNS:  # merge the smallest first
            some, self._runs = self._runs[:_MAX_RUNS], self._runs[_MAX_RUNS:]
            self._write(self._merge(some))
            for run in some:
                run.unlink()
        yield from self._merge(self._runs)

    def close(self) -> None:
        """Remove what is on disk."""
        self._parts, self._rows = [], 0
        for run in self._folder.glob("run-*.parquet"):
            run.unlink()
        self._folder.rmdir()

    @property
    def pending_rows(self) -> int:
        """Lines that are still in memory."""
        return self._rows

    def flush(self) -> None:
        """Write what is in memory as a run."""
        if self._parts:
            self._write(iter([pa.concat_tables(self._parts).sort_by(_ORDER)]))
            self._parts, self._rows = [], 0

    def _write(self, tables: Iterator[Any]) -> None:
        path = self._folder / f"run-{self._made:06d}.parquet"
        self._made += 1
        with pq.ParquetWriter(path, _SCHEMA, compression="zstd", write_statistics=False) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=_FEWEST_ROWS * 16)
        self._runs.append(path)

    def _merge(self, paths: list[Path]) -> Iterator[Any]:
        """Merge runs: as much as is certainly complete of all of them at a time, sorted again."""
        rows = max(_FEWEST_ROWS, self._max_rows // max(1, len(paths)))
        runs = [_Run(path, rows) for path in paths]
        try:
            carried: Any = None
            while sum([run.refill() for run in runs]):  # all of them, not up to the first that has some
                # Whatever is not loaded yet is not smaller than the smallest last line of a run that has more.
                last = min((run.last for run in runs if run.has_more), default=None)
                taken = [run.take(last) for run in runs]
                merged = pa.concat_tables([*([carried] if carried is not None else []), *taken]).sort_by(_ORDER)
                # Lines equal to the last one may still come from a run's next piece: they wait for it.
                cut = merged.num_rows if last is None else _Run.position(merged, last, before=True)
                carried = merged.slice(cut).combine_chunks()
                if cut:
                    yield merged.slice(0, cut)
            if carried is not None and carried.num_rows:
                yield carried
        finally:
            for run in runs:
                run.close()


class _Run:
    """One sorted run, of which a piece is loaded."""

    def __init__(self, path: Path, rows: int) -> None:
        self._file: Any = pq.ParquetFile(path)
        self._batches: Any = self._file.iter_batches(rows, use_threads=False)
        self._next: Any = next(self._batches, None)
        self._table: Any = _SCHEMA.empty_table()

    @property
    def has_more(self) -> bool:
        """Whether lines are left that are not loaded."""
        return self._next is not None

    @property
    def last(self) -> tuple[str, int]:
        """Series and time of the last loaded line."""
        end = self._table.num_rows - 1
        return self._table["series"][end].as_py(), self._table["timestamp_ms"][end].as_py()

    def refill(self) -> bool:
        """Load the next piece where nothing is loaded; whether anything is."""
        while not self._table.num_rows and self._next is not None:
            self._table = pa.Table.from_batches([self._next])
            self._next = next(self._batches, None)
        return bool(self._table.num_rows)

    def take(self, last: tuple[str, int] | None) -> Any:
        """Remove and return the lines up to and including `last`, all of them for None."""
        cut = self._table.num_rows if last is None else self.position(self._table, last)
        taken, self._table = self._table.slice(0, cut), self._table.slice(cut)
        return taken

    @staticmethod
    def position(table: Any, line: tuple[str, int], *, before: bool = False) -> int:
        """How many lines of a sorted table are not greater than `line`, or smaller than it."""
        low, high = 0, table.num_rows
        series, times = table["series"], table["timestamp_ms"]
        while low < high:
            middle = (low + high) // 2
            here = (series[middle].as_py(), times[middle].as_py())
            # Text is compared as bytes, as Arrow sorts it.
            mine, other = (here[0].encode(), here[1]), (line[0].encode(), line[1])
            if mine < other or (mine == other and not before):
                low = middle + 1
            else:
                high = middle
        return low

    def close(self) -> None:
        """Close the file."""
        self._file.close()
