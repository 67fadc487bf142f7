"""`pyro-assets series`: the series of an archive as lines of JSON, or as a table where a person looks.

Add a filter when a person needs one; files of series are read by `pyro_assets.series.frame`.
"""

import fnmatch
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.options import archive_option
from pyro_assets.cli.output import is_terminal, show_table, time_text
from pyro_assets.errors import ObjectMissing, SeriesError
from pyro_assets.storage.keys import SERIES, hour_from_path, hour_path, parse_series_name, series_prefix

if TYPE_CHECKING:
    import polars as pl

    from pyro_assets.archive.table import ArchiveTable
    from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket

_TRIES = 3


@click.command()
@archive_option
@click.option("--kind", help="Series of this kind only: dimension or function.")
@click.option("--hour", "hours", multiple=True, metavar="HOUR", help="This hour of creation only, 2026-11-25-13:00.")
@click.option("--tenant", "tenants", multiple=True, metavar="NAME", help="This tenant only.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="This metric only; * and ? are wild cards.")
@click.option("--rule", "rules", multiple=True, metavar="NAME", help="Series of this rule only.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows of the table; the newest.")
@click.option("--json/--table", "as_json", default=None, help="Lines of JSON or a table.  [default: by stdout]")
def series(
    archive_url: str,
    kind: str | None,
    hours: tuple[str, ...],
    tenants: tuple[str, ...],
    metrics: tuple[str, ...],
    rules: tuple[str, ...],
    limit: int,
    as_json: bool | None,
) -> None:
    """Print the series of an archive.

    Oldest first; hours, tenants, metrics and rules may be named several times. On a terminal a table of the newest,
    otherwise one JSON object a line: tenant, labels with __name__, timestamp_ms and value.
    """
    paths = {_hour_path(hour) for hour in hours}
    from pyro_assets.series.frame import json_lines
    from pyro_assets.storage.bucket import open_bucket

    unreadable: list[str] = []
    frames = _frames(open_bucket(archive_url), kind, paths, {"tenant": tenants, "rule": rules}, metrics, unreadable)
    if as_json if as_json is not None else not is_terminal():
        count = 0
        for frame in frames:
            count += len(frame)
            for line in json_lines(frame):
                click.echo(line)
    else:
        count = _show(frames, limit)
    if not count:
        click.echo(f"no such series in {archive_url}", err=True)
    if unreadable:
        raise click.ClickException(f"{len(unreadable)} files could not be read: {unreadable[0]}")


def _hour_path(hour: str) -> str:
    """An hour as it stands in keys; people may write it either way."""
    try:
        return hour_path(hour)
    except ValueError:
        pass
    try:
        return hour_path(hour_from_path(hour))
    except ValueError:
        raise click.BadParameter(f"{hour!r} is no hour such as 2026-11-25-13:00", param_hint="--hour") from None


def _frames(
    bucket: "ReadOnlyBucket",
    kind: str | None,
    hours: set[str],
    exactly: "Mapping[str, tuple[str, ...]]",
    metrics: tuple[str, ...],
    unreadable: list[str],
) -> "Iterator[pl.DataFrame]":
    """What passes the filters, file by file, by hour and kind; a damaged file is told in `unreadable`."""
    import polars as pl

    from pyro_assets.archive.table import ArchiveTable

    folders = _folders(bucket)
    table = ArchiveTable(bucket)
    in_table = table.files()
    for place in _places(folders, in_table, kind, hours):
        for frame in _place(bucket, table, in_table, place, unreadable):
            passed = frame
            for column, values in exactly.items():
                passed = passed.filter(pl.col(column).is_in(values)) if values else passed
            if metrics:
                names = passed["metric"].unique().to_list()
                wanted = [name for name in names if any(fnmatch.fnmatchcase(name, metric) for metric in metrics)]
                passed = passed.filter(pl.col("metric").is_in(wanted))
            if len(passed):
                yield passed


def _place(
    bucket: "ReadOnlyBucket",
    table: "ArchiveTable",
    in_table: "dict[str, list[ObjectInfo]]",
    place: tuple[str, str],
    unreadable: list[str],
) -> "Iterator[pl.DataFrame]":
    """The series of an hour and kind, file by file: those of the table, or those of jobs where it has none of the hour.

    Where the hour enters the table meanwhile, or is replaced, each job is seen once.
    """
    from pyro_assets.archive.table import keys_of
    from pyro_assets.series.files import CurrentFile, current_files, parquet_to_series, without_jobs

    hour, kind = place
    seen: set[str] = set()
    told: set[str] = set()
    for left in reversed(range(_TRIES)):
        if hour in in_table:
            files = [CurrentFile(key) for key in keys_of(in_table[hour], kind)]
        else:
            files = current_files(item.key for page in bucket.pages(series_prefix(kind, hour)) for item in page)
        try:
            for file in files:
                if file.key in told or parse_series_name(file.key)[0] in seen:
                    continue
                try:
                    frame = parquet_to_series(bucket.read(file.key), file.key)
                except SeriesError as error:
                    unreadable.append(str(error))
                    told.add(file.key)
                    continue
                yield without_jobs(frame, file.without | seen).sort("timestamp_ms", maintain_order=True)
                seen.update(frame["job"].unique())
            if files:
                return
        except ObjectMissing:
            if not left:
                raise
        in_table.update(table.files())


def _folders(bucket: "ReadOnlyBucket") -> set[tuple[str, str]]:
    """Hours (partition keys) and kinds of which jobs have files."""
    return {
        (hour_from_path(hour.removeprefix("hour=")), kind.removeprefix("kind="))
        for kind in bucket.list_folder(f"{SERIES}/").folders
        for hour in bucket.list_folder(f"{SERIES}/{kind}/").folders
    }


def _places(
    folders: set[tuple[str, str]], in_table: "dict[str, list[ObjectInfo]]", kind: str | None, hours: set[str]
) -> list[tuple[str, str]]:
    """Hours and kinds of which there are series and that are asked for, in this order."""
    from pyro_assets.series.files import parse_series_key

    found = folders | {(hour, parse_series_key(file.key)[0]) for hour, files in in_table.items() for file in files}
    return sorted((hour, one) for hour, one in found if kind in (None, one) and (not hours or hour_path(hour) in hours))


def _show(frames: "Iterator[pl.DataFrame]", limit: int) -> int:
    """A table of the newest series; tells how many there are in all."""
    import polars as pl

    count, newest = 0, None
    for frame in frames:
        count += len(frame)
        both = frame if newest is None else pl.concat([newest, frame])
        newest = both.sort("timestamp_ms", maintain_order=True).tail(limit)
    if newest is not None:
        header = ["time (UTC)", "tenant", "value", "metric", "labels"]
        show_table(header, [_row(row) for row in newest.iter_rows(named=True)])
        if count > limit:
            click.echo(f"\nthe newest {limit:,} of {count:,} series; --limit or a filter shows others")
    return count


def _row(row: dict[str, Any]) -> list[Any]:
    labels = ", ".join(f"{label['name']}={label['value']}" for label in row["labels"])
    value = row["value"] if row["value_int"] is None else row["value_int"]
    return [time_text(row["timestamp_ms"]), row["tenant"], value, row["metric"], labels]
