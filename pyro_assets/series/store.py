"""Series as Parquet and back, and as lines of JSON for people and scripts.

One file holds one kind of one job (of all jobs, once an hour is over: `merged`), under `series/kind=.../hour=.../`, so
that any tool reads kind and hour from the path. Bytes go in and out here; listing, reading and writing objects belongs
to the callers.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.errors import SeriesError
from pyro_assets.series.frame import SCHEMA, to_polars
from pyro_assets.series.sealing import CHECKED_PAGES, add_notes, damage, notes_in, open_checked, sealed
from pyro_assets.storage.keys import hour_from_path

if TYPE_CHECKING:
    import polars as pl

_ROWS_PER_GROUP: Final = 64 * 1024
_NOTHING: Final[Mapping[str, str]] = {}


def series_to_parquet(frame: "pl.DataFrame", notes: Mapping[str, str] = _NOTHING) -> bytes:
    """Write series as one Parquet file; equal frames and notes give equal bytes with the same pyarrow version.

    Args:
        frame: the columns of `Derived.frames`.
        notes: texts for the file's metadata.
    """
    table = frame.to_arrow().select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        # On files of some kilobytes zstd would save 5 % and double the time.
        compression="snappy",
        use_dictionary=["tenant", "metric", "labels.list.element.name", "labels.list.element.value", "rule", "job"],
        write_statistics=["tenant", "metric", "timestamp_ms", "rule"],
        store_schema=False,
        **CHECKED_PAGES,
    ) as writer:
        writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
        add_notes(writer, dict(notes))
    return sealed(sink.getvalue())


def read_notes(data: bytes | memoryview, name: str = "<memory>") -> tuple[int, dict[str, str]]:
    """How many series a file has, and the texts of its metadata.

    Raises:
        DamagedSeries: it is no Parquet file, or not the one that was written.
    """
    file = open_checked(data, name)
    with damage(name):
        return int(file.metadata.num_rows), notes_in(file)


def parquet_to_series(data: bytes | memoryview, name: str = "<memory>") -> "pl.DataFrame":
    """Read one file of series.

    Args:
        data: the whole file.
        name: its key, for messages.

    Raises:
        DamagedSeries: it is no Parquet file, has not the columns of series, or is not what was written.
    """
    file = open_checked(data, name)
    with damage(name):
        table = file.read(columns=SCHEMA.names, use_threads=False)
        return to_polars(table.select(SCHEMA.names).cast(SCHEMA).combine_chunks())


def read_series(files: Iterable[tuple[str, bytes]]) -> "pl.DataFrame":
    """Read files of an archive into one frame.

    Args:
        files: keys and contents.

    Returns:
        The columns of series, and kind and hour (a partition key such as "2026-11-25-09:00") from each file's path;
        in the order of the files.

    Raises:
        SeriesError: a key or a file is not one of series; names it.
    """
    import polars as pl

    frames = [to_polars(SCHEMA.empty_table()).with_columns(_text("", "kind"), _text("", "hour"))]
    for key, data in files:
        kind, hour = parse_series_key(key)
        frames.append(parquet_to_series(data, key).with_columns(_text(kind, "kind"), _text(hour, "hour")))
    return pl.concat(frames)


def parse_series_key(key: str) -> tuple[str, str]:
    """Kind and hour (a partition key) of a file of series.

    >>> parse_series_key("series/kind=dimension/hour=2026-11-25T09/ab12.parquet")
    ('dimension', '2026-11-25-09:00')

    Raises:
        SeriesError: it is another kind of key.
    """
    parts = dict(part.split("=", 1) for part in key.split("/")[:-1] if "=" in part)
    try:
        return parts["kind"], hour_from_path(parts["hour"])
    except (KeyError, ValueError):
        raise SeriesError(f"{key!r} names no file of series; expected series/kind=.../hour=.../JOB.parquet") from None


def json_lines(frame: "pl.DataFrame") -> Iterator[str]:
    r"""Series as JSON objects, one a line, without the newline.

    Each has labels (with `__name__`), tenant, timestamp_ms and value (the exact integer where it is one), by key.

    Args:
        frame: at least the columns tenant, metric, labels, timestamp_ms, value and value_int.
    """
    columns = [frame[name].to_list() for name in ("tenant", "metric", "labels", "timestamp_ms", "value", "value_int")]
    for tenant, metric, labels, timestamp_ms, rounded, exact in zip(*columns, strict=True):
        value = rounded if exact is None else exact
        named = {"__name__": metric} | {label["name"]: label["value"] for label in labels}
        yield json.dumps(
            {"labels": named, "tenant": tenant, "timestamp_ms": timestamp_ms, "value": value}, sort_keys=True
        )


def _text(value: str, name: str) -> "pl.Expr":
    import polars as pl

    return pl.lit(value, dtype=pl.String).alias(name)
