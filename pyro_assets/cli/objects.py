"""Objects that a command names: local files or keys of a bucket, with metadata from outside for old blocks.

Add a way to name an object here, so that `inspect` and `verify` keep the same rules.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.errors import ObjectMissing, StorageError
from pyro_assets.resources.environment import Environment
from pyro_assets.settings import variable

if TYPE_CHECKING:
    from pyro_assets.block.metadata import BlockMeta
    from pyro_assets.block.reader import RawObject


def metas_option(command: Any) -> Any:
    """`--metas FILE`: metadata of blocks from before footers."""
    return click.option(
        "--metas",
        "metas_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="JSON list of BlockMeta messages, for blocks from before footers; matched by id.",
    )(command)


def bucket_option(command: Any) -> Any:
    """`--url`: the bucket that keys belong to."""
    return click.option(
        "--url",
        metavar="URL",
        help=f"The bucket of the keys.  [default: {variable('source_url')}, then {variable('archive_url')}]",
    )(command)


def fetch(name: str, url: str | None, metas: "Mapping[str, BlockMeta]") -> "RawObject":
    """Reads a whole object: the local file `name`, or the key `name` of a bucket.

    Raises:
        ObjectMissing: neither exists.
    """
    from pyro_assets.block.reader import RawObject
    from pyro_assets.storage.bucket import open_bucket

    meta = next((meta for block_id, meta in metas.items() if block_id in name.split("/")), None)
    if Path(name).is_file():
        return RawObject(name, Path(name).read_bytes(), meta)
    places = Environment()
    urls = [url] if url else [places.source_url, places.archive_url]
    for place in urls:
        try:
            return RawObject(name, open_bucket(place).read(name), meta)
        except StorageError:
            # The last bucket's answer counts, except where it only says that it is not there.
            if place == urls[-1] and "://" in place:
                raise
    raise ObjectMissing(
        f"{name} is neither a file nor a key of {' or '.join(urls)}; name the bucket by --url", key=name
    )


def read_metas(path: Path | None) -> "dict[str, BlockMeta]":
    """Metadata by block id from a file of `--metas`; empty without one."""
    if path is None:
        return {}
    from pyro_assets.block.metadata import metadata_from_dict
    from pyro_assets.errors import Where

    try:
        listed = json.loads(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path} is not JSON: {error}") from error
    if not isinstance(listed, list) or not all(isinstance(fields, dict) for fields in listed):
        raise click.ClickException(f"{path} must be a list of BlockMeta messages")
    metas = [metadata_from_dict(fields, Where(str(path), "metadata")) for fields in listed]
    return {meta.id: meta for meta in metas}
