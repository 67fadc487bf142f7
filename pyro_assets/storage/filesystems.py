"""Buckets behind fsspec's file systems: any of them, and s3fs's with what S3's protocol can do beyond.

The file system is handed in, so nothing here imports fsspec. S3 is `s3`'s; s3fs's is for what that one lacks.
"""

import posixpath
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, ClassVar

from pyro_assets.errors import StorageUnavailable
from pyro_assets.storage.interface import ByteRange, DeltaPlace, Folder, ObjectInfo
from pyro_assets.storage.remote import EXISTS, NO_RANGE, NOT_IMPLEMENTED, RemoteBucket, RemoteReadOnlyBucket
from pyro_assets.storage.s3_options import s3_options


class FileSystemReadOnlyBucket(RemoteReadOnlyBucket):
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

    def fetch(self, ranges: Sequence[ByteRange]) -> list[bytes | Exception]:
        """See `RemoteReadOnlyBucket.fetch`."""
        with self._translated(ranges[0].key if ranges else ""):
            found: list[bytes | Exception] = self._fs.cat_ranges(
                [self._path(one.key) for one in ranges],
                [one.start for one in ranges],
                [one.start + one.length for one in ranges],
                on_error="return",
            )
        return found

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

    def code_of(self, error: Exception) -> str:
        """See `RemoteReadOnlyBucket.code_of`. It stands in what botocore answered."""
        cause: BaseException | None = error
        while cause is not None:
            response = getattr(cause, "response", None)
            if isinstance(response, dict):
                return str(response.get("Error", {}).get("Code", ""))
            cause = cause.__cause__
        return ""

    def words_of(self, error: Exception) -> str:
        """See `RemoteReadOnlyBucket.words_of`."""
        code = self.code_of(error)
        return f"{code}: {error}" if code else super().words_of(error)


class FileSystemBucket(FileSystemReadOnlyBucket, RemoteBucket):
    """A writable bucket behind any fsspec file system. Between looking and writing another writer may slip in."""

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


class S3fsReadOnlyBucket(FileSystemReadOnlyBucket):
    """A bucket of S3 or of anything that speaks its protocol; lists from a start key.

    Attributes:
        page_keys: keys in one request or answer; the protocol's maximum.
    """

    page_keys: ClassVar[int] = 1000

    def __init__(self, url: str, filesystem: Any, place: str) -> None:
        super().__init__(url, filesystem, place)
        self._bucket, _, folder = place.partition("/")
        self._prefix = f"{folder}/" if folder else ""

    def delta_place(self, folder: str) -> DeltaPlace:  # noqa: ARG002 - none has a place there
        """See `ReadOnlyBucket.delta_place`."""
        beyond = ", ".join(s3_options(self._bucket).beyond)
        return DeltaPlace("", why_not=f"Delta Lake has no name for what is said of S3, or is not: {beyond}")

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`. From byte 0 on: without a range s3fs would ask for the size first."""
        with self._translated(key):
            try:
                return bytes(self._fs.cat_file(self._path(key), start=0))
            except OSError as error:
                if self.code_of(error) in NO_RANGE:
                    return b""
                raise

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        answer = self._call("head_object", key, Key=self._prefix + key)
        return int(answer["ContentLength"])

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`. One request per `page_keys`."""
        found: list[ObjectInfo] = []
        start = self._prefix + start_after if start_after else ""
        while len(found) < limit:
            answer = self._call(
                "list_objects_v2",
                prefix,
                Prefix=self._prefix + prefix,
                MaxKeys=min(limit - len(found), self.page_keys),
                **({"StartAfter": start} if start else {}),
            )
            page = [(item["Key"], int(item["Size"])) for item in answer.get("Contents", ())]
            found += [ObjectInfo(key.removeprefix(self._prefix), size) for key, size in page]
            if not answer.get("IsTruncated") or not page:
                break
            start = page[-1][0]
        return found

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        folders: list[str] = []
        objects: list[ObjectInfo] = []
        token: dict[str, str] = {}
        while True:
            answer = self._call(
                "list_objects_v2", prefix, Prefix=self._prefix + prefix, Delimiter="/", MaxKeys=self.page_keys, **token
            )
            folders += [item["Prefix"].rstrip("/").rsplit("/", 1)[-1] for item in answer.get("CommonPrefixes", ())]
            objects += [
                ObjectInfo(item["Key"].removeprefix(self._prefix), int(item["Size"]))
                for item in answer.get("Contents", ())
            ]
            if not answer.get("IsTruncated"):
                return Folder(tuple(folders), tuple(objects))
            token = {"ContinuationToken": answer["NextContinuationToken"]}

    def _call(self, method: str, key: str, **arguments: Any) -> Any:
        with self._translated(key):
            return self._fs.call_s3(method, Bucket=self._bucket, **arguments)


class S3fsBucket(S3fsReadOnlyBucket, FileSystemBucket):
    """A writable bucket of S3. Where the server knows conditional writes, nobody can slip in."""

    def replace(self, key: str, data: bytes) -> None:
        """See `Bucket.replace`. One request, so the object appears whole."""
        self._call("put_object", key, Key=self._prefix + key, Body=data)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Bucket.remove`. One request per thousand keys."""
        for begin in range(0, len(keys), self.page_keys):
            part = [{"Key": self._prefix + key} for key in keys[begin : begin + self.page_keys]]
            answer = self._call("delete_objects", keys[begin], Delete={"Objects": part, "Quiet": True})
            for error in answer.get("Errors", ()):
                raise StorageUnavailable(
                    f"{self.url} does not remove {error.get('Key')}: {error.get('Code')}: {error.get('Message')}",
                    key=str(error.get("Key", "")),
                )

    def _put_new(self, key: str, data: bytes) -> bool:
        try:
            self._fs.call_s3("put_object", Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*")
        except Exception as error:
            code = self.code_of(error)
            if code in EXISTS or isinstance(error, FileExistsError):
                return False
            if code in NOT_IMPLEMENTED:
                self.replace(key, data)
                return True
            raise self._translate(key, error) from error
        return True
