"""Buckets of S3 and of whatever speaks its protocol (MinIO, Ceph): listing from a start key, conditional writes.

Add what the protocol can do beyond any fsspec file system; the file system (s3fs's) is handed in.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from pyro_assets.errors import StorageError, StorageUnavailable
from pyro_assets.storage.interface import Folder, ObjectInfo
from pyro_assets.storage.remote import NO_RANGE, RemoteBucket, RemoteReadOnlyBucket, error_code

_EXISTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_NOT_IMPLEMENTED: Final = frozenset({"NotImplemented", "501"})


class S3ReadOnlyBucket(RemoteReadOnlyBucket):
    """A bucket of S3 or of anything that speaks its protocol; lists from a start key.

    Attributes:
        page_keys: keys in one request or answer; the protocol's maximum.
    """

    page_keys: ClassVar[int] = 1000

    def __init__(self, url: str, filesystem: Any, place: str) -> None:
        super().__init__(url, filesystem, place)
        self._bucket, _, folder = place.partition("/")
        self._prefix = f"{folder}/" if folder else ""

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`. From byte 0 on: without a range s3fs would ask for the size first."""
        with self._translated(key):
            try:
                return bytes(self._fs.cat_file(self._path(key), start=0))
            except OSError as error:
                if error_code(error) in NO_RANGE:
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

    def _translate(self, key: str, error: Exception) -> StorageError:
        # A listing is of the bucket: "not found" means that the bucket is not there.
        if key.endswith("/") or not key:
            return self._unavailable("cannot be listed", key, error)
        return super()._translate(key, error)


class S3Bucket(S3ReadOnlyBucket, RemoteBucket):
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
            code = error_code(error)
            if code in _EXISTS or isinstance(error, FileExistsError):
                return False
            if code in _NOT_IMPLEMENTED:
                self.replace(key, data)
                return True
            raise self._translate(key, error) from error
        return True
