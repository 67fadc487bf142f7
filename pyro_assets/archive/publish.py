"""The copy of the archive that a Pyroscope server can serve: level-1 blocks, and their metadata where it imports from.

A server compacts and deletes in its bucket, so it gets a copy, never the archive. Of the jobs of an hour and shard it
gets either the blocks of the hour, where these hold all of them and none was offered by itself, or each job's own;
which it was is noted beside the copy. Add what a newer server asks for here; which blocks there are is told by records
alone.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import groupby
from typing import Final

from pyro_assets.archive.retain import read_record
from pyro_assets.archive.units import read_units
from pyro_assets.block.metadata import encode_metadata
from pyro_assets.block.object import parse_object
from pyro_assets.errors import ObjectChanged, ObjectMissing, SettingsError, Where
from pyro_assets.jobs.record import CommitRecord, read_records
from pyro_assets.ledger.hour_blocks import HourObject, HourUnit
from pyro_assets.ledger.records import Output
from pyro_assets.storage.bucket import place_of
from pyro_assets.storage.checksum import check_crc
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import (
    COMMITS,
    block_key,
    hour_from_path,
    hour_of,
    hour_path,
    offer_key,
    published_key,
)
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes


@dataclass(slots=True)
class PublishReport:
    """Counts of a publication.

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
        removed, units = read_record(archive, hour).blocks, read_units(archive, hour)
        found = read_records(archive, f"{COMMITS}/{hour_path(hour)}/")
        # Keys of records are by shard.
        for shard, records in groupby((one for one in found if one.outputs), lambda one: one.shard):
            copy = _ShardCopy(archive, target, hour, shard, report, dry_run)
            for jobs in copy.jobs(list(records), [unit for unit in units if unit.shard == shard], removed, again=again):
                report.jobs += jobs
                progress(report.jobs)
    report.seconds = time.perf_counter() - begun
    return report


@dataclass(frozen=True, slots=True)
class _ShardCopy:
    """The copy of the jobs of one hour and shard."""

    archive: ReadOnlyBucket
    target: Bucket
    hour: str
    shard: int
    report: PublishReport
    dry_run: bool

    def jobs(
        self, records: Sequence[CommitRecord], units: Sequence[HourUnit], removed: Collection[str], *, again: bool
    ) -> Iterator[int]:
        """Copies what is to be copied; tells of how many jobs that was, step by step."""
        known = set() if again else self._published()
        noted = self._noted() if self._note_key in known else None
        if noted is not None and not noted.offered:
            # A call was interrupted when the server may have taken some of them: it gets the rest of the same blocks.
            yield len(noted.jobs)
            self._offer(noted)
        done = set(noted.jobs) if noted is not None else set()
        done |= {one.job for one in records if published_key(self.hour, self.shard, one.job) in known}
        held = {(job, unit.tenant) for unit in units for job in unit.jobs}
        if not done and all((one.job, output.tenant) in held for one in records for output in one.outputs):
            yield len(records)
            self._copy_hour([one.job for one in records], units)
            return
        for record in records:
            if record.job in done:
                self.report.skipped += 1
            elif record.job in removed:
                self.report.removed += 1
            else:
                yield 1
                metas = [self._copy(one, one.key) for one in record.outputs]
                if not self.dry_run:
                    # The server may take an offer at once, so it comes after the blocks.
                    for key, message in metas:
                        self.target.replace(offer_key(key), message)
                    self.target.replace(published_key(self.hour, self.shard, record.job), b"{}\n")

    def _copy_hour(self, jobs: Sequence[str], units: Sequence[HourUnit]) -> None:
        blocks = {
            block_key(self.shard, unit.tenant, one.block_id): one for unit in units for one in unit.of_kind("block")
        }
        for key, one in blocks.items():
            self._copy(one, key)
        if not self.dry_run:
            self._offer(_Note(tuple(jobs), tuple(blocks)))

    def _offer(self, note: "_Note") -> None:
        """Offers blocks of an hour that are in the target; what is noted before and after makes it one step."""
        if self.dry_run:
            return
        self.target.replace(self._note_key, note.to_bytes())
        for key in note.blocks:
            with suppress(ObjectMissing):  # the server took it, and has compacted it meanwhile
                self.target.replace(offer_key(key), encode_metadata(parse_object(self.target.read(key), key)))
        self.target.replace(self._note_key, replace(note, offered=True).to_bytes())

    def _copy(self, block: Output | HourObject, key: str) -> tuple[str, bytes]:
        """Copies a block; returns its key in the target and its metadata."""
        self.report.blocks += 1
        self.report.size_bytes += block.size_bytes
        if self.dry_run:
            return key, b""
        data = self.archive.read(block.key)
        if len(data) != block.size_bytes:
            raise ObjectChanged(
                f"{block.key} has {len(data)} bytes, {block.size_bytes} were committed; restore it from a copy of "
                "the archive",
                key=block.key,
            )
        check_crc(data, block.crc32c, "the committed object", Where(block.key))
        # `size` is set by the reader: the server takes it from here, the object itself does not store it.
        meta = parse_object(data, key)
        self.target.create(key, data)
        return key, encode_metadata(meta)

    @property
    def _note_key(self) -> str:
        return published_key(self.hour, self.shard, _NOTE)

    def _published(self) -> set[str]:
        prefix = self._note_key.removesuffix(_NOTE)
        return {item.key for page in self.target.pages(prefix) for item in page}

    def _noted(self) -> "_Note":
        plain = from_bytes(self.target.read(self._note_key), self._note_key, _WHAT, _REMEDY)
        with parsing(self._note_key, _WHAT, _REMEDY):
            return _Note(tuple(map(str, plain["jobs"])), tuple(map(str, plain["blocks"])), bool(plain["offered"]))


@dataclass(frozen=True, slots=True)
class _Note:
    """Which jobs were published as blocks of their hour, and which these are; `offered`: all of them were offered."""

    jobs: tuple[str, ...]
    blocks: tuple[str, ...]
    offered: bool = False

    def to_bytes(self) -> bytes:
        return to_bytes(asdict(self))


#: In the place of a job's id.
_NOTE: Final = "hour-blocks"
_WHAT: Final = "a note of published blocks of an hour"
_REMEDY: Final = "publish into an empty bucket"


def _hours(archive: ReadOnlyBucket, begin_ms: int, end_ms: int) -> list[str]:
    first = hour_path(hour_of(max(begin_ms, 0)))
    last = hour_path(hour_of(end_ms - 1))
    names = archive.list_folder(f"{COMMITS}/").folders
    return [hour_from_path(name) for name in names if first <= name <= last]
