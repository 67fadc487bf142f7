"""Reading the sources of a job: what is there, what is gone, what changed since it was listed.

Add ways in which a source can be missing or late here; what is inside it is the engine's to judge.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pyro_assets.errors import ObjectChanged, ObjectMissing
from pyro_assets.ledger.records import JobSource
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket


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
        StorageUnavailable: the bucket does not answer; nothing is known of the sources then.
    """
    found = bucket.get_many([ObjectInfo(source.key, source.size_bytes) for source in sources])
    result = ReadSources()
    for source, data in zip(sources, found, strict=True):
        try:
            if isinstance(data, ObjectChanged | ObjectMissing):
                data = bucket.get(source.key, bucket.size(source.key))
            if isinstance(data, Exception):
                raise data
            result.data[source.key] = data
        except ObjectMissing:
            result.lost.append(source.key)
    return result
