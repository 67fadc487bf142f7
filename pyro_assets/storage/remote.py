"""Buckets behind any fsspec file system, translated into what `interface` promises.

The file system is handed in, so nothing here imports fsspec. What only one store can do belongs to that store's module.
"""

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, ClassVar, Final

from pyro_assets.errors import (
    AccessRefused,
    ObjectChanged,
    ObjectConflict,
    ObjectMissing,
    ObjectUnreadable,
    StorageError,
    StorageUnavailable,
    Throttled,
)
from pyro_assets.storage.interface import Bucket, ByteRange, Folder, ObjectInfo, ReadOnlyBucket

# A bucket that is not there is a wrong setting or an outage, never an object that is lost.
_NO_BUCKET: Final = frozenset({"NoSuchBucket"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
# Of one object, whatever the credentials: it was moved to a class from which it must be restored first.
_ARCHIVED: Final = frozenset({"InvalidObjectState"})
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_NO_CREDENTIALS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError"})
_THROTTLED: Final = frozenset({"SlowDown", "503", "429", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
NO_RANGE: Final = frozenset({"InvalidRange", "416"})


class RemoteReadOnlyBucket(ReadOnlyBucket):
    """A bucket behind any fsspec file system. Lists the whole prefix, for want of anything better in general.

    Attributes:
        most_keys: a prefix with more keys is refused: each tick would take minutes and the memory of all of them.
    """

    most_keys: ClassVar[int] = 200_000

    def __init__(self, url: str, filesystem: Any, place: str) -> None:
        super().__init__(url)
        self._fs = filesystem
        self._place = place

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`."""
        with self._translated(key):
            return bytes(self._fs.cat_file(self._path(key)))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ReadOnlyBucket.get_range`."""
        if length == 0:
            return b""
        with self._translated(key):
            data = bytes(self._fs.cat_file(self._path(key), start=start, end=start + length))
        part = self._part(ByteRange(key, start, length), data)
        if isinstance(part, StorageError):
            raise part
        return part

    def get(self, key: str, size_bytes: int) -> bytes:
        """See `ReadOnlyBucket.get`. One request: asks for a byte more than there should be."""
        data = self.get_many([ObjectInfo(key, size_bytes)])[0]
        if isinstance(data, StorageError):
            raise data
        return data

    def get_many(self, objects: Sequence[ObjectInfo]) -> list[bytes | StorageError]:
        """See `ReadOnlyBucket.get_many`. The requests run at the same time."""
        ranged = [item for item in objects if item.size_bytes]
        with self._translated(objects[0].key if objects else ""):
            found = self._fs.cat_ranges(
                [self._path(item.key) for item in ranged],
                [0] * len(ranged),
                [item.size_bytes + 1 for item in ranged],
                on_error="return",
            )
        results = dict(zip(ranged, found, strict=True))
        # An empty object has no range that could be asked for.
        return [
            self._checked(item, results[item]) if item in results else self._attempt_empty(item) for item in objects
        ]

    def get_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes | StorageError]:
        """See `ReadOnlyBucket.get_ranges`. The requests run at the same time."""
        asked = [one for one in dict.fromkeys(ranges) if one.length]
        with self._translated(asked[0].key if asked else ""):
            found = self._fs.cat_ranges(
                [self._path(one.key) for one in asked],
                [one.start for one in asked],
                [one.start + one.length for one in asked],
                on_error="return",
            )
        results = dict(zip(asked, found, strict=True))
        return [self._part(one, results[one]) if one.length else b"" for one in ranges]

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        with self._translated(key):
            info = self._fs.info(self._path(key))
            if info["type"] != "file":
                raise FileNotFoundError(key)
            return int(info["size"])

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`."""
        with self._translated(prefix):
            self._fs.invalidate_cache()
            found = self._fs.find(self._path(prefix), detail=True)
        if len(found) > self.most_keys:
            raise StorageUnavailable(
                f"{self.url} has {len(found)} objects below {prefix or 'its top'}; a store of this kind can only be "
                f"listed as a whole, which takes too long for more than {self.most_keys}: use its S3 interface (s3://) "
                "instead, or let a lifecycle rule delete what is old",
                key=prefix,
            )
        keys = sorted((self._key(path), int(info["size"])) for path, info in found.items())
        return [ObjectInfo(key, size) for key, size in keys if key > start_after][:limit]

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        with self._translated(prefix):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path(prefix), detail=True)
            except FileNotFoundError:
                found = []
        folders = sorted(posixpath.basename(i["name"].rstrip("/")) for i in found if i["type"] == "directory")
        objects = sorted((self._key(i["name"]), int(i["size"])) for i in found if i["type"] == "file")
        return Folder(tuple(folders), tuple(ObjectInfo(key, size) for key, size in objects))

    def _path(self, key: str) -> str:
        return f"{self._place}/{key}"

    def _key(self, path: str) -> str:
        return path.strip("/").removeprefix(f"{self._place}/")

    def _attempt_empty(self, item: ObjectInfo) -> bytes | StorageError:
        try:
            return super().get(item.key, item.size_bytes)
        except StorageError as error:
            return error

    def _part(self, one: ByteRange, found: bytes | Exception) -> bytes | StorageError:
        if isinstance(found, Exception):
            return self._translate(one.key, found)
        if len(found) != one.length:
            end = one.start + one.length
            return ObjectChanged(f"{one.key} ends before byte {end}; it was written again", key=one.key)
        return bytes(found)

    def _checked(self, item: ObjectInfo, found: bytes | Exception) -> bytes | StorageError:
        if isinstance(found, Exception):
            return self._translate(item.key, found)
        if len(found) != item.size_bytes:
            return ObjectChanged(
                f"{item.key} does not have the {item.size_bytes} bytes that were listed: it was written again; "
                "it is read anew",
                key=item.key,
            )
        return bytes(found)

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        # A file system raises what its client library raises; whatever that is, the caller can only try again later.
        except Exception as error:
            raise self._translate(key, error) from error

    def _translate(self, key: str, error: Exception) -> StorageError:
        code = error_code(error)
        if code in NO_RANGE:
            return ObjectChanged(f"{key} is shorter than was listed: it was written again; it is read anew", key=key)
        if code in _ARCHIVED:
            return ObjectUnreadable(f"{key} is archived ({code}: {error}); {remedy_of(code)}", keys=(key,))
        if isinstance(error, FileNotFoundError) and code not in _NO_BUCKET:
            return ObjectMissing(f"{key} is not in {self.url} (any more)", key=key)
        return self._unavailable(f"does not do what was asked for {key or 'its keys'}", key, error)

    def _unavailable(self, what: str, key: str, error: Exception) -> StorageUnavailable:
        """What is wrong with the bucket as a whole, and what to do."""
        code = error_code(error)
        reason = f"{code}: {error}" if code else f"{type(error).__name__}: {error}"
        if code in _NO_BUCKET:
            return AccessRefused(f"{self.url} names no bucket that exists ({reason}); correct it, or make it", key=key)
        if code in _SKEWED:
            remedy = "the clock of this machine is wrong, or the store's is; set it by NTP"
            return AccessRefused(f"{self.url} refuses requests by their time: {reason}; {remedy}", key=key)
        if code.startswith("KMS."):
            return AccessRefused(f"{self.url} cannot decrypt: {reason}; {remedy_of(code)}", key=key, reason=reason)
        if code in _REFUSED or isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
            remedy = "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and what they may do there"
            return AccessRefused(f"{self.url} refuses access: {reason}; {remedy}", key=key, reason=reason)
        if code in _THROTTLED:
            return Throttled(f"{self.url} throttles ({reason}): it is asked again later", key=key)
        return StorageUnavailable(f"{self.url} {what}: {reason}", key=key)


class RemoteBucket(RemoteReadOnlyBucket, Bucket):
    """A writable bucket behind any fsspec file system. Between looking and writing another writer may slip in."""

    def create(self, key: str, data: bytes) -> bool:
        """See `Bucket.create`."""
        if self._exists(key):
            return self._same(key, data)
        if not self._put_new(key, data):
            return self._same(key, data)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """See `Bucket.replace`."""
        with self._translated(key):
            self._fs.pipe_file(self._path(key), data)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Bucket.remove`."""
        for key in keys:
            with self._translated(key), suppress(FileNotFoundError):
                self._fs.rm_file(self._path(key))

    def _put_new(self, key: str, data: bytes) -> bool:
        self.replace(key, data)
        return True

    def _exists(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True

    def _same(self, key: str, data: bytes) -> bool:
        if self.read(key) != data:
            raise ObjectConflict(f"{key} exists with other bytes; it was left alone", key=key)
        return False


def remedy_of(reason: str) -> str:
    """What to do about an object that is not given out while others are, by what the store says of it.

    >>> remedy_of("KMS.DisabledException: key 7 is disabled")
    'let its KMS key be used again (enabled, not deleted, kms:Decrypt for these credentials)'
    """
    if any(code in reason for code in _ARCHIVED):
        return "restore it from its storage class (S3 Glacier, Deep Archive) by `aws s3api restore-object`"
    if "kms" in reason.lower():
        return "let its KMS key be used again (enabled, not deleted, kms:Decrypt for these credentials)"
    return "look at what denies this one: its owner, its ACL, a policy or tag, the mode of its file, its KMS key"


def error_code(error: BaseException | None) -> str:
    """The S3 error code behind an exception, "" if there is none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""
