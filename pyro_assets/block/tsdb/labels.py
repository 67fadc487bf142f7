"""A series' labels: their order, their fingerprint and the profile type among them.

Rules that the format lays on labels belong here. Which labels become part of a metric does not: that is `series`
(FORMAT.md, 5.2).
"""

from collections.abc import Iterable
from typing import Final

import xxhash

from pyro_assets.block.columns import Labels

PROFILE_TYPE: Final = b"__profile_type__"
SERVICE_NAME: Final = b"__service_name__"

#: The parts of a profile type, in its order; also the names of the private labels that carry them.
PROFILE_TYPE_PARTS: Final = (b"__name__", b"__type__", b"__unit__", b"__period_type__", b"__period_unit__")

_FIRST: Final = {PROFILE_TYPE: 0, SERVICE_NAME: 1}


def fingerprint(labels: Labels) -> int:
    """xxHash64 over `name 0xFF value 0xFF` of every label in stored order, unsigned.

    >>> hex(fingerprint(((b"a", b"1"),)))
    '0x6577cd4df75e4415'
    """
    data = b"".join([part + b"\xff" for label in labels for part in label])
    return int(xxhash.xxh64_intdigest(data))


def in_stored_order(labels: Iterable[tuple[bytes, bytes]]) -> Labels:
    """Puts labels into the order they are stored in: profile type, service name, then the rest by name.

    Blocks from before 2025 sort all labels by name; this is the order that is written today.

    >>> in_stored_order([(b"pod", b"x"), (b"__service_name__", b"s"), (b"__name__", b"cpu")])
    ((b'__service_name__', b's'), (b'__name__', b'cpu'), (b'pod', b'x'))
    """
    return tuple(sorted(labels, key=lambda label: (_FIRST.get(label[0], 2), label)))


def profile_type(labels: Labels) -> bytes:
    """The profile type `name:type:unit:period_type:period_unit` of a series.

    It is a label of its own in real blocks; where that is absent it is put together from its parts, and empty
    when there is none of these either.

    >>> profile_type(((b"__name__", b"cpu"), (b"__type__", b"samples"), (b"__unit__", b"count")))
    b'cpu:samples:count::'
    """
    values = dict(labels)
    stored = values.get(PROFILE_TYPE)
    if stored is not None:
        return stored
    if not any(part in values for part in PROFILE_TYPE_PARTS):
        return b""
    return b":".join([values.get(part, b"") for part in PROFILE_TYPE_PARTS])
