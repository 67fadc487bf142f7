"""Stand-ins that behave like the real thing: a bucket in memory, a clock that moves when told to, an engine of text.

Fakes, not mocks: they keep state and follow the same rules as what they stand for (tests/storage runs the same tests
over all buckets). Add faults as hooks here; what only one test needs belongs to that test.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from types import SimpleNamespace
from typing import Any, ClassVar

from pyro_assets.errors import ChecksumMismatch, ObjectChanged, ObjectConflict, ObjectMissing, Where
from pyro_assets.jobs.compact import Summary
from pyro_assets.jobs.derive import Engine
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.storage.interface import Bucket, Folder, ObjectInfo
from pyro_assets.storage.keys import parse_block_key
from pyro_assets.storage.ulid import make_ulid


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

    def remove(self, keys: Sequence[str]) -> None:
        for key in keys:
            self._called("remove", key)
            self.objects.pop(key, None)

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


@dataclass
class TextColumns:
    """What stands for columns: (tenant, value) pairs."""

    pairs: list[tuple[bytes, int]]


class TextConfig(SeriesConfig):
    """What stands for a configuration: series are named after it."""

    name: str = "plain"

    @property
    def hash(self) -> str:
        return f"hash-{self.name}"


class TextFacts:
    """What stands for the facts of a derivation."""

    def to_dict(self) -> dict[str, Any]:
        return {"negative_samples": 1, "rounded_values": 0, "series": {}, "collision_examples": ["a and b"]}

    examples: ClassVar[list[str]] = ["a and b"]


class TextEngine:
    """Compaction and series over objects of text: lines of "tenant value", or "broken" for what cannot be read.

    A level-1 block is "level N", then the lines of its tenant. Series are the sums per tenant.

    Attributes:
        fail: raised by the named function ("compact", "derive", ...) when it is called.
        calls: names of the functions called so far.
        newest_ms: time of the last profile of everything; the first one is at 1 s.
    """

    def __init__(self) -> None:
        self.fail: dict[str, BaseException] = {}
        self.calls: list[str] = []
        self.newest_ms = 2_000

    @property
    def engine(self) -> Engine:
        functions: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("compact", "compact_rest", "read_blocks", "summarise", "derive", "series_to_parquet")
        }
        return Engine(**functions)

    def compact(self, objects: Sequence[Any], dedup: str) -> Any:
        read = self._read("compact", objects)
        good = [item for item, meta in zip(objects, read.metas, strict=True) if meta is not None]
        blocks = []
        for tenant in sorted({tenant for tenant, _ in read.columns.pairs}):
            values = sorted(value for owner, value in read.columns.pairs if owner == tenant)
            lines = [b"level 1", *(b"%s %d" % (tenant, value) for value in values)]
            seed = sha256(b"\n".join([tenant, *(item.object_key.encode() for item in good)])).digest()
            first = parse_block_key(good[0].object_key)
            block_id = make_ulid(first.created_ms, seed[:10])
            blocks.append(SimpleNamespace(tenant=tenant, id=block_id, data=b"\n".join(lines)))
        return SimpleNamespace(
            columns=read.columns,
            blocks=blocks,
            metas=read.metas,
            set_aside=read.set_aside,
            known=0,
            duplicates=2,
            conflicts=0 if dedup == "exact" else 1,
            facts={"dangling": 1, "total_mismatches": 0, "profiles_in": 99},
        )

    def compact_rest(self, objects: Sequence[Any], known: Sequence[Any], dedup: str, same_level: bool) -> Any:
        """Lines that a known block has are left out: a line is what a profile is."""
        there = set(self._read("compact_rest", known).columns.pairs)
        read = self._read("compact_rest", objects)
        rest = [
            SimpleNamespace(object_key=item.object_key, data=data)
            for item, meta in zip(objects, read.metas, strict=True)
            if meta is not None and (data := _without(item.data, there))
        ]
        dropped = sum(pair in there for pair in read.columns.pairs)
        if not rest:
            done = SimpleNamespace(columns=TextColumns([]), blocks=[], facts={}, duplicates=0, conflicts=0)
        else:
            done = self.compact(rest, dedup)
        if same_level:
            for block in done.blocks:
                block.data = block.data.replace(b"level 1", b"level %d" % read.metas[0].level, 1)
        done.metas, done.set_aside, done.known = read.metas, read.set_aside, dropped
        return done

    def read_blocks(self, objects: Sequence[Any]) -> Any:
        return self._read("read_blocks", objects)

    def summarise(self, columns: TextColumns) -> Summary:
        self._called("summarise")
        tenants: dict[bytes, tuple[int, int]] = {}
        for tenant, _ in columns.pairs:
            before = tenants.get(tenant, (0, 0))
            tenants[tenant] = (before[0] + 1, before[1] + 10)
        services = tuple((tenant.decode(), "web", count[1], count[0]) for tenant, count in sorted(tenants.items()))
        return Summary(tenants, services, oldest_ms=1_000, newest_ms=self.newest_ms)

    def derive(self, columns: TextColumns, job: Any, config: TextConfig, kinds: frozenset[str]) -> Any:
        self._called("derive")
        sums: dict[str, int] = {}
        for tenant, value in columns.pairs:
            sums[tenant.decode()] = sums.get(tenant.decode(), 0) + value
        rows = [
            {"tenant": tenant, "value": value, "time": job.timestamp_ms, "job": job.job_id, "by": config.name}
            for tenant, value in sorted(sums.items())
        ]
        return SimpleNamespace(
            frames={kind: [row | {"kind": kind} for row in rows] for kind in kinds}, facts=TextFacts()
        )

    def series_to_parquet(self, frame: Any, _notes: Mapping[str, str]) -> bytes:
        self._called("series_to_parquet")
        return json.dumps(frame).encode()

    def _read(self, name: str, objects: Sequence[Any]) -> Any:
        self._called(name)
        pairs: list[tuple[bytes, int]] = []
        metas: list[Any] = []
        set_aside = []
        for position, item in enumerate(objects):
            if item.data.startswith(b"broken") or not item.data:
                where = Where(item.object_key, "text")
                set_aside.append((position, ChecksumMismatch("CRC of text", where, offset=4)))
                metas.append(None)
                continue
            level = 0
            for line in item.data.split(b"\n"):
                tenant, number = line.split(b" ")
                if tenant == b"level":
                    level = int(number)
                else:
                    pairs.append((tenant, int(number)))
            owner = pairs[-1][0] if level else b""
            times = {"min_time_ms": 1_000, "max_time_ms": self.newest_ms}
            metas.append(SimpleNamespace(level=level, tenant=owner, created_by_index=1, **times))
        return SimpleNamespace(columns=TextColumns(pairs), metas=metas, set_aside=set_aside)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.fail:
            raise self.fail[name]


def _without(data: bytes, there: set[tuple[bytes, int]]) -> bytes:
    lines = [(line, *line.split(b" ")) for line in data.split(b"\n")]
    left = [line for line, tenant, number in lines if tenant != b"level" and (tenant, int(number)) not in there]
    return b"\n".join(left)
