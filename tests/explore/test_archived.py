"""What readers of the archive are told: jobs with level-1 blocks that are still there, and whose services they hold."""

from dataclasses import replace

from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.schema import jobs
from tests.support.ledgers import HOUR, NOW_MS, claimed, compaction, planned


def test_only_jobs_with_blocks(ledger: Ledger) -> None:
    assert ArchivedJobs(ledger).archived_jobs([HOUR]) == []
    later, first, removed, undone = (
        planned(ledger, [second], shard) for second, shard in ((-5, 1), (-9, 2), (-7, 3), (-8, 4))
    )
    done = compaction()
    for job_id in (later, first, removed):
        services = (("acme", "shop", 3, 0), ("acme", job_id, 1, 0)) if job_id == first else (("acme", "shop", 1, 1),)
        outputs = tuple(
            replace(output, block_id=f"{job_id[:20]}{number}", key=f"blocks/{job_id}/{number}")
            for number, output in enumerate(done.outputs)
        )
        Claims(ledger).commit_compacted(
            claimed(ledger, job_id), replace(done, outputs=outputs, services=services), NOW_MS
        )
    with ledger.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == removed).values(blocks_removed_ms=NOW_MS))
    found = ArchivedJobs(ledger).archived_jobs([HOUR, "2026-01-01-00:00"])
    assert [job.id for job in found] == [first, later]
    for job in found:
        known, _ = JobRecords(ledger).look_up(job.id)
        assert (job.shard, job.hour, job.timestamp_ms, job.outputs) == (
            known.shard, known.hour, known.timestamp_ms, known.outputs
        )  # fmt: skip
        assert job.instance == (known.instance or "")
        assert job.outputs
    assert ArchivedJobs(ledger).archived_services([HOUR]) == sorted([("acme", "shop"), ("acme", first)])
    assert ArchivedJobs(ledger).archived_services([]) == []
    assert undone not in {job.id for job in found}
