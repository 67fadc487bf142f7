"""Compaction and series without any work: every job becomes one block of one tenant and a file of each kind.

What is counted here proves that every source was in a job once; it belongs to nothing else.
"""

from collections.abc import Sequence
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any

from pyro_assets.jobs.compact import Summary
from pyro_assets.jobs.derive import Engine
from pyro_assets.series.facts import SeriesFacts
from pyro_assets.storage.keys import parse_block_key
from pyro_assets.storage.ulid import make_ulid

_MASK = 2**64 - 1


def digest_of(key: str) -> int:
    """A number for a key; the sum over keys does not depend on their order but on how often each comes."""
    return int.from_bytes(blake2b(key.encode(), digest_size=8).digest())


class CountingEngine:
    """The stub.

    Attributes:
        jobs, sources: compacted so far; digest: the sum of their keys' digests, 64 bits.
    """

    def __init__(self) -> None:
        self.jobs = self.sources = self.digest = 0
        self._facts = SeriesFacts()

    @property
    def engine(self) -> Engine:
        """What a pipeline takes."""
        alone = ("compact", "summarise", "derive", "series_to_parquet")
        together = ("compact_jobs", "summarise_jobs", "derive_jobs")
        functions: dict[str, Any] = {name: getattr(self, name) for name in alone + together}
        return Engine(**functions)

    def compact(self, objects: Sequence[Any], dedup: str) -> Any:
        """One block; its id is made of the first source, as a real one."""
        self.jobs += 1
        self.sources += len(objects)
        for item in objects:
            self.digest = (self.digest + digest_of(item.object_key)) & _MASK
        first = parse_block_key(objects[0].object_key)
        block_id = make_ulid(first.created_ms, blake2b(first.ulid.encode(), digest_size=10).digest())
        meta = SimpleNamespace(created_by_index=1)
        return SimpleNamespace(
            columns=len(objects),
            blocks=[SimpleNamespace(tenant=b"acme", id=block_id, data=b"block")],
            metas=[meta] * len(objects),
            set_aside=[],
            duplicates=0,
            conflicts=0,
            facts={},
            known=0,
        )

    def summarise(self, columns: Any) -> Summary:
        """Ten samples a source."""
        services = (("acme", "web", 10 * columns, 0),)
        return Summary({b"acme": (columns, 10 * columns)}, services, oldest_ms=1, newest_ms=2)

    def derive(self, columns: Any, job: Any, config: Any, kinds: frozenset[str]) -> Any:
        """One row of each kind."""
        return SimpleNamespace(frames={kind: [job.job_id] for kind in kinds}, facts=self._facts)

    def compact_jobs(self, jobs: Sequence[Sequence[Any]], dedup: str) -> Any:
        """The same for several jobs, as runs have small ones."""
        done = [self.compact(objects, dedup) for objects in jobs]
        for one, objects in zip(done, jobs, strict=True):
            one.metas = dict(zip((item.object_key for item in objects), one.metas, strict=True))
        return SimpleNamespace(columns=[one.columns for one in done], job_of_dataset=None, jobs=done)

    def summarise_jobs(self, columns: Sequence[Any], _job_of_dataset: Any, _jobs: int) -> list[Summary]:
        """See `summarise`."""
        return [self.summarise(one) for one in columns]

    def derive_jobs(self, _columns: Any, _job_of_dataset: Any, jobs: Sequence[Any], config: Any, kinds: Any) -> Any:
        """See `derive`."""
        return [self.derive(None, job, config, kinds) for job in jobs]

    def series_to_parquet(self, frame: Any, _notes: Any = None) -> bytes:
        """Its length is all that matters."""
        return b"series"
