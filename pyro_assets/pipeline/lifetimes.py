"""How long segments live beside a Pyroscope that compacts and deletes them, and what it deleted before we came.

Add another way to find out that sources vanish here. Costs a few requests per shard that is looked at; what is to be
done about it is said by those who ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pyro_assets.errors import NotABlockKey
from pyro_assets.storage.discovery import FoundBlock
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, SEGMENTS, parse_block_key
from pyro_assets.storage.ulid import first_ulid, ulid_time_ms

#: Segments that live shorter than this cannot outlast an outage of ours.
SHORT_LIFE_MS: Final = 6 * 3_600_000
#: A block is at most so much older than the first segment that is left where nothing was deleted.
_SETTLE_MS: Final = 60_000
_PAGE_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long segments live.

    Attributes:
        compacts: there are blocks, so a Pyroscope compacts this bucket.
        deletes: blocks are there whose segments are not.
        life_ms: age of the oldest segment that is left; where some are deleted, about how long they live. None
            without any segment.
    """

    compacts: bool = False
    deletes: bool = False
    life_ms: int | None = None

    @property
    def is_short(self) -> bool:
        """Whether an outage of ours loses segments."""
        return self.deletes and (self.life_ms is None or self.life_ms < SHORT_LIFE_MS)

    @property
    def sentence(self) -> str:
        """What was found, "" where nobody compacts."""
        if not self.compacts:
            return ""
        if self.life_ms is None:
            return "a Pyroscope compacts this bucket, and no segment is left"
        minutes = f"{self.life_ms / 60_000:,.0f} minutes"
        if not self.deletes:
            return f"a Pyroscope compacts this bucket, and deleted no segment so far (the oldest is {minutes} old)"
        return f"a Pyroscope compacts this bucket and deletes segments about {minutes} after they were created"


def measure(source: ReadOnlyBucket, now_ms: int, max_shards: int | None = None) -> Lifetime:
    """Looks at the oldest segment and block of each shard.

    Args:
        source: the bucket.
        now_ms: Unix milliseconds.
        max_shards: looks at no more; None for all.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    shards = source.list_folder(f"{BLOCKS}/").folders
    deletes, ages = False, []
    for shard in islice(shards, max_shards):
        segment = _first_ms(source.list_after(f"{SEGMENTS}/{shard}/{ANONYMOUS}/", "", _PAGE_KEYS))
        block = _first_ms(source.list_after(f"{BLOCKS}/{shard}/", "", _PAGE_KEYS))
        if segment is not None:
            ages.append(now_ms - segment)
        deletes |= block is not None and (segment is None or block < segment - _SETTLE_MS)
    return Lifetime(bool(shards), deletes, max(ages, default=None))


def deleted_unseen(
    source: ReadOnlyBucket, shard: int, after_ulid: str, before_ulid: str, max_blocks: int = 1000
) -> list[FoundBlock]:
    """Blocks of any tenant whose first segment was created between two segments, both ends excluded.

    A block has the time of its first segment: where that lies in a gap of the listing, it was deleted before it was
    ever listed.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    found: list[FoundBlock] = []
    first = first_ulid(ulid_time_ms(after_ulid) + 1)
    last = first_ulid(ulid_time_ms(before_ulid))
    for tenant in source.list_folder(f"{BLOCKS}/{shard}/").folders:
        folder = f"{BLOCKS}/{shard}/{tenant}/"
        for item in source.list_after(folder, folder + first, max_blocks):
            if item.key >= folder + last:
                break
            try:
                found.append(FoundBlock(parse_block_key(item.key), item.size_bytes))
            except NotABlockKey:
                continue
    return found


def _first_ms(listed: Sequence[ObjectInfo]) -> int | None:
    for item in listed:
        try:
            return parse_block_key(item.key).created_ms
        except NotABlockKey:
            continue
    return None
