"""The names of objects: Pyroscope's own keys, ours in the archive, and the hour a thing belongs to.

Add a key's builder and its parser side by side. Keys are "/"-separated, relative to the bucket, and the same in
every kind of bucket. Nothing here reads or lists.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Final, Literal
from urllib.parse import quote

from pyro_assets.errors import NotABlockKey
from pyro_assets.storage.ulid import is_ulid, ulid_time_ms

LevelKind = Literal["segments", "blocks"]

SEGMENTS: Final = "segments"
BLOCKS: Final = "blocks"
COMMITS: Final = "commits"
SERIES: Final = "series"
TABLE: Final = "series_table"
RECEIPTS: Final = "receipts"
RULES: Final = "rules"
RETENTION: Final = "retention"
HOUR_BLOCKS: Final = "hour_blocks"
VERDICTS: Final = "verdicts"
#: Where a Pyroscope server looks for metadata of blocks that it does not know yet.
OFFERS: Final = "dlq"
#: Written to see whether the archive can be.
PROBE: Final = "pyro-assets/doctor"
PUBLISHED: Final = "pyro-assets/published"
#: All tenants of a shard share a segment, which is kept under this name.
ANONYMOUS: Final = "anonymous"
OBJECT_NAME: Final = "block.bin"

HOUR_FORMAT: Final = "%Y-%m-%d-%H:%M"
HOUR_MS: Final = 3_600_000

_HOUR_PATH_FORMAT: Final = "%Y-%m-%dT%H"
_MERGED: Final = "merged"
_SHARD: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_MAX_SHARD: Final = 2**32 - 1
# What Pyroscope allows in a tenant's name beside letters, digits, "_", "-" and ".".
_TENANT_SAFE: Final = "!*'()"
_TENANT_FOLDER_CHARACTERS: Final = 150


@dataclass(frozen=True, slots=True)
class BlockKey:
    """The parts of a block's key.

    Attributes:
        level_kind: "segments" (level 0) or "blocks" (level 1 and above).
        shard: as in the key; the block's metadata should say the same.
        tenant: the tenant's folder, see `tenant_folder`; "anonymous" for segments.
        ulid: the block's id.
        key: the key itself.
    """

    level_kind: LevelKind
    shard: int
    tenant: str
    ulid: str
    key: str

    @property
    def created_ms(self) -> int:
        """Creation time of the block, Unix milliseconds, from its ULID."""
        return ulid_time_ms(self.ulid)

    @property
    def hour(self) -> str:
        """The partition key of the hour in which the block was created."""
        return hour_of(self.created_ms)


def parse_block_key(key: str) -> BlockKey:
    """Reads the key of a segment or block.

    >>> parse_block_key("segments/4/anonymous/01M891VPM4XX31MPMZXPGM0RMZ/block.bin").hour
    '2026-11-25-09:00'

    Raises:
        NotABlockKey: it is another kind of key.
    """
    parts = key.split("/")
    if len(parts) != 5 or parts[0] not in (SEGMENTS, BLOCKS) or parts[4] != OBJECT_NAME:
        raise NotABlockKey(
            f"{key!r} names no block; expected segments/SHARD/anonymous/ULID/block.bin or "
            "blocks/SHARD/TENANT/ULID/block.bin",
            key=key,
        )
    kind: LevelKind = "segments" if parts[0] == SEGMENTS else "blocks"
    shard = parse_shard(parts[1])
    if shard is None:
        raise NotABlockKey(f"{key!r} names no block: {parts[1]!r} is not a shard's number", key=key)
    # Real tenants and our own encoding of strange ones are plain ASCII.
    if not (parts[2] and parts[2].isascii() and parts[2].isprintable()) or (
        kind == "segments" and parts[2] != ANONYMOUS
    ):
        raise NotABlockKey(f"{key!r} names no block: {parts[2]!r} is not a tenant's folder", key=key)
    if not is_ulid(parts[3]):
        raise NotABlockKey(f"{key!r} names no block: {parts[3]!r} is not a ULID", key=key)
    return BlockKey(kind, shard, parts[2], parts[3], key)


def parse_shard(text: str) -> int | None:
    """The number of a shard's folder (decimal, 32 bits, no leading zeros), None if it is none.

    >>> parse_shard("12"), parse_shard("012"), parse_shard("4294967296")
    (12, None, None)
    """
    if not _SHARD.fullmatch(text):
        return None
    return int(text) if int(text) <= _MAX_SHARD else None


def segment_key(shard: int, ulid: str) -> str:
    """The key of a level-0 segment.

    >>> segment_key(4, "01M891VPM4XX31MPMZXPGM0RMZ")
    'segments/4/anonymous/01M891VPM4XX31MPMZXPGM0RMZ/block.bin'
    """
    return f"{SEGMENTS}/{shard}/{ANONYMOUS}/{ulid}/{OBJECT_NAME}"


def block_key(shard: int, tenant: bytes | str, ulid: str) -> str:
    """The key of a block of level 1 or above.

    >>> block_key(4, b"acme", "01M891VPM4XX31MPMZXPGM0RMZ")
    'blocks/4/acme/01M891VPM4XX31MPMZXPGM0RMZ/block.bin'
    """
    return f"{BLOCKS}/{shard}/{tenant_folder(tenant)}/{ulid}/{OBJECT_NAME}"


def tenant_folder(tenant: bytes | str) -> str:
    """A tenant's name as one safe part of a key.

    Names that Pyroscope allows stay as they are. A tenant comes out of untrusted bytes, so everything else is
    percent-encoded ("/" too), "." and ".." as well, the empty name becomes "%", and a long one is cut and
    made distinct by its hash: no name can leave its folder or be too long for a file system.

    >>> tenant_folder(b"acme"), tenant_folder(b"../a"), tenant_folder(b""), tenant_folder(b"..")
    ('acme', '..%2Fa', '%', '%2E%2E')
    """
    data = tenant.encode(errors="surrogateescape") if isinstance(tenant, str) else tenant
    if not data:
        return "%"
    if data in (b".", b".."):
        return "%2E" * len(data)
    folder = quote(data, safe=_TENANT_SAFE)
    if "~" in folder:
        folder = folder.replace("~", "%7E")
    if len(folder) > _TENANT_FOLDER_CHARACTERS:
        return f"{folder[:_TENANT_FOLDER_CHARACTERS]}%{sha256(data).hexdigest()[:16]}"
    return folder


def hour_blocks_prefix(hour: str, shard: int, tenant: str) -> str:
    """Where the blocks of an hour's jobs of one shard and tenant lie, compacted into one, with the record of them.

    >>> hour_blocks_prefix("2026-11-25-09:00", 4, "acme")
    'hour_blocks/2026-11-25T09/4/acme/'
    """
    return f"{HOUR_BLOCKS}/{hour_path(hour)}/{shard}/{tenant_folder(tenant)}/"


def commit_key(hour: str, shard: int, job_id: str) -> str:
    """The key of a job's commit record; `hour` is a partition key.

    >>> commit_key("2026-11-25-09:00", 4, "ab12")
    'commits/2026-11-25T09/4/ab12.json'
    """
    return f"{COMMITS}/{hour_path(hour)}/{shard}/{job_id}.json"


def series_key(kind: str, hour: str, job_id: str, number: int = 0) -> str:
    """The key of a job's series of one kind; hive-style, so that any tool finds kind and hour as columns.

    `number` tells files that are written after a merge of the hour from those that went into it.

    >>> series_key("dimension", "2026-11-25-09:00", "ab12")
    'series/kind=dimension/hour=2026-11-25T09/ab12.parquet'
    >>> series_key("dimension", "2026-11-25-09:00", "ab12", 1)
    'series/kind=dimension/hour=2026-11-25T09/ab12-000001.parquet'
    """
    return f"{series_prefix(kind, hour)}{job_id}{f'-{number:06d}' if number else ''}.parquet"


def table_key(kind: str, hour: str, number: int, piece: int) -> str:
    """The key of a file of the table of series; `number` is the hour's when the file was made, `piece` counts them.

    >>> table_key("dimension", "2026-11-25-09:00", 1, 0)
    'series_table/kind=dimension/hour=2026-11-25T09/000001-0000.parquet'
    """
    return f"{TABLE}/kind={kind}/hour={hour_path(hour)}/{number:06d}-{piece:04d}.parquet"


def series_prefix(kind: str, hour: str) -> str:
    """Where the series of one kind and hour lie.

    >>> series_prefix("dimension", "2026-11-25-09:00")
    'series/kind=dimension/hour=2026-11-25T09/'
    """
    return f"{SERIES}/kind={kind}/hour={hour_path(hour)}/"


def parse_series_name(key: str) -> tuple[str, int]:
    """Job ("" for a file of several jobs) and number of a file of series.

    >>> parse_series_name("series/kind=x/hour=2026-11-25T09/ab12-000003.parquet")
    ('ab12', 3)
    >>> parse_series_name("series/kind=x/hour=2026-11-25T09/ab12.parquet")
    ('ab12', 0)
    >>> parse_series_name("series/kind=x/hour=2026-11-25T09/merged-000001.parquet")
    ('', 1)
    >>> parse_series_name("series_table/kind=x/hour=2026-11-25T09/000002-0017.parquet")
    ('', 2)
    """
    stem = key.rpartition("/")[2].removesuffix(".parquet")
    job, _, number = stem.rpartition("-")
    if key.startswith(f"{TABLE}/"):
        return "", int(job)
    if not job or not number.isdecimal():
        return stem, 0
    return ("" if job == _MERGED else job), int(number)


def retention_key(hour: str) -> str:
    """The key of the record of what retention removed of an hour.

    >>> retention_key("2026-11-25-09:00")
    'retention/2026-11-25T09.json'
    """
    return f"{RETENTION}/{hour_path(hour)}.json"


def receipts_prefix(receiver: str, hour: str, shard: int) -> str:
    """Where the receipts of a receiver for the jobs of one hour and shard lie.

    >>> receipts_prefix("local", "2026-11-25-09:00", 4)
    'receipts/local/2026-11-25T09/4/'
    """
    return f"{RECEIPTS}/{receiver}/{hour_path(hour)}/{shard}/"


def receipt_key(receiver: str, hour: str, shard: int, job_id: str, written_ms: int) -> str:
    """The key of a receipt; a job may have several, the latest time counts for each rule.

    >>> receipt_key("local", "2026-11-25-09:00", 4, "ab12", 1795600274692)
    'receipts/local/2026-11-25T09/4/ab12-1795600274692.json'
    """
    return f"{receipts_prefix(receiver, hour, shard)}{job_id}-{written_ms:013d}.json"


def rule_snapshot_key(snapshot_hash: str) -> str:
    """The key of the rules of a run.

    >>> rule_snapshot_key("ab12")
    'rules/snapshots/ab12.json'
    """
    return f"{RULES}/snapshots/{snapshot_hash}.json"


def rule_version_key(name: str, version: int, digest: str) -> str:
    """The key of a version of a rule; versions of a name sort as they were made.

    >>> rule_version_key("net/http", 2, "ab12")
    'rules/versions/net%2Fhttp/00000002-ab12.json'
    """
    return f"{RULES}/versions/{tenant_folder(name)}/{version:08d}-{digest}.json"


def offer_key(block: str) -> str:
    """Where the metadata of a block, given by its key, is offered to a Pyroscope server.

    >>> offer_key("blocks/4/acme/01M891VPM4XX31MPMZXPGM0RMZ/block.bin")
    'dlq/4/acme/01M891VPM4XX31MPMZXPGM0RMZ/meta.pb'
    """
    return f"{OFFERS}/{block.removeprefix(f'{BLOCKS}/').removesuffix(OBJECT_NAME)}meta.pb"


def published_key(hour: str, shard: int, job_id: str) -> str:
    """The key of the mark, in the bucket of a server, that a job's blocks were offered to it.

    >>> published_key("2026-11-25-09:00", 4, "ab12")
    'pyro-assets/published/2026-11-25T09/4/ab12'
    """
    return f"{PUBLISHED}/{hour_path(hour)}/{shard}/{job_id}"


def hour_of(time_ms: int) -> str:
    """The partition key (UTC hour) of a time in Unix milliseconds.

    >>> hour_of(1795600274692), hour_of(2**48 - 1)
    ('2026-11-25-09:00', '9999-12-31-23:00')
    """
    return _hour_of(time_ms // HOUR_MS)


# Dates are made and read a hundred times slower than they are looked up, and jobs ask all the time for the same hours.
@lru_cache(maxsize=4096)
def _hour_of(number: int) -> str:
    last = 253_402_297_200 // 3600  # 9999-12-31T23: datetime's years end there, a ULID's in 10889
    return datetime.fromtimestamp(min(number, last) * 3600, UTC).strftime(HOUR_FORMAT)


@lru_cache(maxsize=4096)
def hour_start_ms(hour: str) -> int:
    """The first millisecond of a partition key's hour; the hour ends, exclusive, `HOUR_MS` later.

    >>> hour_start_ms("2026-11-25-09:00")
    1795597200000

    Raises:
        ValueError: `hour` is not a partition key such as "2026-11-25-09:00".
    """
    return int(datetime.strptime(hour, HOUR_FORMAT).replace(tzinfo=UTC).timestamp()) * 1000


@lru_cache(maxsize=4096)
def hour_path(hour: str) -> str:
    """A partition key as a part of object keys: sorts the same and needs no escaping anywhere.

    >>> hour_path("2026-11-25-09:00")
    '2026-11-25T09'
    """
    return datetime.strptime(hour, HOUR_FORMAT).strftime(_HOUR_PATH_FORMAT)


def hour_from_path(text: str) -> str:
    """The partition key of what `hour_path` made.

    >>> hour_from_path("2026-11-25T09")
    '2026-11-25-09:00'

    Raises:
        ValueError: it is something else.
    """
    return datetime.strptime(text, _HOUR_PATH_FORMAT).strftime(HOUR_FORMAT)
