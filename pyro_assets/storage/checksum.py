"""CRC-32C, the checksum of every part of a block.

Only the function and its comparison belong here; where a checksum stands in the bytes is known by each section's
reader. The arithmetic is the library's (FORMAT.md, 1).
"""

from typing import Any

import google_crc32c
import numpy as np

from pyro_assets.errors import ChecksumMismatch, Where

# Below this size a copy costs less than making a NumPy view.
_COPY_BELOW_BYTES = 4096


def crc32c(data: Any, before: int = 0) -> int:
    """CRC-32C (Castagnoli) of contiguous bytes.

    Args:
        data: bytes, bytearray, memoryview or a contiguous NumPy array of any type.
        before: the checksum of what stands before them.

    Returns:
        The checksum as an unsigned 32-bit number.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    >>> crc32c(b"6789", crc32c(b"12345")) == crc32c(b"123456789")
    True
    """
    if not isinstance(data, bytes):
        # The library takes only objects whose buffer needs no release: bytes and NumPy arrays.
        data = bytes(data) if memoryview(data).nbytes < _COPY_BELOW_BYTES else np.frombuffer(data, np.uint8)
    return int(google_crc32c.extend(before, data))


def check_crc(data: Any, expected: int, what: str, where: Where, offset: int = -1) -> None:
    """Compares the checksum of `data` with the one that was stored.

    Args:
        data: the bytes that the checksum covers.
        expected: the stored checksum.
        what: what is covered, for the message ("stack-trace chunk").
        where: object, dataset and section.
        offset: where the covered bytes start, in bytes from the start of the section.

    Raises:
        ChecksumMismatch: they differ.
    """
    actual = crc32c(data)
    if actual != expected:
        raise ChecksumMismatch(
            f"CRC of {what}", where, offset=offset, expected=f"{expected:#010x}", actual=f"{actual:#010x}"
        )
