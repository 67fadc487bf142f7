"""A bounded memory of what was read before, keyed by the bytes themselves.

The programs behind segments push the same series for hours, so symbol tables and look-up parts of one job come again,
to the byte, in the next. Only results that follow from their key alone may be remembered, and only good ones: a memory
never changes what is returned or raised. Nothing here knows what is remembered.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(Generic[Key, Value]):
    """Remembers values until their sizes exceed `limit_bytes`, then starts anew.

    Safe to share between threads: at worst something is computed twice.

    >>> memo: Memo[bytes, int] = Memo(limit_bytes=10)
    >>> memo.put(b"a", 1, size_bytes=6); memo.get(b"a")
    1
    >>> memo.put(b"b", 2, size_bytes=6); memo.get(b"a"), memo.get(b"b")
    (None, 2)
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._held_bytes = 0
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """The value of `key`, or None."""
        return self._values.get(key)

    def put(self, key: Key, value: Value, size_bytes: int) -> None:
        """Remembers a value unless it is larger than all that may be held."""
        if size_bytes > self._limit_bytes:
            return
        if self._held_bytes + size_bytes > self._limit_bytes:
            # A new dictionary rather than clear(): another thread may be reading the old one.
            self._values, self._held_bytes = {}, 0
        self._values[key] = value
        self._held_bytes += size_bytes
