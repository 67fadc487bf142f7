"""Units of hours as the archive has them: their records, from which a ledger is rebuilt, and their removal.

Add what must be known of a unit without its blocks here; how they are made is `archive.hours`'s.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from pyro_assets.errors import BadRecord
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords, HourObject, HourUnit
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import HOUR_BLOCKS, hour_blocks_prefix, hour_of, hour_path
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes

#: The name of the record of an hour, shard and tenant.
RECORD: Final = "record.json"


def hours_to_compact(ledger: Ledger, now_ms: int, settle_ms: int) -> list[str]:
    """Hours that are over and of which not everything is compacted yet, oldest first."""
    states = UpkeepRecords(ledger).upkeep_states()
    hours = UpkeepRecords(ledger).hours_before(hour_of(now_ms - settle_ms))
    return [hour for hour in hours if hour not in states or states[hour].hour_blocks_ms is None]


def record_bytes(units: Sequence[HourUnit]) -> bytes:
    """The record of the units of an hour, shard and tenant, from which a ledger is rebuilt."""
    return to_bytes({"units": [asdict(unit) for unit in units]})


def read_units(archive: ReadOnlyBucket, hour: str) -> list[HourUnit]:
    """The units of an hour as their records tell them.

    Raises:
        BadRecord: a record does not parse, or is damaged.
        StorageError: the archive does not answer.
    """
    prefix = f"{HOUR_BLOCKS}/{hour_path(hour)}/"
    keys = [item.key for page in archive.pages(prefix) for item in page if item.key.endswith(f"/{RECORD}")]
    found: list[HourUnit] = []
    for key in keys:
        plain = from_bytes(archive.read(key), key, "a record of hour blocks")
        with parsing(key, "a record of hour blocks"):
            for item in plain["units"]:
                objects = tuple(HourObject(**one) for one in item.pop("objects"))
                found.append(HourUnit(**{**item, "jobs": tuple(item["jobs"])}, objects=objects))
        if any(hour_blocks_prefix(unit.hour, unit.shard, unit.tenant) + RECORD != key for unit in found[-1:]):
            raise BadRecord(f"{key} holds the record of other hour blocks", key=key)
    return found


def remove_hour(archive: Bucket, ledger: Ledger, hour: str, now_ms: int) -> None:
    """Removes all units of an hour: first what would bring them back, then what reads them, then the objects."""
    prefix = f"{HOUR_BLOCKS}/{hour_path(hour)}/"
    listed = [item.key for page in archive.pages(prefix) for item in page]
    archive.remove([key for key in listed if key.endswith(f"/{RECORD}")])
    HourBlockRecords(ledger).mark_removed(hour, now_ms)
    archive.remove([key for key in listed if not key.endswith(f"/{RECORD}")])
    HourBlockRecords(ledger).forget(hour)
