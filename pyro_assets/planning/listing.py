"""Finds new blocks in a bucket that is listed again and again, with a cursor per folder and a look-back window.

Here, too:
* lists what lies behind the ticks' look-back window: a span of creation times, page by page.

A tick costs a request per shard and one per thousand new keys, however much lies behind the cursors. A backlog is taken
in slices, oldest first, and what has just landed beside them. Knowing which keys are new is the ledger's part: what
lies in the window is returned every time.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import AccessRefused, NotABlockKey, StorageUnavailable
from pyro_assets.ledger.records import Lane
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, SEGMENTS, BlockKey, LevelKind, parse_block_key, parse_shard
from pyro_assets.storage.ulid import first_ulid, is_ulid, ulid_time_ms

_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class FoundBlock:
    """A block in a listing."""

    block: BlockKey
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Window:
    """How far to look.

    Attributes:
        now_ms: keys from later than this cannot move a cursor.
        lookback_ms: so long before a cursor the listing starts again.
        page_keys: keys in one request.
        max_keys: keys beyond the cursors to take, over all folders; what is more comes with the next call, apart from
            the live edge: what was created within `lookback_ms` before now is always looked for.
        max_seconds: no folder is begun after this time; a bucket that throttles must not cost the tick what it has.
        lane: the shards to list; None for all.
    """

    now_ms: int
    lookback_ms: int
    page_keys: int = 1000
    max_keys: int = 20_000
    max_seconds: float = 30.0
    lane: Lane | None = None


@dataclass(slots=True)
class Discovery:
    """What was found.

    Attributes:
        found: blocks in the windows and beyond the cursors, in key order within each folder.
        cursors: folder -> ULID of the last block seen there, for the folders where it moved.
        not_block_keys: keys that name no block, the first of them in `examples`.
        truncated: there is more than `Window.max_keys`.
        failures: one sentence for each listing that failed; what was found before it is kept.
        missing: why this cannot be Pyroscope's bucket, see `what_is_missing`; "" where it can.
    """

    found: list[FoundBlock] = field(default_factory=list)
    cursors: dict[str, str] = field(default_factory=dict)
    not_block_keys: int = 0
    examples: list[str] = field(default_factory=list)
    truncated: bool = False
    failures: list[str] = field(default_factory=list)
    missing: str = ""

    def stray(self, key: str) -> None:
        """Counts a key that names no block."""
        self.not_block_keys += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(key)


def discover(bucket: ReadOnlyBucket, kind: LevelKind, cursors: Mapping[str, str], window: Window) -> Discovery:
    """Lists what is new under `kind`.

    Args:
        bucket: where.
        kind: "segments", or "blocks" (of any level: the key does not tell).
        cursors: folder ("segments/4/anonymous/") -> ULID, as `Discovery.cursors` gave them. One that is lost, or ahead
            of all clocks, begins anew, and one that was set back lists again: that costs time and loses nothing. One
            that was set forward to a moment in the past hides what lies before it from all but a sweep.
        window: how far to look.
    """
    result = Discovery()
    # Whoever is furthest behind comes first, so that none waits for ever.
    folders = sorted(folders_of(bucket, kind, cursors, result, window.lane), key=lambda folder: cursors.get(folder, ""))
    share = max(window.max_keys // max(len(folders), 1), window.page_keys)
    left = window.max_keys
    begun = time.monotonic()
    for number, folder in enumerate(folders):
        if number and time.monotonic() - begun >= window.max_seconds:
            result.truncated = True
            result.failures.append(
                f"{bucket.url} answers slowly: {len(folders) - number} of {len(folders)} folders were not listed "
                f"within {window.max_seconds:g} s and come first with the next tick"
            )
            break
        try:
            left -= _list(bucket, folder, cursors.get(folder, ""), window, min(share, left), result)
        except StorageUnavailable as error:
            result.failures.append(str(error))
    return result


def what_is_missing(bucket: ReadOnlyBucket) -> str:
    """Why a bucket cannot be Pyroscope's, in words: it has neither segments nor blocks. "" where it has some.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    top = bucket.list_folder("")
    if {SEGMENTS, BLOCKS} & set(top.folders):
        return ""
    names = [*(f"{name}/" for name in top.folders), *(item.key for item in top.objects)]
    there = f"only {', '.join(names[:_EXAMPLES])}" if names else "it is empty or does not exist"
    return (
        f"the source {bucket.url} has neither {SEGMENTS}/ nor {BLOCKS}/ ({there}): name Pyroscope's bucket, with the "
        "prefix under which it writes, or start Pyroscope"
    )


