"""What readers of the archive are told: jobs with level-1 blocks that are still there, and whose services they hold."""

from dataclasses import replace

from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.schema import jobs
from tests.support.ledgers import HOUR, NOW_MS, OUTPUT, claimed, compacted, planned


def test_only_jobs_with_blocks(ledger: Ledger) -> None:
    assert ArchivedJobs(ledger).archived_jobs([HOUR]) == []
    later, first, removed, undone = (
        planned(ledger, [second], shard) for second, shard in ((-5, 1), (-9, 2), (-7, 3), (-8, 4))
    )
    for job_id in (later, first, removed):
        services = (("acme", "shop", 3, 0), ("acme", job_id, 1, 0)) if job_id == first else (("acme", "shop", 1, 1),)
        outputs = (replace(OUTPUT, block_id=f"{job_id[:20]}0", key=f"blocks/{job_id}/0"),)
        job = claimed(ledger, job_id)
        Claims(ledger).commit_compacted(job, replace(compacted(job), outputs=outputs, services=services), NOW_MS)
    with ledger.write() as connection:
        connection.execute(jobs.update().where(jobs.c.id == removed).values(blocks_removed_ms=NOW_MS))
    found = ArchivedJobs(ledger).archived_jobs([HOUR, "2026-01-01-00:00"])
    assert [job.id for job in found] == [first, later]
    for one in found:
        known, _ = JobRecords(ledger).look_up(one.id)
        assert (one.shard, one.hour, one.timestamp_ms, one.outputs) == (
            known.shard, known.hour, known.timestamp_ms, known.outputs
        )  # fmt: skip
        assert one.instance == (known.instance or "")
        assert one.outputs
    assert ArchivedJobs(ledger).archived_services([HOUR]) == sorted([("acme", "shop"), ("acme", first)])
    assert ArchivedJobs(ledger).archived_services([]) == []
    assert undone not in {job.id for job in found}
