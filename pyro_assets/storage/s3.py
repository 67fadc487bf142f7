"""Buckets of S3 and of whatever speaks its protocol (MinIO, Ceph), by obstore: its client is Rust's `object_store`.

Reading side by side is done by threads: obstore's calls leave the interpreter to others, and its coroutines cost seven
times as much. Options that it lacks, and buckets that it cannot list, are s3fs's (`filesystems`).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import obstore
from obstore.exceptions import AlreadyExistsError, InvalidPathError, PreconditionError
from obstore.store import S3Store

from pyro_assets.errors import SettingsError
from pyro_assets.storage.interface import (
    ByteRange,
    DeltaPlace,
    Folder,
    ObjectInfo,
    ReadOnlyBucket,
    each_at_once,
    threads,
)
from pyro_assets.storage.remote import NOT_IMPLEMENTED, RemoteBucket, RemoteReadOnlyBucket
from pyro_assets.storage.s3_options import KEY, SECRET, TOKEN, S3Options

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

_PAGE_KEYS: Final = 1000
# Ticks and jobs come again anyway, and say meanwhile what is wrong. A large block may take long as long as it moves.
_PATIENCE: Final = timedelta(seconds=15)
_BACKOFF: Final = {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=2), "base": 2}
_TIMEOUTS: Final["ClientConfig"] = {"connect_timeout": "10s", "read_timeout": "60s", "timeout": "1h"}
_CODE: Final = re.compile(r"<Code>([^<]+)</Code>(?:\s*<Message>([^<]*)</Message>)?")
# The innermost one: that a name is unknown, a port closed, a certificate not trusted.
_CAUSE: Final = re.compile(r"(?:error|message): \"([^\"]+)\"|InvalidCertificate\(\s*(\w+)")
_STATUS: Final = re.compile(r"status code: ((\d{3})[\w ]*)")


class S3ReadOnlyBucket(RemoteReadOnlyBucket):
    """A bucket of S3; lists from a start key."""

    def __init__(self, url: str, place: str, options: S3Options, plain: Callable[[], ReadOnlyBucket]) -> None:
        """Connects to nothing yet.

        Args:
            url: of the bucket, for messages.
            place: "bucket" or "bucket/prefix".
            options: how it is reached; nothing is beyond.
            plain: opens the same bucket by s3fs, for listings with keys that are no paths (`a//b`).
        """
        super().__init__(url)
        bucket, _, folder = place.partition("/")
        self._prefix = f"{folder}/" if folder else ""
        self._plain = plain
        self._bucket, self._options = bucket, options
        config: dict[str, Any] = dict(options.values)
        if "AWS_ENDPOINT_URL" in config:
            # Or a variable of this name would go before what was said to fsspec.
            config["AWS_ENDPOINT_URL_S3"] = config["AWS_ENDPOINT_URL"]
        retries: Any = {"max_retries": options.attempts - 1, "retry_timeout": _PATIENCE, "backoff": _BACKOFF}
        credentials: Any = options.credentials
        client: ClientConfig = {**_TIMEOUTS}
        if options.certificates and config.get("AWS_ALLOW_HTTP") != "true":
            client["root_certificate"] = _certificates(options.certificates)
        self._store = S3Store(
            bucket,
            config=cast("S3Config", config),
            client_options=client,
            retry_config=retries,
            credential_provider=credentials,
        )

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`."""
        with self._translated(key):
            return bytes(obstore.get(self._store, self._prefix + key).bytes())

    def fetch(self, ranges: Sequence[ByteRange]) -> list[bytes | Exception]:
        """See `RemoteReadOnlyBucket.fetch`."""
        return [self._found(one) for one in ranges] if len(ranges) < 2 else list(threads().map(self._found, ranges))

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        with self._translated(key):
            return int(obstore.head(self._store, self._prefix + key)["size"])

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`. One request per thousand keys."""
        found: list[ObjectInfo] = []
        offset = self._prefix + start_after if start_after else None
        with self._translated(prefix if prefix.endswith("/") else ""):
            try:
                stream = obstore.list(
                    self._store, self._prefix + prefix, offset=offset, chunk_size=min(limit, _PAGE_KEYS)
                )
                for page in stream:
                    # Paths have no "/" at their ends: an offset "a/" is as good as "a", and "a/" is seen as "a".
                    found += [item for item in map(self._info, page) if item.key > start_after and item.key > prefix]
                    if len(found) >= limit:
                        break
            except (InvalidPathError, ValueError):
                return self._plain().list_after(prefix, start_after, limit)
        return found[:limit]

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        with self._translated(prefix):
            try:
                found = obstore.list_with_delimiter(self._store, self._prefix + prefix)
            except (InvalidPathError, ValueError):
                return self._plain().list_folder(prefix)
        objects = [item for item in map(self._info, found["objects"]) if item.key > prefix]
        return Folder(tuple(path.rsplit("/", 1)[-1] for path in found["common_prefixes"]), tuple(objects))

    def delta_place(self, folder: str) -> DeltaPlace:
        """See `ReadOnlyBucket.delta_place`. Delta Lake reads AWS' variables too: what is said here goes before."""
        if self._options.certificates and self._options.values.get("AWS_ALLOW_HTTP") != "true":
            return DeltaPlace("", why_not="Delta Lake cannot be told certificates (AWS_CA_BUNDLE)")
        options = dict(self._options.values)
        if "AWS_REQUEST_PAYER" in options:
            options["AWS_REQUEST_PAYER"] = "true"  # there it is no word
        if self._options.credentials is not None:
            with self._translated(folder):
                found = self._options.credentials()
            names = {"access_key_id": KEY, "secret_access_key": SECRET, "token": TOKEN}
            options |= {name: found[one] for one, name in names.items() if found[one]}
        return DeltaPlace(f"s3://{self._bucket}/{self._prefix}{folder}", options)

    def code_of(self, error: Exception) -> str:
        """See `RemoteReadOnlyBucket.code_of`. It stands in the answer that an error quotes."""
        code, status = _CODE.search(str(error)), _STATUS.search(str(error))
        return code[1] if code else status[2] if status else ""

    def words_of(self, error: Exception) -> str:
        """See `RemoteReadOnlyBucket.words_of`. Without the request and the inside of obstore."""
        code, status = _CODE.search(str(error)), _STATUS.search(str(error))
        if code:
            return f"{code[1]}: {code[2] or 'no message'}"
        said = str(error).partition("\n\nDebug source")[0].replace("\n", " ")
        if cause := _CAUSE.findall(str(error)):
            said += f" ({''.join(cause[-1])})"
        return status[1].strip() if status else f"{type(error).__name__}: {said}"

    def _info(self, item: Any) -> ObjectInfo:
        return ObjectInfo(item["path"].removeprefix(self._prefix), int(item["size"]))

    def _found(self, one: ByteRange) -> bytes | Exception:
        try:
            return bytes(obstore.get_range(self._store, self._prefix + one.key, start=one.start, length=one.length))
        except Exception as error:  # noqa: BLE001 - translated, one by one
            return error


class S3Bucket(S3ReadOnlyBucket, RemoteBucket):
    """A writable bucket of S3. Where the server knows conditional writes, nobody can slip in."""

    def replace(self, key: str, data: bytes) -> None:
        """See `Bucket.replace`. One request, so the object appears whole."""
        with self._translated(key):
            obstore.put(self._store, self._prefix + key, data, use_multipart=False)

    def create_many(self, objects: Mapping[str, bytes]) -> None:
        """See `Bucket.create_many`. The requests run at the same time."""
        each_at_once(self.create, objects)

    def replace_many(self, objects: Mapping[str, bytes]) -> None:
        """See `Bucket.replace_many`. The requests run at the same time."""
        each_at_once(self.replace, objects)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Bucket.remove`. One request per thousand keys."""
        if keys:
            with self._translated(keys[0]):
                obstore.delete(self._store, [self._prefix + key for key in keys])

    def _put_new(self, key: str, data: bytes) -> bool:
        with self._translated(key):
            try:
                obstore.put(self._store, self._prefix + key, data, use_multipart=False, mode="create")
            except (AlreadyExistsError, PreconditionError):
                return False
            except Exception as error:
                if self.code_of(error) not in NOT_IMPLEMENTED:
                    raise
                self.replace(key, data)
        return True


def _certificates(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"certificates of AWS_CA_BUNDLE are not read: {path}: {error.strerror}") from error
