"""Lists what lies behind the ticks' look-back window: a span of creation times, page by page.

Costs a request per thousand keys of the span. When to look, and from where to go on, is the pipeline's to decide.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pyro_assets.errors import NotABlockKey
from pyro_assets.storage.discovery import FoundBlock
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import parse_block_key


@dataclass(slots=True)
class Page:
    """One page of a listing.

    Attributes:
        found: its blocks, in key order.
        keys: how many keys of the span it has.
        last_ulid: where the next page begins; "" for a page without a block.
        finished: there is no further page of the span.
    """

    found: list[FoundBlock] = field(default_factory=list)
    keys: int = 0
    last_ulid: str = ""
    finished: bool = False


def list_span(
    bucket: ReadOnlyBucket, folder: str, after_ulid: str, end_ulid: str, page_keys: int = 1000
) -> Iterator[Page]:
    """Blocks of one folder with `after_ulid < ULID < end_ulid`, in pages; the last one says that it is.

    Raises:
        StorageUnavailable: the bucket does not answer; pages until then were whole.
    """
    # "0" is greater than "/": the keys of the block itself are skipped too.
    start = f"{folder}{after_ulid}0" if after_ulid else ""
    while True:
        listed = bucket.list_after(folder, start, page_keys)
        page = Page(finished=len(listed) < page_keys)
        for item in listed:
            if item.key.removeprefix(folder) >= end_ulid:
                page.finished = True
                break
            page.keys += 1
            try:
                block = parse_block_key(item.key)
            except NotABlockKey:
                continue  # ticks count and name these
            page.found.append(FoundBlock(block, item.size_bytes))
            page.last_ulid = block.ulid
        yield page
        if page.finished:
            return
        start = listed[-1].key
