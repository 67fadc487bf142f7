"""Buckets that are folders: the same keys in the same order as in an object store, and no half-written objects.

Written with `os` rather than fsspec because listing from a start key, creating without overwriting and flushing to
disk are what fsspec's local files do not offer. What a remote bucket needs does not belong here.
"""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import nsmallest
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import ClassVar, Final, NoReturn, TypeVar

from pyro_assets.errors import AccessRefused, ObjectChanged, ObjectConflict, ObjectMissing, StorageUnavailable
from pyro_assets.storage.interface import Bucket, DeltaPlace, Folder, ObjectInfo, ReadOnlyBucket, each_at_once

#: Unfinished writes lie here, on the same file system as the objects, and are in no listing.
TEMPORARY_FOLDER: Final = ".tmp"

_Made = TypeVar("_Made")

_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})

# Keys have up to five parts; deeper ones are a loop of links or not ours.
_MAX_DEPTH: Final = 16
# Names of a folder that are kept at a time: a page of a listing, and some for what vanishes meanwhile.
_BATCH: Final = 1_100


class LocalReadOnlyBucket(ReadOnlyBucket):
    """A folder that is only read. It need not exist yet: then its listings are empty.

    Attributes:
        must_exist: whether the first folder of a key must be there for its object to be called missing: a file system
            that is not mounted must not look like a source whose objects are all lost.
    """

    must_exist: ClassVar[bool] = True

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).absolute()
        super().__init__(str(self.folder))

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`."""
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            self._raise(key, error)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ReadOnlyBucket.get_range`."""
        try:
            with self._path(key).open("rb") as file:
                file.seek(start)
                data = file.read(length)
        except OSError as error:
            self._raise(key, error)
        if len(data) != length:
            raise ObjectChanged(f"{key} ends before byte {start + length}; it was written again", key=key)
        return data

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        try:
            found = self._path(key).stat()
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(key)
        except OSError as error:
            self._raise(key, error)
        return found.st_size

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`.

        Costs a read of each folder on the way to the objects returned: 50 ms for a hundred thousand names.
        """
        return list(islice(self._walk(self._folder(prefix), prefix, start_after, 0), limit))

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        folders: list[str] = []
        objects: list[ObjectInfo] = []
        for name, entry in sorted(self._scan(self._folder(prefix), prefix), key=itemgetter(0)):
            if name.endswith("/"):
                folders.append(name[:-1])
            else:
                objects.extend(self._info(prefix + name, entry))
        return Folder(tuple(folders), tuple(objects))

    def _walk(self, folder: Path, prefix: str, start_after: str, depth: int) -> Iterator[ObjectInfo]:
        for name, entry in self._entries(folder, prefix, start_after):
            key = prefix + name
            if not name.endswith("/"):
                yield from self._info(key, entry)
            elif depth < _MAX_DEPTH:
                yield from self._walk(Path(entry.path), key, start_after, depth + 1)

    def _entries(self, folder: Path, prefix: str, start_after: str) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Names in a folder that can hold keys greater than `start_after`, in the order of their keys.

        A folder sorts as its name with "/" ("a-b" comes before "a/"), as the keys below it do. The whole folder is
        read, but no more of it is kept than a batch: a shard has a hundred thousand segments within a day.
        """
        last = ""
        while True:
            batch = nsmallest(_BATCH, self._scan(folder, prefix, start_after, last), key=itemgetter(0))
            yield from batch
            if len(batch) < _BATCH:
                return
            last = batch[-1][0]

    def _scan(
        self, folder: Path, prefix: str, start_after: str = "", last: str = ""
    ) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Names of a folder after `last` that can hold keys greater than `start_after`, in any order."""
        # Names below the first part of the start are behind it, unless they are a beginning of it ("a" of "a-b/c").
        first = start_after.removeprefix(prefix).split("/")[0] if start_after.startswith(prefix) else ""
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name < first and not first.startswith(entry.name):
                        continue
                    name = entry.name + "/" if entry.is_dir() else entry.name
                    key = prefix + name
                    if name <= last or (
                        key <= start_after and not (name.endswith("/") and start_after.startswith(key))
                    ):
                        continue
                    if key != TEMPORARY_FOLDER + "/":
                        yield name, entry
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._raise(prefix, error)

    def _info(self, key: str, entry: "os.DirEntry[str]") -> Iterator[ObjectInfo]:
        try:
            size_bytes = entry.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return  # gone since the folder was read, or a dangling link: as if it had not been listed
        except OSError as error:
            self._raise(key, error)
        yield ObjectInfo(key, size_bytes)

    def delta_place(self, folder: str) -> DeltaPlace:
        """See `ReadOnlyBucket.delta_place`."""
        return DeltaPlace(str(self.folder / folder))

    def _path(self, key: str) -> Path:
        parts = key.split("/")
        if any(part in ("", ".", "..") or "\0" in part for part in parts):
            raise ObjectMissing(f"{key!r} cannot be the key of an object", key=key)
        return self.folder.joinpath(*parts)

    def _folder(self, prefix: str) -> Path:
        return self._path(prefix.removesuffix("/")) if prefix else self.folder

    def _raise(self, key: str, error: OSError) -> NoReturn:
        if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
            top = self.folder / key.split("/")[0]
            if not self.must_exist or top.exists():
                raise ObjectMissing(f"{key} is not in {self.folder} (any more)", key=key) from error
            raise StorageUnavailable(
                f"{top} does not exist; mount the file system or correct the bucket's URL", key=key
            ) from error
        raise _unavailable(f"{self.folder / key}", error, key) from error


