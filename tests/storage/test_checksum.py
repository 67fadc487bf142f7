"""CRC-32C of every kind of buffer."""

import numpy as np
import pytest

from pyro_assets.errors import ChecksumMismatch, Where
from pyro_assets.storage.checksum import check_crc, crc32c
from tests.oracle import bytes as slow_bytes


@pytest.mark.parametrize("size", [0, 1, 9, 4095, 4096, 100_000])
def test_all_buffers_give_the_slow_checksum(size: int) -> None:
    data = bytes(range(256)) * (size // 256) + bytes(range(size % 256))
    expected = slow_bytes.crc32c(data)
    for buffer in (data, bytearray(data), memoryview(data), memoryview(bytearray(data)), np.frombuffer(data, np.uint8)):
        assert crc32c(buffer) == expected
    if size % 8 == 0:
        assert crc32c(np.frombuffer(data, np.int64)) == expected


def test_a_mismatch_names_what_where_and_both_values() -> None:
    check_crc(b"123456789", 0xE3069283, "a part", Where())
    with pytest.raises(ChecksumMismatch) as caught:
        check_crc(b"123456789", 1, "a part", Where("key", "symbols", "shop"), 17)
    error = caught.value
    assert (error.offset, error.expected, error.actual) == (17, "0x00000001", "0xe3069283")
    assert "CRC of a part (key, dataset shop, section symbols at byte 17)" in str(error)
