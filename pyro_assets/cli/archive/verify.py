"""`pyro-assets verify`: every checksum, length and reference of whole objects, checked one by one; or the archive.

What is checked is decided by the readers of `pyro_assets.block`; here are only words and the exit status.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.objects import bucket_option, fetch, metas_option, read_metas
from pyro_assets.cli.options import archive_option, config_option, ledger_option, source_option
from pyro_assets.cli.output import show_json, size_text
from pyro_assets.cli.times import check_span, span_options
from pyro_assets.errors import PyroAssetsError

if TYPE_CHECKING:
    from pyro_assets.block.reader import RawObject


@click.command()
@click.argument("keys", nargs=-1, metavar="[KEY...]")
@bucket_option
@metas_option
@click.option("--archive", "whole", is_flag=True, help="Compare the archive with what was written, at once.")
@span_options()
@click.option("--repair", is_flag=True, help="With --archive: put back what can be put back.")
@source_option
@archive_option
@ledger_option
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line per object; one document with --archive.")
def verify(
    keys: tuple[str, ...],
    url: str | None,
    metas_file: Path | None,
    whole: bool,
    begin_ms: int | None,
    end_ms: int | None,
    repair: bool,
    source_url: str,
    archive_url: str,
    ledger_url: str,
    config_path: str,
    as_json: bool,
) -> None:
    """Check every checksum of blocks, or with --archive all that the archive holds.

    A KEY is a local file or a key of a bucket. Exit status 1 when one of them fails; the others
    are checked all the same.

    With --archive, blocks, commit records, series, receipts and rules are read and compared with what
    the ledger says was written: of all hours that are over, or of those between --from and --to.
    --repair writes records again from the ledger, compacts blocks again while their sources live, and
    derives series again. Exit status 1 when anything is damaged (still).
    """
    check_span(begin_ms, end_ms)
    if whole == bool(keys):
        raise click.UsageError("name objects to check, or the whole archive by --archive")
    if not whole and (repair or (begin_ms, end_ms) != (None, None)):
        raise click.UsageError("--from, --to and --repair belong to --archive")
    if whole:
        from pyro_assets.cli.archive.verify_archive import verify_archive

        verify_archive(
            source_url, archive_url, ledger_url, config_path, begin_ms, end_ms, repair=repair, as_json=as_json
        )
        return
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
        [index_section(item.data, meta, position) for position in indices],
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