class LocalBucket(LocalReadOnlyBucket, Bucket):
    """A folder that is written to. An object's bytes are on the disk before its name appears."""

    # Its folders are made as they are needed.
    must_exist: ClassVar[bool] = False

    def create(self, key: str, data: bytes) -> bool:
        """See `Bucket.create`."""
        target = self._path(key)
        with self._written(key, data) as temporary:
            try:
                # A link, unlike a rename, does not replace an object.
                _in_folder(target, lambda: os.link(temporary, target))
            except FileExistsError:
                if target.read_bytes() == data:
                    return False
                raise ObjectConflict(f"{key} exists with other bytes; it was left alone", key=key) from None
        return True

    def replace(self, key: str, data: bytes) -> None:
        """See `Bucket.replace`."""
        target = self._path(key)
        with self._written(key, data) as temporary:
            _in_folder(target, lambda: temporary.replace(target))

    def create_many(self, objects: Mapping[str, bytes]) -> None:
        """See `Bucket.create_many`. A disk flushes several files in the time of one."""
        each_at_once(self.create, objects)

    def replace_many(self, objects: Mapping[str, bytes]) -> None:
        """See `Bucket.replace_many`."""
        each_at_once(self.replace, objects)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Bucket.remove`. Folders that become empty go too: a listing would read each of them."""
        for key in keys:
            path = self._path(key)
            try:
                path.unlink(missing_ok=True)
            except NotADirectoryError:
                continue
            except OSError as error:
                raise _unavailable(f"{path} was not removed", error, key) from error
            for folder in path.parents:
                if folder in (self.folder, self.folder / TEMPORARY_FOLDER) or not self._is_removed(folder):
                    break

    def unfinished(self, before_ms: int) -> list[ObjectInfo]:
        """See `Bucket.unfinished`."""
        found = []
        folder = self.folder / TEMPORARY_FOLDER
        try:
            with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
                for entry in entries:
                    # Another writer may finish while we look.
                    with contextlib.suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        if stat.S_ISREG(status.st_mode) and status.st_mtime * 1000 < before_ms:
                            found.append(ObjectInfo(f"{TEMPORARY_FOLDER}/{entry.name}", status.st_size))
        except OSError as error:
            raise _unavailable(f"{folder} was not read", error, TEMPORARY_FOLDER) from error
        return sorted(found, key=lambda item: item.key)

    @staticmethod
    def _is_removed(folder: Path) -> bool:
        try:
            folder.rmdir()
        except OSError:
            return False  # not empty, or another process removed it
        return True

    @contextlib.contextmanager
    def _written(self, key: str, data: bytes) -> Iterator[Path]:
        target = self._path(key)
        temporary = self.folder / TEMPORARY_FOLDER / uuid.uuid4().hex
        try:
            with _in_folder(temporary, lambda: temporary.open("wb")) as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        except OSError as error:
            raise _unavailable(f"{target} was not written", error, key) from error
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _in_folder(path: Path, make: Callable[[], _Made]) -> _Made:
    """Makes something of this path, and its folder where there is none."""
    try:
        return make()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make()


def _unavailable(what: str, error: OSError, key: str) -> StorageUnavailable:
    text = f"{what}: {error.strerror or error}"
    if error.errno in _REFUSED:
        remedy = "give this user permission there, or name another folder"
        return AccessRefused(f"{text}; {remedy}", key=key, reason=text)
    return StorageUnavailable(text, key=key)
