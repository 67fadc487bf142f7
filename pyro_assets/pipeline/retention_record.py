"""What retention removed of an hour, as an object of the archive: without it a rebuilt ledger would miss objects.

One object per hour, written before anything of the hour is removed and replaced when more goes. Add a field when
another kind of thing is removed.
"""

import json
from dataclasses import dataclass
from typing import Final

from pyro_assets.errors import BadRecord
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import RETENTION, retention_key

VERSION: Final = 1


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
        """Canonical JSON."""
        plain = {
            "version": VERSION,
            "hour": self.hour,
            "blocks": sorted(self.blocks),
            "series": sorted(self.series),
            "series_number": self.series_number,
        }
        return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def read_record(archive: ReadOnlyBucket, hour: str) -> RetentionRecord:
    """What was removed of an hour; an empty record where nothing was.

    Raises:
        BadRecord: the record does not parse.
        StorageUnavailable: the archive does not answer.
    """
    key = retention_key(hour)
    # Asked for by listing: in most archives there is not even the folder.
    listed = archive.list_after(f"{RETENTION}/", key.removesuffix(".json"), 1)
    if [item.key for item in listed] != [key]:
        return RetentionRecord(hour)
    data = archive.read(key)
    try:
        plain = json.loads(data)
        if plain["version"] != VERSION:
            raise BadRecord(f"{key} has version {plain['version']}; this program knows {VERSION}", key=key)
        return RetentionRecord(
            str(plain["hour"]),
            frozenset(map(str, plain["blocks"])),
            frozenset(map(str, plain["series"])),
            int(plain["series_number"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BadRecord(
            f"{key} is no record of retention ({type(error).__name__}: {error}); restore it from a copy of the archive",
            key=key,
        ) from error


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
