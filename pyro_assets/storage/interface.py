"""The interface of buckets, whatever keeps them: the classes that everything above storage is written against.

Add a method here, and to every kind of bucket, when a caller needs it. The source bucket is a `ReadOnlyBucket`, which
has no way to write or delete: that Pyroscope's bucket is never touched holds by construction.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache
from typing import Final, Protocol, TypeVar
from urllib.parse import urlsplit

from pyro_assets.errors import ObjectChanged, StorageError

#: Objects of `read_all` in memory at a time.
_READ_TOGETHER: Final = 500


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One line of a listing."""

    key: str
    size_bytes: int


class Stored(Protocol):
    """An object of which the size is known: a line of a listing, a block, a file of series."""

    @property
    def key(self) -> str:
        """Where it lies."""

    @property
    def size_bytes(self) -> int:
        """Its size."""


Listed = TypeVar("Listed", bound=Stored)


def portions(objects: Iterable[Listed], most_bytes: int, most: int | None = None) -> Iterator[list[Listed]]:
    """Objects in their order, so many and of so many bytes at a time; one that is larger comes alone.

    >>> objects = [ObjectInfo("a", 1), ObjectInfo("b", 2), ObjectInfo("c", 9), ObjectInfo("d", 0)]
    >>> [[one.key for one in portion] for portion in portions(objects, 3)]
    [['a', 'b'], ['c'], ['d']]
    """
    portion: list[Listed] = []
    size_bytes = 0
    for one in objects:
        if portion and (size_bytes + one.size_bytes > most_bytes or len(portion) == most):
            yield portion
            portion, size_bytes = [], 0
        portion.append(one)
        size_bytes += one.size_bytes
    if portion:
        yield portion


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes start:start + length of an object."""

    key: str
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Folder:
    """One level of keys: the names directly below a prefix.

    Attributes:
        folders: names of the folders, without "/", sorted.
        objects: keys of the objects directly there, sorted.
    """

    folders: tuple[str, ...]
    objects: tuple[ObjectInfo, ...]


@dataclass(frozen=True, slots=True)
class DeltaPlace:
    """A folder of a bucket as Delta Lake knows it.

    Attributes:
        url: of the folder; options: for its store.
        why_not: why there can be no table, "" where there can.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    why_not: str = ""


class ReadOnlyBucket(ABC):
    """A bucket that can only be read.

    Every method raises StorageUnavailable when the bucket does not answer, throttles or refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The whole object, as large as it is now.

        Raises:
            ObjectMissing: there is no such object (any more).
        """

    @abstractmethod
    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly the bytes start:start + length of an object.

        Raises:
            ObjectMissing: there is no such object (any more).
            ObjectChanged: the object ends before.
        """

    @abstractmethod
    def size(self, key: str) -> int:
        """The object's size in bytes.

        Raises:
            ObjectMissing: there is no such object (any more).
        """

    @abstractmethod
    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """Up to `limit` objects whose keys begin with `prefix` and are greater than `start_after`, in key order.

        The order is that of the keys' bytes in every kind of bucket, so that the last key is where the next page
        starts. A prefix ends with "/" (or is empty). A folder that does not exist is an empty one.
        """

    @abstractmethod
    def list_folder(self, prefix: str) -> Folder:
        """The names directly below `prefix`, which ends with "/" (or is empty)."""

    def pages(self, prefix: str, start_after: str = "", limit: int = 1000) -> Iterator[list[ObjectInfo]]:
        """The pages of a listing from `start_after` to the end, each asked for when it is wanted; see `list_after`."""
        while page := self.list_after(prefix, start_after, limit):
            yield page
            start_after = page[-1].key

    def read_all(self, prefix: str) -> Iterator[tuple[str, bytes]]:
        """Keys and bytes of all objects whose keys begin with `prefix`, in key order; some hundred are in memory.

        Raises:
            StorageError: one cannot be read.
        """
        for page in self.pages(prefix, limit=_READ_TOGETHER):
            for item, data in zip(page, self.get_many(page), strict=True):
                if isinstance(data, Exception):
                    raise data
                yield item.key, data

    def get(self, key: str, size_bytes: int) -> bytes:
        """The whole object, which must have the size that the listing said.

        Raises:
            ObjectMissing: there is no such object (any more).
            ObjectChanged: its size differs.
        """
        data = self.read(key)
        if len(data) != size_bytes:
            raise ObjectChanged(
                f"{key} has {len(data)} bytes, but {size_bytes} were listed: it was written again; it is read anew",
                key=key,
            )
        return data

    def get_many(self, objects: Sequence[Stored]) -> list[bytes | StorageError]:
        """The bytes of each object, or the error that `get` raises, in order; where possible read at the same time."""
        return [self._attempt(item) for item in objects]

    def get_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes | StorageError]:
        """The bytes of each range, or the error that `get_range` raises, in order; see `get_many`."""
        found: list[bytes | StorageError] = []
        for one in ranges:
            try:
                found.append(self.get_range(one.key, one.start, one.length))
            except StorageError as error:
                found.append(error)
        return found

    def delta_place(self, folder: str) -> DeltaPlace:  # noqa: ARG002 - most kinds are unknown there
        """Where Delta Lake finds a folder, asked for whenever it is opened: credentials change."""
        scheme = urlsplit(self.url).scheme
        return DeltaPlace("", why_not=f"a table can lie in a folder or on S3, and this is {scheme}://")

    def _attempt(self, item: Stored) -> bytes | StorageError:
        try:
            return self.get(item.key, item.size_bytes)
        except StorageError as error:
            return error


class Bucket(ReadOnlyBucket):
    """A bucket of ours, the archive: objects appear whole or not at all."""

    @abstractmethod
    def create(self, key: str, data: bytes) -> bool:
        """Writes an object that must not exist yet; one that has the same bytes already is as good.

        Returns:
            True if it was written, False if it was there with the same bytes.

        Raises:
            ObjectConflict: it is there with other bytes, which are left alone.
        """

    @abstractmethod
    def replace(self, key: str, data: bytes) -> None:
        """Writes an object or puts new bytes in place of the old ones in one step."""

    def create_many(self, objects: Mapping[str, bytes]) -> None:
        """What `create` does, for each object; at the same time where that is faster.

        Raises:
            ObjectConflict: see `create`; which of the others were written is not known.
        """
        for key, data in objects.items():
            self.create(key, data)

    def replace_many(self, objects: Mapping[str, bytes]) -> None:
        """What `replace` does, for each object; at the same time where that is faster."""
        for key, data in objects.items():
            self.replace(key, data)

    @abstractmethod
    def remove(self, keys: Sequence[str]) -> None:
        """Removes objects; a missing one is no error.

        Raises:
            StorageUnavailable: some of them may be left; call it again.
        """

    def unfinished(self, before_ms: int) -> list[ObjectInfo]:  # noqa: ARG002 - most kinds leave nothing
        """Temporary objects that dead writers left before a moment, by keys that `remove` takes; in no listing."""
        return []


_AT_ONCE: Final = 32


@cache
def threads() -> ThreadPoolExecutor:
    """Where requests run side by side; one for all buckets of a process, which travel to others without it."""
    return ThreadPoolExecutor(_AT_ONCE, "bucket")


def each_at_once(write: Callable[[str, bytes], object], objects: Mapping[str, bytes]) -> None:
    """Writes objects side by side; raises the first error when all have ended."""
    if len(objects) < 2:
        for key, data in objects.items():
            write(key, data)
        return
    written = [threads().submit(write, key, data) for key, data in objects.items()]
    wait(written)
    for one in written:
        one.result()
