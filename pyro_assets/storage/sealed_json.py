"""Records of the archive as canonical JSON that ends with its own checksum: a flipped bit is noticed when it is read.

Records of version 1 are from before checksums and are read as they are. What a record holds is its own module's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from pyro_assets.errors import BadRecord
from pyro_assets.storage.checksum import crc32c

#: Of every kind of record.
VERSION: Final = 2
_NAME: Final = b',"crc32c":"'
_TAIL: Final = re.compile(_NAME + rb'([0-9a-f]{8})"}\n\Z')
_TAIL_BYTES: Final = len(_NAME) + 11
_REMEDY: Final = (
    "restore it from a copy of the archive, or have it written again from the ledger by "
    "`pyro-assets verify --archive --repair`"
)


def to_bytes(plain: Mapping[str, Any], *, version: str = "version") -> bytes:
    r"""Sorted names, no spaces, ASCII, and at the end the CRC-32C of all that stands before it.

    >>> to_bytes({"a": 1})
    b'{"a":1,"version":2,"crc32c":"28515b79"}\n'

    Args:
        plain: what JSON can express.
        version: the name under which the version of the record stands.
    """
    head = json.dumps({**plain, version: VERSION}, sort_keys=True, separators=(",", ":")).encode()[:-1] + _NAME
    return head + b'%08x"}\n' % crc32c(head)


def from_bytes(data: bytes, key: str, what: str, remedy: str = _REMEDY, *, version: str = "version") -> dict[str, Any]:
    """The values of a record that `to_bytes` made.

    Args:
        data: the whole object.
        key: of the object, for messages.
        what: the kind of record, for messages ("a commit record").
        remedy: for messages, where it is none.
        version: see `to_bytes`.

    Raises:
        BadRecord: it is something else, damaged, or of a newer program.
    """
    tail = _TAIL.search(data, max(len(data) - _TAIL_BYTES, 0))
    if tail is not None and (actual := crc32c(data[: tail.start(1)])) != int(tail[1], 16):
        why = f"has the CRC-32C {actual:08x} and was written with {tail[1].decode()}"
        raise BadRecord(f"{key} {why}; {remedy}", key=key)
    with parsing(key, what, remedy):
        plain: dict[str, Any] = json.loads(data)
        found = plain.pop(version)
        plain.pop("crc32c", None)
        if found not in (1, VERSION):
            raise BadRecord(f"{key} has version {found}; this program knows {VERSION}", key=key)
        if found == VERSION and tail is None:
            raise ValueError("it has no checksum")
    return plain


@contextmanager
def parsing(key: str, what: str, remedy: str = _REMEDY) -> Iterator[None]:
    """Turns errors about the contents of a record into a BadRecord."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise BadRecord(f"{key} is not {what} ({why}); {remedy}", key=key) from error
