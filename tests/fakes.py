"""Stand-ins that behave like the real thing: a bucket in memory, a clock that moves when told to, an engine of text.

Fakes, not mocks: they keep state and follow the same rules as what they stand for (tests/storage runs the same tests
over all buckets). Add faults as hooks here; what only one test needs belongs to that test.
"""

from collections.abc import Callable

from pyro_assets.errors import ObjectChanged, ObjectConflict, ObjectMissing
from pyro_assets.storage.interface import Bucket, Folder, ObjectInfo


class Killed(BaseException):
    """The process dies here: not an Exception, so nothing may catch it and go on."""


class MemoryBucket(Bucket):
    """A bucket in memory.

    Attributes:
        objects: key -> bytes.
        before: called with (method, key) before anything happens; whatever it raises is the fault.
        calls: every (method, key) so far.
    """

    def __init__(self, objects: dict[str, bytes] | None = None, url: str = "memory://fake") -> None:
        super().__init__(url)
        self.objects: dict[str, bytes] = dict(objects or {})
        self.before: Callable[[str, str], None] | None = None
        self.calls: list[tuple[str, str]] = []

    def read(self, key: str) -> bytes:
        self._called("read", key)
        return self._object(key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        self._called("get_range", key)
        data = self._object(key)[start : start + length]
        if len(data) != length:
            raise ObjectChanged(f"{key} is too short", key=key)
        return data

    def size(self, key: str) -> int:
        self._called("size", key)
        return len(self._object(key))

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        self._called("list_after", prefix)
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > start_after)
        return [ObjectInfo(key, len(self.objects[key])) for key in keys[:limit]]

    def list_folder(self, prefix: str) -> Folder:
        self._called("list_folder", prefix)
        below = sorted(key for key in self.objects if key.startswith(prefix))
        folders = {key[len(prefix) :].split("/")[0] for key in below if "/" in key[len(prefix) :]}
        direct = [key for key in below if "/" not in key[len(prefix) :]]
        return Folder(tuple(sorted(folders)), tuple(ObjectInfo(key, len(self.objects[key])) for key in direct))

    def create(self, key: str, data: bytes) -> bool:
        self._called("create", key)
        if key in self.objects:
            if self.objects[key] != data:
                raise ObjectConflict(f"{key} exists with other bytes", key=key)
            return False
        self.objects[key] = data
        return True

    def replace(self, key: str, data: bytes) -> None:
        self._called("replace", key)
        self.objects[key] = data

    def _object(self, key: str) -> bytes:
        if key not in self.objects:
            raise ObjectMissing(f"{key} is missing", key=key)
        return self.objects[key]

    def _called(self, method: str, key: str) -> None:
        self.calls.append((method, key))
        if self.before is not None:
            self.before(method, key)


class Clock:
    """Unix milliseconds that only move when a test says so."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        return self.now_ms

    def forward(self, seconds: float) -> int:
        """Moves the clock and returns the new time."""
        self.now_ms += round(seconds * 1000)
        return self.now_ms
