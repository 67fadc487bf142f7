"""`pyro-assets verify`: every checksum, length and reference of whole objects, checked one by one.

What is checked is decided by the readers of `pyro_assets.block`; here are only words and the exit status.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.objects import bucket_option, fetch, metas_option, read_metas
from pyro_assets.cli.output import show_json, size_text
from pyro_assets.errors import PyroAssetsError

if TYPE_CHECKING:
    from pyro_assets.block.reader import RawObject


@click.command()
@click.argument("keys", nargs=-1, required=True, metavar="KEY...")
@bucket_option
@metas_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line per object.")
def verify(keys: tuple[str, ...], url: str | None, metas_file: Path | None, as_json: bool) -> None:
    """Check every checksum of blocks.

    A KEY is a local file or a key of a bucket. Exit status 1 when one of them fails; the others
    are checked all the same.
    """
    metas = read_metas(metas_file)
    failed = 0
    for key in keys:
        try:
            found = check(fetch(key, url, metas))
        except (PyroAssetsError, OSError) as error:
            failed += 1
            sentence = " ".join(str(error).split())
            if as_json:
                show_json({"key": key, "ok": False, "error": type(error).__name__, "message": sentence}, indent=None)
            click.echo(f"{key}: {sentence}", err=True)
            continue
        if as_json:
            show_json({"key": key, "ok": True, **found}, indent=None)
        else:
            click.echo(
                f"ok  {key}  level {found['level']}, {found['datasets']} datasets, {found['profiles']:,} profiles, "
                f"{found['samples']:,} samples, {size_text(found['bytes'])}"
            )
    if failed:
        raise click.ClickException(f"{failed} of {len(keys)} objects failed")


def check(item: "RawObject") -> dict[str, Any]:
    """Reads everything in an object, dataset indices too, and tells what it holds.

    Raises:
        BlockError: something in it is not what the format says.
    """
    from pyro_assets.block.object import dataset_where, index_section, parse_object
    from pyro_assets.block.reader import read_blocks
    from pyro_assets.block.tsdb.reader import read_series

    meta = parse_object(item.data, item.object_key, item.meta)
    columns = read_blocks([item], isolate=False).columns
    indices = [position for position, dataset in enumerate(meta.datasets) if dataset.format == 1]
    read_series(
        [index_section(item.data, meta, position).tsdb for position in indices],
        [dataset_where(meta.datasets[position], item.object_key, "dataset index") for position in indices],
    )
    return {
        "id": meta.id,
        "level": meta.level,
        "datasets": len(columns.datasets),
        "dataset_indices": len(indices),
        "series": len(columns.series.fingerprint),
        "profiles": len(columns.rows.time_ns),
        "samples": len(columns.rows.value),
        "dangling": int(columns.symbols.dangling.sum()),
        "bytes": len(item.data),
    }
