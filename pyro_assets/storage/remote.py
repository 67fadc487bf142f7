"""Base of all remote buckets: reading side by side, their stores' errors as ours, creating without overwriting.

Add what holds for any store here; each client library has a module of its own (`s3` by obstore, `filesystems` by
fsspec), which hands in the code and the words of its errors.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

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
from pyro_assets.storage.interface import Bucket, ByteRange, ObjectInfo, ReadOnlyBucket, Stored

# A bucket that is not there is a wrong setting or an outage, never an object that is lost.
_NO_BUCKET: Final = frozenset({"NoSuchBucket"})
_REFUSED: Final = frozenset(
    {"AccessDenied", "401", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
)
# Of one object, whatever the credentials: it was moved to a class from which it must be restored first.
_ARCHIVED: Final = frozenset({"InvalidObjectState"})
_SKEWED: Final = frozenset({"RequestTimeTooSkewed", "RequestExpired"})
_ELSEWHERE: Final = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "301"})
_NO_CREDENTIALS: Final = frozenset({"NoCredentialsError", "PartialCredentialsError", "UnauthenticatedError"})
_THROTTLED: Final = frozenset({"SlowDown", "503", "429", "Throttling", "ThrottlingException", "RequestLimitExceeded"})
NO_RANGE: Final = frozenset({"InvalidRange", "416"})
EXISTS: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
NOT_IMPLEMENTED: Final = frozenset({"NotImplemented", "501"})


class RemoteReadOnlyBucket(ReadOnlyBucket):
    """A bucket behind a client library, whatever it raises."""

    @abstractmethod
    def code_of(self, error: Exception) -> str:
        """The store's own code for an error (S3's, or an HTTP status), "" if there is none."""

    def words_of(self, error: Exception) -> str:
        """The message of an error, in one line."""
        return f"{type(error).__name__}: {error}"

    @abstractmethod
    def fetch(self, ranges: Sequence[ByteRange]) -> list[bytes | Exception]:
        """The bytes of ranges of one byte or more, or what the client raised, in order; asked for at the same time.

        A range that ends behind its object gives the bytes up to the object's end.
        """

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ReadOnlyBucket.get_range`."""
        return _or_raise(self.get_ranges([ByteRange(key, start, length)])[0])

    def get(self, key: str, size_bytes: int) -> bytes:
        """See `ReadOnlyBucket.get`. One request: asks for a byte more than there should be."""
        return _or_raise(self.get_many([ObjectInfo(key, size_bytes)])[0])

    def get_many(self, objects: Sequence[Stored]) -> list[bytes | StorageError]:
        """See `ReadOnlyBucket.get_many`. The requests run at the same time."""
        whole = [ByteRange(item.key, 0, item.size_bytes + 1) for item in objects]
        found = self._fetched(one for one in whole if one.length > 1)
        return [
            self._checked(item, found[one]) if item.size_bytes else self._attempt_empty(item)
            for item, one in zip(objects, whole, strict=True)
        ]

    def get_ranges(self, ranges: Sequence[ByteRange]) -> list[bytes | StorageError]:
        """See `ReadOnlyBucket.get_ranges`. The requests run at the same time."""
        found = self._fetched(one for one in ranges if one.length)
        return [self._part(one, found[one]) if one.length else b"" for one in ranges]

    def _fetched(self, ranges: Iterable[ByteRange]) -> dict[ByteRange, bytes | Exception]:
        distinct = list(dict.fromkeys(ranges))
        return dict(zip(distinct, self.fetch(distinct), strict=True))

    def _attempt_empty(self, item: Stored) -> bytes | StorageError:
        # An empty object has no range that could be asked for.
        try:
            return ReadOnlyBucket.get(self, item.key, item.size_bytes)
        except StorageError as error:
            return error

    def _part(self, one: ByteRange, found: bytes | Exception) -> bytes | StorageError:
        if isinstance(found, Exception):
            return self._translate(one.key, found)
        if len(found) != one.length:
            end = one.start + one.length
            return ObjectChanged(f"{one.key} ends before byte {end}; it was written again", key=one.key)
        return bytes(found)

    def _checked(self, item: Stored, found: bytes | Exception) -> bytes | StorageError:
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
        # A client raises what its own libraries raise; whatever that is, the caller can only try again later.
        except Exception as error:
            raise self._translate(key, error) from error

    def _translate(self, key: str, error: Exception) -> StorageError:
        code = self.code_of(error)
        if key.endswith("/") or not key:
            # A listing is of the bucket: "not found" means that the bucket is not there.
            return self._unavailable("cannot be listed", key, error)
        if code in NO_RANGE:
            return ObjectChanged(f"{key} is shorter than was listed: it was written again; it is read anew", key=key)
        if code in _ARCHIVED:
            reason = self.words_of(error)
            return ObjectUnreadable(f"{key} is archived ({reason}); {remedy_of(code)}", keys=(key,))
        if isinstance(error, FileNotFoundError) and code not in _NO_BUCKET:
            return ObjectMissing(f"{key} is not in {self.url} (any more)", key=key)
        return self._unavailable(f"does not do what was asked for {key or 'its keys'}", key, error)

    def _unavailable(self, what: str, key: str, error: Exception) -> StorageUnavailable:
        """The error of the bucket as a whole, with its remedy."""
        code, reason = self.code_of(error), self.words_of(error)
        if code in _NO_BUCKET:
            return AccessRefused(f"{self.url} names no bucket that exists ({reason}); correct it, or make it", key=key)
        if code in _SKEWED:
            remedy = "the clock of this machine is wrong, or the store's is; set it by NTP"
            return AccessRefused(f"{self.url} refuses requests by their time: {reason}; {remedy}", key=key)
        if code in _ELSEWHERE:
            remedy = "name it by AWS_DEFAULT_REGION"
            return AccessRefused(f"{self.url} lies in another region: {reason}; {remedy}", key=key)
        if code.startswith("KMS."):
            return AccessRefused(f"{self.url} cannot decrypt: {reason}; {remedy_of(code)}", key=key, reason=reason)
        if code in _REFUSED or isinstance(error, PermissionError) or type(error).__name__ in _NO_CREDENTIALS:
            remedy = "check the credentials (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) and what they may do there"
            return AccessRefused(f"{self.url} refuses access: {reason}; {remedy}", key=key, reason=reason)
        if code in _THROTTLED:
            return Throttled(f"{self.url} throttles ({reason}): it is asked again later", key=key)
        return StorageUnavailable(f"{self.url} {what}: {reason}", key=key)


