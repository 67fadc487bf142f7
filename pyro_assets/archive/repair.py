"""Damaged objects of the archive put back: records from the ledger, blocks from their sources, series from blocks.

In that order, because each needs the one before. What cannot be put back stays damaged, with the reason; a later scrub
tells. Add a remedy for each kind of object that `scrub` looks at.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyro_assets.archive.hours import compact_hour_blocks
from pyro_assets.archive.retain import RetentionRecord
from pyro_assets.archive.scrubs import Damage, ScrubRecords
from pyro_assets.errors import LedgerError, ObjectMissing, PyroAssetsError, StorageUnavailable
from pyro_assets.export.receipt import DueExport, ReceiptFiles
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.jobs.compact import Compactor
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords
from pyro_assets.rules.archive import rewrite_rules
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import retention_key


@dataclass(frozen=True, slots=True)
class Repaired:
    """A damaged object and what was done; `why_not` is "" where it was put back."""

    damage: Damage
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Repairer:
    """Puts objects back.

    Attributes:
        derive: derives the series of these jobs, given as (hour, id), again; returns one sentence for each that failed.
        clock: Unix milliseconds.
    """

    archive: Bucket
    ledger: Ledger
    compactor: Compactor
    derive: Callable[[Sequence[tuple[str, str]]], Sequence[str]]
    clock: Callable[[], int]

    def repair(self, damaged: Sequence[Damage]) -> list[Repaired]:
        """Puts back what can be put back.

        Raises:
            StorageUnavailable: the archive or the source does not answer.
            LedgerUnavailable: what was done until then stays.
        """
        order = {"rules": 0, "retention": 1, "record": 2, "receipt": 3, "block": 4, "series": 5, "hour": 6}
        done = []
        for one in sorted(damaged, key=lambda one: (order[one.kind], one.hour, one.key)):
            try:
                getattr(self, f"_{one.kind}")(one)
                done.append(Repaired(one))
            except StorageUnavailable:
                raise
            except PyroAssetsError as error:
                done.append(Repaired(one, str(error)))
        return done

    def _rules(self, damage: Damage) -> None:
        rewrite_rules(self.archive, self.ledger, [damage.key])

    def _retention(self, damage: Damage) -> None:
        blocks, series, number = ScrubRecords(self.ledger).removed_of(damage.hour)
        record = RetentionRecord(damage.hour, frozenset(blocks), frozenset(series), number)
        self.archive.replace(retention_key(damage.hour), record.to_bytes())

    def _record(self, damage: Damage) -> None:
        job, _ = JobRecords(self.ledger).look_up(_stem(damage.key))
        if not job.committed:
            raise LedgerError(
                f"the ledger does not know yet that job {job.id} is committed: remove {damage.key}, and the next run "
                "compacts its sources again"
            )
        if job.record_key != damage.key:
            raise LedgerError(f"the ledger has job {job.id} elsewhere, at {job.record_key}; remove {damage.key}")
        self.archive.replace(job.record_key, ScrubRecords(self.ledger).recorded(job.id).to_bytes())

    def _receipt(self, damage: Damage) -> None:
        _, receiver, _, _, name = damage.key.split("/")
        job_id = name.partition("-")[0]
        job, _ = JobRecords(self.ledger).look_up(job_id)
        known = [
            one
            for one in ReceiptRecords(self.ledger).receipts_of(job_id)
            if one.receiver == receiver and one.last_ms is not None
        ]
        due = DueExport(job.id, job.hour, job.shard, job.timestamp_ms, 0, 0, (), {})
        if known:
            # It says at least as much as the damaged one did: later receipts know all rules of earlier ones.
            ReceiptFiles(self.archive, receiver).write(due, known, self.clock())
        self.archive.remove([damage.key])

    def _block(self, damage: Damage) -> None:
        """Compacts the sources again; another version of the program may give other bytes for the same profiles."""
        job_id = ScrubRecords(self.ledger).job_of_block(damage.key)
        if job_id is None:
            raise ObjectMissing(f"the ledger knows no job of {damage.key}; restore it from a copy", key=damage.key)
        job, _ = JobRecords(self.ledger).look_up(job_id)
        again, blocks = self.compactor.again(job)
        self.archive.replace(damage.key, blocks[damage.key])
        made = {output.key: output for output in again.outputs}
        outputs = tuple(made[one.key] if one.key == damage.key else one for one in job.outputs)
        if outputs != job.outputs:
            ScrubRecords(self.ledger).replace_outputs(job.id, outputs)
            self.archive.replace(job.record_key, ScrubRecords(self.ledger).recorded(job.id).to_bytes())

    def _hour(self, damage: Damage) -> None:
        """Has all blocks of the hour made again; until then the jobs' own count."""
        if not HourBlockRecords(self.ledger).forget_if_there(damage.hour):
            raise ObjectMissing(
                f"level-1 blocks of {damage.hour} were removed, so {damage.key} cannot be made again; restore it from "
                "a copy",
                key=damage.key,
            )
        done = compact_hour_blocks(self.archive, self.ledger, damage.hour, self.clock())
        if done.damaged:
            raise ObjectMissing(done.damaged[0], key=damage.key)

    def _series(self, damage: Damage) -> None:
        jobs = ScrubRecords(self.ledger).jobs_of_file(damage.key)
        if not jobs:
            raise ObjectMissing(f"the ledger has no job of {damage.key}; restore it from a copy", key=damage.key)
        failed = self.derive(jobs)
        if failed:
            raise LedgerError(failed[0])


def _stem(key: str) -> str:
    return key.rpartition("/")[2].removesuffix(".json")