def folders_of(
    bucket: ReadOnlyBucket,
    kind: LevelKind,
    cursors: Mapping[str, str],
    result: Discovery,
    lane: Lane | None = None,
) -> Iterator[str]:
    """The folders that hold blocks; those with a cursor where a listing fails, which `result` is told."""
    try:
        top = bucket.list_folder(f"{kind}/")
        if not top.folders:
            result.missing = what_is_missing(bucket)
    except AccessRefused as error:
        # It does not exist, or is closed to us: that is no trouble that passes.
        result.missing = str(error)
        return
    except StorageUnavailable as error:
        result.failures.append(str(error))
        yield from sorted(folder for folder in cursors if folder.startswith(f"{kind}/"))
        return
    for item in top.objects:
        result.stray(item.key)
    for name in top.folders:
        shard = parse_shard(name)
        if shard is None:
            result.stray(f"{kind}/{name}/")
        elif lane is not None and not lane.has(shard):
            continue
        elif kind == "segments":
            yield f"{kind}/{name}/{ANONYMOUS}/"
        else:
            try:
                inside = bucket.list_folder(f"{kind}/{name}/")
            except StorageUnavailable as error:
                result.failures.append(str(error))
                yield from sorted(folder for folder in cursors if folder.startswith(f"{kind}/{name}/"))
                continue
            for item in inside.objects:
                result.stray(item.key)
            yield from (f"{kind}/{name}/{tenant}/" for tenant in inside.folders)


def _list(bucket: ReadOnlyBucket, folder: str, cursor: str, window: Window, share: int, result: Discovery) -> int:
    """Lists a folder from its window on until `share` keys beyond the cursor are taken; returns how many were."""
    # Strays beside "anonymous" are seen too; they sort after the cursor or are seen when there is none yet.
    scope = folder.removesuffix(f"{ANONYMOUS}/") if folder.startswith(SEGMENTS) else folder
    edge = folder + first_ulid(window.now_ms - window.lookback_ms)
    start = ""
    # Clocks of two machines may differ by as much as uploads may be late; what is further ahead is no cursor of ours.
    if is_ulid(cursor) and ulid_time_ms(cursor) <= window.now_ms + window.lookback_ms:
        start = folder + first_ulid(min(ulid_time_ms(cursor), window.now_ms) - window.lookback_ms)
    else:
        cursor = ""
    taken = 0
    # A folder that has caught up is at its live edge, for which there is always room.
    while share > 0 or start >= folder + first_ulid(window.now_ms - 2 * window.lookback_ms):
        page = bucket.list_after(scope, start, window.page_keys)
        for item in page:
            taken += _take(item, cursor, result)
        _move(folder, cursor, window.now_ms, page, result)
        if len(page) < window.page_keys:
            return taken
        start = page[-1].key
        if taken >= share:
            break
    result.truncated = True
    # What just landed must not wait for what is left; the cursor will come by and find it known.
    for item in bucket.list_after(scope, max(start, edge), window.page_keys):
        _take(item, cursor, result)
    return taken


def blocks_among(listed: Iterable[ObjectInfo]) -> Iterator[FoundBlock]:
    """The blocks of a listing; other objects, which ticks count and name, are left out."""
    for item in listed:
        try:
            block = parse_block_key(item.key)
        except NotABlockKey:
            continue
        yield FoundBlock(block, item.size_bytes)


def _take(item: ObjectInfo, cursor: str, result: Discovery) -> bool:
    """Adds a line of a listing to the result; True if it lies beyond the cursor."""
    try:
        block = parse_block_key(item.key)
    except NotABlockKey:
        result.stray(item.key)
        # Counted, so that a folder full of other things cannot hold up a tick.
        return True
    result.found.append(FoundBlock(block, item.size_bytes))
    return block.ulid > cursor


def _move(folder: str, cursor: str, now_ms: int, page: list[ObjectInfo], result: Discovery) -> None:
    """Moves a folder's cursor to the last block that is not from the future: such a one must not move the window."""
    last = result.cursors.get(folder, cursor)
    if is_ulid(last) and ulid_time_ms(last) > now_ms:
        last = ""
    for item in reversed(page):
        ulid = item.key.removeprefix(folder).split("/")[0]
        if is_ulid(ulid) and ulid_time_ms(ulid) <= now_ms:
            last = max(last, ulid)
            break
    if last and last != cursor:
        result.cursors[folder] = last


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
        inside = [item for item in listed if item.key.removeprefix(folder) < end_ulid]
        found = list(blocks_among(inside))
        page = Page(found, len(inside), found[-1].block.ulid if found else "", len(inside) < page_keys)
        yield page
        if page.finished:
            return
        start = listed[-1].key