class RemoteBucket(RemoteReadOnlyBucket, Bucket):
    """A writable bucket behind a client library. It is looked first: servers may not know conditional writes."""

    def create(self, key: str, data: bytes) -> bool:
        """See `Bucket.create`."""
        if not self._exists(key) and self._put_new(key, data):
            return True
        if self.read(key) != data:
            raise ObjectConflict(f"{key} exists with other bytes; it was left alone", key=key)
        return False

    @abstractmethod
    def _put_new(self, key: str, data: bytes) -> bool:
        """Writes an object that is not there; False if another writer was faster and the store knows it."""

    def _exists(self, key: str) -> bool:
        try:
            self.size(key)
        except ObjectMissing:
            return False
        return True


def _or_raise(found: bytes | StorageError) -> bytes:
    if isinstance(found, StorageError):
        raise found
    return found


def remedy_of(reason: str) -> str:
    """The remedy for an object that the store does not give out while it gives out others, by its reason.

    >>> remedy_of("KMS.DisabledException: key 7 is disabled")
    'let its KMS key be used again (enabled, not deleted, kms:Decrypt for these credentials)'
    """
    if any(code in reason for code in _ARCHIVED):
        return "restore it from its storage class (S3 Glacier, Deep Archive) by `aws s3api restore-object`"
    if "kms" in reason.lower():
        return "let its KMS key be used again (enabled, not deleted, kms:Decrypt for these credentials)"
    return "look at what denies this one: its owner, its ACL, a policy or tag, the mode of its file, its KMS key"
