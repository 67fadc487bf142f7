"""Reading the sources of jobs: what is there, what is gone, what changed since it was listed, what is not given out.

Add what tells a fault of single objects from one of their bucket here; what becomes of a source is `compact`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyro_assets.errors import (
    AccessRefused,
    ObjectChanged,
    ObjectMissing,
    ObjectUnreadable,
    StorageError,
    StorageUnavailable,
    Throttled,
)
from pyro_assets.ledger.records import JobSource
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.remote import remedy_of

#: So many neighbours of an object are asked for before the bucket as a whole is to blame.
_NEIGHBOURS = 3


@dataclass(slots=True)
class ReadSources:
    """The bytes of a job's sources.

    Attributes:
        data: key -> bytes, in job order, of those that are there.
        lost: keys of those that are gone.
    """

    data: dict[str, bytes] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)


def read_sources(bucket: ReadOnlyBucket, sources: Sequence[JobSource]) -> ReadSources:
    """Reads all sources of a job.

    A source that is not there, or does not have the size that was listed, is looked at and read once more: it may have
    been listed while it was still being written, or before every copy of the store had it.

    Raises:
        ObjectChanged: a source changes while it is read; try again later.
        ObjectUnreadable: some are not given out while others are, of this job or beside it.
        StorageUnavailable: the bucket does not answer; nothing is known of the sources then.
    """
    found = bucket.get_many(sources)
    result = ReadSources()
    failed: dict[str, StorageError] = {}
    for source, data in zip(sources, found, strict=True):
        try:
            if isinstance(data, ObjectChanged | ObjectMissing):
                data = bucket.get(source.key, bucket.size(source.key))
            if isinstance(data, Exception):
                raise data
            result.data[source.key] = data
        except ObjectMissing:
            result.lost.append(source.key)
        except (StorageUnavailable, ObjectUnreadable) as error:
            failed[source.key] = error
    if failed:
        raise _judged(bucket, failed, bool(result.data) or _gives_out_others(bucket, failed))
    return result


def _judged(bucket: ReadOnlyBucket, failed: dict[str, StorageError], others: bool) -> StorageError:
    """What these failures say: of the bucket, or of single objects."""
    of_bucket = [error for error in failed.values() if not isinstance(error, ObjectUnreadable)]
    if of_bucket and (not others or any(isinstance(error, Throttled) for error in of_bucket)):
        return of_bucket[0]
    final = {key: error for key, error in failed.items() if isinstance(error, AccessRefused | ObjectUnreadable)}
    keys = tuple(final or failed)
    error = failed[keys[0]]
    text = str(error)
    if not isinstance(error, ObjectUnreadable):
        reason = error.reason if isinstance(error, AccessRefused) else text
        text = f"{bucket.url} gives out other objects, but not {keys[0]}: {reason}; {remedy_of(reason)}"
    more = f" ({len(keys)} such sources in this job)" if len(keys) > 1 else ""
    retry = "; then `pyro-assets quarantine retry KEY`, where it was set aside meanwhile"
    return ObjectUnreadable(text + retry + more, keys=keys, may_pass=not final)


def _gives_out_others(bucket: ReadOnlyBucket, failed: dict[str, StorageError]) -> bool:
    """Whether the bucket gives out an object beside those that it did not."""
    key = next(iter(failed))
    folder = key.rsplit("/", 2)[0] + "/"
    try:
        near = bucket.list_after(folder, key, _NEIGHBOURS) + bucket.list_after(folder, "", _NEIGHBOURS)
    except StorageError:
        return False
    for item in near:
        if item.key in failed or not item.size_bytes:
            continue
        try:
            bucket.get_range(item.key, 0, 1)
        except StorageError:
            continue
        return True
    return False
