"""The copy of the archive that a Pyroscope server can serve: level-1 blocks, and their metadata where it imports from.

A server compacts and deletes in its bucket, so it gets a copy, never the archive. Add what a newer server asks for
here; which blocks there are is told by commit records alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pyro_assets.archive.retain import read_record
from pyro_assets.errors import ObjectChanged, SettingsError, Where
from pyro_assets.jobs.record import CommitRecord, read_records
from pyro_assets.storage.bucket import place_of
from pyro_assets.storage.checksum import check_crc
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import COMMITS, hour_from_path, hour_of, hour_path, offer_key, published_key


@dataclass(slots=True)
class PublishReport:
    """What was copied.

    Attributes:
        hours: partition keys with jobs in the span.
        jobs: that were published now; skipped: that were before; removed: whose blocks retention removed.
        blocks, size_bytes: copied (or, of a dry run, that would be).
        seconds: how long it took.
    """

    hours: list[str] = field(default_factory=list)
    jobs: int = 0
    skipped: int = 0
    removed: int = 0
    blocks: int = 0
    size_bytes: int = 0
    seconds: float = 0.0


def refuse_target(target_url: str, archive_url: str, source_url: str) -> None:
    """Checks that a copy goes to a place of its own.

    Raises:
        SettingsError: the target is the archive or the source, or one lies inside the other.
    """
    target = place_of(target_url)
    for name, url in (("archive", archive_url), ("source bucket", source_url)):
        place = place_of(url)
        if target.startswith(place) or place.startswith(target):
            raise SettingsError(
                f"the target {target_url!r} and the {name} {url!r} are the same place, or one lies inside the other; a "
                "Pyroscope server compacts and deletes in its bucket, so it needs one of its own"
            )


def publish(
    archive: ReadOnlyBucket,
    target: Bucket,
    begin_ms: int,
    end_ms: int,
    *,
    again: bool = False,
    dry_run: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> PublishReport:
    """Copies the blocks of all jobs of the hours in [begin_ms, end_ms), and offers them to the server.

    A job that was published to this target is not offered again: the server may have compacted its blocks meanwhile,
    and a second copy would count double. Interrupted, it goes on with the next call.

    Args:
        archive: where commit records and blocks lie.
        target: the server's bucket.
        begin_ms: Unix milliseconds; the hour that it lies in is the first.
        end_ms: the first millisecond that is not copied any more.
        again: offer what was published before, too (the target's blocks were deleted by hand).
        dry_run: only count.
        progress: called with the number of jobs so far.

    Raises:
        StorageError: a bucket does not do what was asked; a block is missing or was changed.
        BlockError: a block does not hold what was committed.
    """
    begun = time.perf_counter()
    report = PublishReport()
    for hour in _hours(archive, begin_ms, end_ms):
        report.hours.append(hour)
        done = set() if again else _published(target, hour)
        removed = read_record(archive, hour).blocks
        for record in read_records(archive, f"{COMMITS}/{hour_path(hour)}/"):
            if not record.outputs:
                continue
            if published_key(record.hour, record.shard, record.id) in done:
                report.skipped += 1
                continue
            if record.id in removed:
                report.removed += 1
                continue
            report.jobs += 1
            report.blocks += len(record.outputs)
            report.size_bytes += sum(output.size_bytes for output in record.outputs)
            if not dry_run:
                _publish(archive, target, record)
            progress(report.jobs)
    report.seconds = time.perf_counter() - begun
    return report


def _publish(archive: ReadOnlyBucket, target: Bucket, record: CommitRecord) -> None:
    from pyro_assets.block.metadata import encode_metadata
    from pyro_assets.block.object import parse_object

    offers = []
    for output in record.outputs:
        data = archive.read(output.key)
        if len(data) != output.size_bytes:
            raise ObjectChanged(
                f"{output.key} has {len(data)} bytes, {output.size_bytes} were committed; restore it from a copy of "
                "the archive",
                key=output.key,
            )
        check_crc(data, output.crc32c, "the committed object", Where(output.key))
        # `size` is set by the reader: the server takes it from here, the object itself does not store it.
        meta = parse_object(data, output.key)
        target.create(output.key, data)
        offers.append((offer_key(output.key), encode_metadata(meta)))
    # The server may take an offer at once, so it comes after the blocks.
    for key, message in offers:
        target.replace(key, message)
    target.replace(published_key(record.hour, record.shard, record.id), b"{}\n")


def _hours(archive: ReadOnlyBucket, begin_ms: int, end_ms: int) -> list[str]:
    first = hour_path(hour_of(max(begin_ms, 0)))
    last = hour_path(hour_of(end_ms - 1))
    names = archive.list_folder(f"{COMMITS}/").folders
    return [hour_from_path(name) for name in names if first <= name <= last]


def _published(target: ReadOnlyBucket, hour: str) -> set[str]:
    prefix = published_key(hour, 0, "x").removesuffix("0/x")
    return {item.key for page in target.pages(prefix) for item in page}
