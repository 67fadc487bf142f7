"""`pyro-assets inspect`: what is in one object, for people or as JSON.

What is told is gathered by `describe.py`; here it is shown.
"""

from pathlib import Path
from typing import Any

import click

from pyro_assets.cli.objects import bucket_option, fetch, metas_option, read_metas
from pyro_assets.cli.options import json_option
from pyro_assets.cli.output import show_json, show_table, size_text, time_text


@click.command()
@click.argument("key")
@bucket_option
@metas_option
@click.option(
    "--top", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Functions per profile type."
)
@click.option("--type", "only_type", metavar="PROFILE_TYPE", help="Series and functions of this profile type only.")
@json_option
def inspect(key: str, url: str | None, metas_file: Path | None, top: int, only_type: str | None, as_json: bool) -> None:
    """Show what is in a block.

    Metadata, datasets, series, and the functions that weigh most, by total and by self. KEY is a local file or
    a key of a bucket.
    """
    from pyro_assets.cli.describe import describe

    found = describe(fetch(key, url, read_metas(metas_file)), top, only_type)
    if as_json:
        show_json(found)
        return
    _show_metadata(found["metadata"])
    _show_datasets(found["datasets"])
    _show_series(found["series"])
    _show_functions(found["functions"])


def _show_metadata(metadata: dict[str, Any]) -> None:
    created = "" if metadata["created_ms"] is None else f", created {time_text(metadata['created_ms'])}"
    tenant = f", tenant {metadata['tenant']}" if metadata["tenant"] else ""
    by = f" by {metadata['created_by']}" if metadata["created_by"] else ""
    click.echo(
        f"{metadata['id']}: level {metadata['level']}, shard {metadata['shard']}{tenant}{created}{by}\n"
        f"{size_text(metadata['size_bytes'])}, profiles from {time_text(metadata['min_time_ms'])} "
        f"to {time_text(metadata['max_time_ms'])} (UTC)\n"
    )


def _show_datasets(datasets: list[dict[str, Any]]) -> None:
    header = ["tenant", "service", "format", "size", "profiles section", "tsdb", "symbols"]
    header += ["series", "profiles", "samples", "stacks", "functions"]
    rows = []
    for one in datasets:
        sections = one["sections_bytes"]
        sizes = [size_text(sections[name]) if name in sections else "" for name in ("profiles", "tsdb", "symbols")]
        counts = [one.get(name) for name in ("series", "profiles", "samples", "stacks", "functions")]
        service = one["service"] or "(dataset index)"
        rows.append([one["tenant"], service, one["format"], size_text(one["size_bytes"]), *sizes, *counts])
    show_table(header, rows)


def _show_series(series: list[dict[str, Any]]) -> None:
    click.echo()
    rows = []
    for one in series:
        public = {name: value for name, value in one["labels"].items() if not name.startswith("__")}
        labels = ", ".join(f"{name}={value}" for name, value in public.items() if name != "service_name")
        kind = one["labels"].get("__profile_type__", "")
        rows.append([one["tenant"], one["service"], kind, labels, one["profiles"], one["samples"], one["total"]])
    show_table(["tenant", "service", "profile type", "labels", "profiles", "samples", "total"], rows)


def _show_functions(groups: list[dict[str, Any]]) -> None:
    for group in groups:
        click.echo(f"\n{group['tenant']} {group['service']} {group['profile_type']}: {group['functions']} functions")
        pairs = zip(group["by_total"], group["by_self"], strict=True)
        rows = [[one["total"], one["function"], other["self"], other["function"]] for one, other in pairs]
        show_table(["total", "by total", "self", "by self"], rows)
