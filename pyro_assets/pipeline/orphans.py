"""Blocks of the archive that no commit record names: a crash came between them and their record.

Nobody reads them, and a job that is done again writes its own anew, so they only take room. Add what else a crash may
leave where a listing shows it; unfinished files are the bucket's own business.
"""

from collections.abc import Iterator
from itertools import chain
from typing import Final

from pyro_assets.errors import NotABlockKey
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.pipeline.record import read_records
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import BLOCKS, COMMITS, HOUR_MS, hour_path, parse_block_key
from pyro_assets.storage.ulid import first_ulid

#: Blocks of this time are looked at; whoever looks every day sees each several times.
_SPAN_MS: Final = 7 * 24 * HOUR_MS


def orphaned_blocks(
    archive: ReadOnlyBucket, ledger: Ledger, now_ms: int, before_ms: int, span_ms: int = _SPAN_MS
) -> Iterator[ObjectInfo]:
    """Blocks of [before_ms - span_ms, before_ms) that are in no commit record, of hours in which no job is open.

    Costs a request per thousand blocks; commit records are read only of hours that seem to have such blocks.

    Raises:
        StorageError: the archive does not answer, or a record is damaged.
    """
    known: dict[str, set[str] | None] = {}
    recorded: dict[tuple[str, int], set[str]] = {}
    for item in _blocks(archive, max(before_ms - span_ms, 0), before_ms):
        block = parse_block_key(item.key)
        if block.hour not in known:
            known[block.hour] = ledger.committed_blocks(block.hour, now_ms)
        of_hour = known[block.hour]
        if of_hour is None or item.key in of_hour:
            continue
        place = (block.hour, block.shard)
        if place not in recorded:
            recorded[place] = _recorded(archive, *place)
        if item.key not in recorded[place]:
            yield item


def _blocks(archive: ReadOnlyBucket, begin_ms: int, end_ms: int) -> Iterator[ObjectInfo]:
    for shard in archive.list_folder(f"{BLOCKS}/").folders:
        for tenant in archive.list_folder(f"{BLOCKS}/{shard}/").folders:
            prefix = f"{BLOCKS}/{shard}/{tenant}/"
            after, end = f"{prefix}{first_ulid(begin_ms)}", f"{prefix}{first_ulid(end_ms)}"
            for item in chain.from_iterable(archive.pages(prefix, after)):
                if item.key >= end:
                    break
                if _is_block(item.key):
                    yield item


def _is_block(key: str) -> bool:
    try:
        parse_block_key(key)
    except NotABlockKey:
        return False
    return True


def _recorded(archive: ReadOnlyBucket, hour: str, shard: int) -> set[str]:
    records = read_records(archive, f"{COMMITS}/{hour_path(hour)}/{shard}/")
    return {output.key for record in records for output in record.outputs}
