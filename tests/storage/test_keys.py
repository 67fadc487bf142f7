"""Keys and ULIDs: what is built is read back, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import NotABlockKey
from pyro_assets.storage.keys import (
    BlockKey,
    block_key,
    commit_key,
    hour_from_path,
    hour_of,
    hour_path,
    hour_start_ms,
    parse_block_key,
    segment_key,
    series_key,
    tenant_folder,
)
from pyro_assets.storage.local import LocalBucket
from pyro_assets.storage.ulid import (
    ENTROPY_BYTES,
    MAX_TIME_MS,
    first_ulid,
    is_ulid,
    make_ulid,
    ulid_entropy,
    ulid_time_ms,
)

ULID = "01M891VPM4XX31MPMZXPGM0RMZ"
TIMES = st.integers(0, MAX_TIME_MS)
ENTROPY = st.binary(min_size=ENTROPY_BYTES, max_size=ENTROPY_BYTES)


@given(TIMES, ENTROPY)
def test_ulids_keep_time_and_entropy(time_ms: int, entropy: bytes) -> None:
    ulid = make_ulid(time_ms, entropy)
    assert is_ulid(ulid)
    assert (ulid_time_ms(ulid), ulid_entropy(ulid)) == (time_ms, entropy)
    assert first_ulid(time_ms) <= ulid


@given(st.tuples(TIMES, ENTROPY), st.tuples(TIMES, ENTROPY))
def test_ulids_sort_as_what_they_are_made_of(one: tuple[int, bytes], other: tuple[int, bytes]) -> None:
    assert (make_ulid(*one) < make_ulid(*other)) == (one < other)


@pytest.mark.parametrize(
    "text", ["", ULID[:-1], ULID + "0", ULID.lower(), "8" + ULID[1:], "U" + ULID[1:], ULID[:-1] + "é"]
)
def test_what_is_no_ulid(text: str) -> None:
    assert not is_ulid(text)
    for read in (ulid_time_ms, ulid_entropy):
        with pytest.raises(ValueError, match="ULID"):
            read(text)


@pytest.mark.parametrize(("time_ms", "entropy"), [(-1, bytes(10)), (MAX_TIME_MS + 1, bytes(10)), (0, bytes(9))])
def test_ulids_that_cannot_be(time_ms: int, entropy: bytes) -> None:
    with pytest.raises(ValueError, match="ULID"):
        make_ulid(time_ms, entropy)


@given(st.integers(0, 2**32 - 1), st.binary(max_size=40), TIMES)
def test_block_keys_are_read_back(shard: int, tenant: bytes, time_ms: int) -> None:
    ulid = make_ulid(time_ms, bytes(10))
    segment, block = segment_key(shard, ulid), block_key(shard, tenant, ulid)
    assert parse_block_key(segment) == BlockKey("segments", shard, "anonymous", ulid, segment)
    assert parse_block_key(block) == BlockKey("blocks", shard, tenant_folder(tenant), ulid, block)
    assert parse_block_key(block).created_ms == time_ms
    assert parse_block_key(block).hour == hour_of(time_ms)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "segments",
        f"segments/1/anonymous/{ULID}",
        f"segments/1/anonymous/{ULID}/block.bin/more",
        f"segments/1/anonymous/{ULID}/meta.pb",
        f"dlq/1/acme/{ULID}/block.bin",
        f"segments/1/acme/{ULID}/block.bin",
        f"segments/01/anonymous/{ULID}/block.bin",
        f"segments/-1/anonymous/{ULID}/block.bin",
        f"segments/4294967296/anonymous/{ULID}/block.bin",
        f"segments/１/anonymous/{ULID}/block.bin",
        f"blocks/1//{ULID}/block.bin",
        f"blocks/1/ac\udcffme/{ULID}/block.bin",
        f"blocks/1/ac\nme/{ULID}/block.bin",
        "segments/1/anonymous/notaulid/block.bin",
    ],
)
def test_what_is_no_block_key(key: str) -> None:
    with pytest.raises(NotABlockKey):
        parse_block_key(key)


def test_tenants_that_pyroscope_allows_stay_as_they_are() -> None:
    name = "abcXYZ019_.-!*'()"
    assert tenant_folder(name) == tenant_folder(name.encode()) == name


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_tenants_keep_apart_and_in_their_folder(one: bytes, other: bytes) -> None:
    folder = tenant_folder(one)
    assert (folder == tenant_folder(other)) == (one == other)
    assert folder.isascii()
    assert len(folder) <= 170
    # It is a legal part of a path: reading what is not there says so, and nothing else.
    LocalBucket("/nonexistent")._path(f"blocks/1/{folder}/x")


@given(st.integers(0, 253_402_300_799_999))
def test_hours(time_ms: int) -> None:
    hour = hour_of(time_ms)
    assert hour_start_ms(hour) <= time_ms < hour_start_ms(hour) + 3_600_000
    assert hour_from_path(hour_path(hour)) == hour


def test_keys_of_the_archive() -> None:
    assert commit_key("2026-11-25-09:00", 4, "ab") == "commits/2026-11-25T09/4/ab.json"
    assert series_key("function", "2026-11-25-09:00", "ab") == "series/kind=function/hour=2026-11-25T09/ab.parquet"
    for wrong in ("2026-11-25T09", "yesterday"):
        with pytest.raises(ValueError, match="does not match"):
            hour_start_ms(wrong)
