"""Sources and jobs for tests of the ledger: at a fixed time, in a fixed shard, as short to write as possible."""

import contextlib
import tempfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from pyro_assets.jobs.claims import Claims, Retry
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Derivation, Job, Output, SeriesFile
from pyro_assets.ledger.schema import OPEN_STATES
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import Policy, job_id
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.storage.keys import BlockKey, block_key, hour_start_ms, segment_key
from pyro_assets.storage.ulid import make_ulid

HOUR = "2026-11-25-13:00"
HOUR_START_MS = hour_start_ms(HOUR)
#: Half past, so that neighbouring seconds are in the same hour.
NOW_MS = HOUR_START_MS + 1_800_000
POLICY = Policy(max_blocks=3, max_bytes=1000, max_age_ms=5_000, start_ms=hour_start_ms("2026-01-01-00:00"))
RETRY = Retry(max_attempts=3, base_ms=1_000, cap_ms=60_000)
LEASE_MS = 60_000
KINDS = frozenset({"dimension", "function"})
OUTPUT = Output("acme", make_ulid(NOW_MS, bytes(10)), "blocks/4/acme/x/block.bin", 100, 7, profiles=5, samples=50)


def ledger_file(path: Path) -> str:
    """The path of a ledger, which is empty unless it is there: copying a file is faster than making tables."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        made.write_bytes(_empty_ledger())
        # Another thread may have been faster, and have opened it.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
    return str(path)


@cache
def _empty_ledger() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ledger.db")
        Ledger.open(str(path)).close()
        return path.read_bytes()


def found(seconds: float, shard: int = 4, size_bytes: int = 10, salt: int = 0, tenant: str = "") -> FoundBlock:
    """A segment (a level-1 block, with a tenant) created so many seconds after NOW_MS."""
    ulid = make_ulid(NOW_MS + round(seconds * 1000), salt.to_bytes(10))
    if tenant:
        return FoundBlock(BlockKey("blocks", shard, tenant, ulid, block_key(shard, tenant, ulid)), size_bytes)
    return FoundBlock(BlockKey("segments", shard, "anonymous", ulid, segment_key(shard, ulid)), size_bytes)


def record(ledger: Ledger, blocks: Iterable[FoundBlock], now_ms: int = NOW_MS, policy: Policy = POLICY) -> None:
    SourceRecords(ledger).record_sources(list(blocks), {}, now_ms, policy)


def planned(ledger: Ledger, seconds: Sequence[float] = (-30, -20, -10), shard: int = 4) -> str:
    """The id of one planned job."""
    record(ledger, [found(second, shard) for second in seconds])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 1
    return job_id("own", "exact", [found(second, shard).block.key for second in seconds])


def claim(ledger: Ledger, job_id: str, run_id: str = "run", now_ms: int = NOW_MS) -> Job | None:
    return Claims(ledger).claim(job_id, run_id, now_ms, LEASE_MS, RETRY, states=OPEN_STATES)


def claimed(ledger: Ledger, job_id: str, run_id: str = "run", now_ms: int = NOW_MS) -> Job:
    job = claim(ledger, job_id, run_id, now_ms)
    assert job is not None
    return job


def compacted(job: Job) -> CommitRecord:
    """The record of a job with one block."""
    return CommitRecord.of(
        job,
        sources=tuple(replace(source, state="done") for source in job.sources),
        outputs=(OUTPUT,),
        profiles=5,
        samples=50,
        duplicates=1,
        conflicts=2,
        oldest_ms=NOW_MS - 60_000,
        newest_ms=NOW_MS,
        services=(("acme", "web", 50, 5),),
        facts={"dangling": 3},
        instance="0123456789abcdef",
    )


def derivation(job: Job, *kinds: str, config_hash: str = "hash") -> Derivation:
    files = tuple(
        SeriesFile(kind, job.id, f"series/{kind}", 11, 200, config_hash=config_hash) for kind in kinds or sorted(KINDS)
    )
    return Derivation(files, config_hash, facts={"negative_samples": 4}, examples=("a collision",), seconds=0.25)
