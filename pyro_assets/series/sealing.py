"""Files of series in which a flipped bit is noticed: pages have checksums, and a seal in the footer covers all bytes.

Any reader of Parquet can verify the pages; page headers, the schema and the notes are covered by the seal alone. Files
from before seals are read as they are. What the ledger recorded of a file is compared by `jobs.derive`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.errors import DamagedSeries
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.shown import first_line

#: The name of the seal among the texts of a file's metadata.
SEAL: Final = "pyro_assets.crc32c"
#: What every writer of series adds to its own options.
CHECKED_PAGES: Final = {"write_page_checksum": True}
_DIGITS: Final = 8
#: The seal's name and the length of its value, as the footer's Thrift writes them.
_MARK: Final = bytes([len(SEAL)]) + SEAL.encode() + bytes([0x18, _DIGITS])


def add_notes(writer: Any, notes: dict[str, str]) -> None:
    """Gives the file its texts, and a seal that `sealed` fills in."""
    writer.add_key_value_metadata({**notes, SEAL: "0" * _DIGITS})


def sealed(data: Any) -> bytes:
    """A file with its seal: the CRC-32C of all other bytes.

    Args:
        data: what a writer gave after `add_notes`.
    """
    raw = bytes(data)
    begin, end = _seal_of(raw)
    return b"".join((raw[:begin], b"%08x" % crc32c(raw[end:], crc32c(raw[:begin])), raw[end:]))


def check_seal(data: Any, name: str) -> bool:
    """Compares the seal of a file with its bytes.

    Returns:
        Whether it has a seal.

    Raises:
        DamagedSeries: they differ.
    """
    raw = data if isinstance(data, bytes) else bytes(memoryview(data))
    begin, end = _seal_of(raw)
    if begin < 0:
        return False
    actual = b"%08x" % crc32c(raw[end:], crc32c(raw[:begin]))
    if raw[begin:end] != actual:
        expected = raw[begin:end].decode("ascii", "backslashreplace")
        raise DamagedSeries(name, f"has the CRC-32C {actual.decode()} and was written with {expected}")
    return True


def open_checked(data: Any, name: str, **options: Any) -> Any:
    """Opens a file of series; what is read from it is verified page by page.

    Args:
        data: the whole file.
        name: its key, for messages.
        options: of `pyarrow.parquet.ParquetFile`.

    Raises:
        DamagedSeries: it is no Parquet file, or not the one that was written.
    """
    check_seal(data, name)
    with damage(name):
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, **options)


def notes_in(file: Any) -> dict[str, str]:
    """The texts of a file's metadata, without its seal."""
    texts = (file.metadata.metadata or {}).items()
    return {key.decode(): value.decode() for key, value in texts if key != SEAL.encode()}


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turns what Arrow says of a damaged file into a DamagedSeries."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DamagedSeries(name, f"holds no series: {first_line(error)}") from error


def _seal_of(raw: bytes) -> tuple[int, int]:
    """Where the digits of the seal stand; (-1, -1) where there is none."""
    # The last one: texts of the data and of the footer's statistics stand before it.
    found = raw.rfind(_MARK)
    return (-1, -1) if found < 0 else (found + len(_MARK), found + len(_MARK) + _DIGITS)
