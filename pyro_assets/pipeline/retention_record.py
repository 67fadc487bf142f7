"""What retention removed of an hour, as an object of the archive: without it a rebuilt ledger would miss objects.

One object per hour, written before anything of the hour is removed and replaced when more goes. Add a field when
another kind of thing is removed.
"""

from dataclasses import dataclass

from pyro_assets.pipeline.sealed_json import from_bytes, parsing, to_bytes
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import RETENTION, retention_key


@dataclass(frozen=True, slots=True)
class RetentionRecord:
    """What was removed of an hour.

    Attributes:
        hour: partition key.
        blocks: jobs whose level-1 blocks are gone.
        series: jobs whose series are gone, but for files with `series_number` or more.
        series_number: files of series with smaller numbers are gone.
    """

    hour: str
    blocks: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    series_number: int = 0

    def to_bytes(self) -> bytes:
        """See `sealed_json.to_bytes`."""
        plain = {
            "hour": self.hour,
            "blocks": sorted(self.blocks),
            "series": sorted(self.series),
            "series_number": self.series_number,
        }
        return to_bytes(plain)


def read_record(archive: ReadOnlyBucket, hour: str) -> RetentionRecord:
    """What was removed of an hour; an empty record where nothing was.

    Raises:
        BadRecord: the record does not parse, or is damaged.
        StorageUnavailable: the archive does not answer.
    """
    key = retention_key(hour)
    # Asked for by listing: in most archives there is not even the folder.
    listed = archive.list_after(f"{RETENTION}/", key.removesuffix(".json"), 1)
    if [item.key for item in listed] != [key]:
        return RetentionRecord(hour)
    plain = from_bytes(archive.read(key), key, "a record of retention")
    with parsing(key, "a record of retention"):
        return RetentionRecord(
            str(plain["hour"]),
            frozenset(map(str, plain["blocks"])),
            frozenset(map(str, plain["series"])),
            int(plain["series_number"]),
        )


def add_to_record(archive: Bucket, more: RetentionRecord) -> None:
    """Adds to what the archive says of an hour.

    Raises:
        StorageError: it was not written.
    """
    known = read_record(archive, more.hour)
    both = RetentionRecord(
        more.hour,
        known.blocks | more.blocks,
        known.series | more.series,
        max(known.series_number, more.series_number),
    )
    if both != known:
        archive.replace(retention_key(more.hour), both.to_bytes())
