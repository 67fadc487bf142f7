"""What a receiver holds against the archive's series; `export.reconcile` compares them.

Also what a first send would mean. Add a question here that needs ledger, archive and receiver at once; nothing is
changed.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from pyro_assets.errors import ObjectMissing, RemovedByRetention, SeriesError
from pyro_assets.export.batch import prepare
from pyro_assets.export.promql import Questions
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.reconcile import JobSamples, Reconciliation, reconcile
from pyro_assets.export.samples import Samples
from pyro_assets.export.transport import Transport
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.receipt import Receipt, StoredFile
from pyro_assets.pipeline.series_files import SeriesFiles
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import HOUR_MS

#: States of receipts that do not tell what the receiver holds: something is on its way, or has changed since.
_UNCERTAIN: Final = ("sending", "owed", "changed")


@dataclass(slots=True)
class HourEstimate:
    """What a receiver would get of an hour: samples and distinct series per tenant, and what would be refused."""

    samples: int = 0
    refused: int = 0
    series: dict[str, set[int]] = field(default_factory=dict)

    @property
    def active_series(self) -> int:
        """Distinct series of all tenants."""
        return sum(map(len, self.series.values()))


def read_files(
    archive: Bucket, ledger: Ledger, files: Sequence[tuple[int, StoredFile]], unreadable: list[str] | None = None
) -> Iterator[Samples]:
    """The samples of files, one after the other.

    Args:
        archive: where they lie.
        ledger: knows where they are now.
        files: which.
        unreadable: gets one sentence for each that is damaged or missing; without it, the first of them is raised.

    Raises:
        StorageError, SeriesError: one cannot be read.
    """
    reader = SeriesFiles(archive, ledger)
    for _, file in files:
        try:
            samples = reader.samples(file)
        except (SeriesError, ObjectMissing) as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
        else:
            yield samples


def files_between(ledger: Ledger, begin_ms: int, end_ms: int) -> list[tuple[int, StoredFile]]:
    """Timestamp and file of every job with samples in [begin_ms, end_ms), by time.

    Raises:
        RemovedByRetention: the ledger or the archive does not have them any more.
    """
    removed = ledger.removed_in(begin_ms, end_ms)
    if removed:
        raise RemovedByRetention(
            f"retention removed series of {len(removed)} hours of this span, from {removed[0]} to {removed[-1]}; ask "
            "for what came later. Where level-1 blocks are still there, a backfill derives series again; where rows of "
            "the ledger were removed, `pyro-assets rebuild-ledger --from --to` puts them back"
        )
    return ledger.series_files_of(begin_ms, end_ms)


def reconcile_receiver(
    archive: Bucket,
    ledger: Ledger,
    receiver: Receiver,
    secrets: Mapping[str, str],
    begin_ms: int,
    end_ms: int,
    *,
    only_sent: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> Reconciliation:
    """See `Pipeline.reconcile`."""
    files = files_between(ledger, begin_ms, end_ms)
    receipts = ledger.receipts_between(receiver.name, begin_ms, end_ms) if only_sent else {}
    reader = SeriesFiles(archive, ledger)
    jobs = []
    for time_ms, file in files:
        job = JobSamples(time_ms, file.rows, partial(reader.samples, file))
        if only_sent:
            known = receipts.get((file.job_id, file.kind), [])
            job = replace(job, may_lack=partial(_may_lack, receiver, file, known))
        jobs.append(job)
    with Transport(receiver, secrets) as transport:
        return reconcile(receiver, Questions(transport), jobs, begin_ms, end_ms, progress=progress)


def _may_lack(receiver: Receiver, file: StoredFile, receipts: Sequence[Receipt], tenant: str) -> float | None:
    """What receipts say that a receiver lacks of a tenant's samples; see `JobSamples.may_lack`."""
    org_id = receiver.org_of(tenant)
    receipt = next((one for one in receipts if one.tenant == org_id), None)
    if receipt is None:
        receipt = next((one for one in receipts if not one.tenant and org_id not in one.apart), None)
    if receipt is None:
        return None
    if receipt.state in _UNCERTAIN or receipt.file_ms != file.written_ms:
        return math.inf
    # Receipts of older versions do not know whose samples were refused.
    return sum(receipt.tenants.get(tenant, {}).values()) if receipt.tenants else receipt.refused


def estimate(
    archive: Bucket, ledger: Ledger, receiver: Receiver, begin_ms: int, end_ms: int
) -> dict[int, HourEstimate]:
    """Hour (ms // 3,600,000) -> what the receiver would get of it."""
    found: dict[int, HourEstimate] = {}
    files = files_between(ledger, begin_ms, end_ms)
    for (time_ms, _), samples in zip(files, read_files(archive, ledger, files), strict=True):
        hour = found.setdefault(time_ms // HOUR_MS, HourEstimate())
        prepared = prepare(samples, receiver, 0, ageless=True)
        hour.samples += len(prepared.samples)
        hour.refused += prepared.refusals.total
        hashes = prepared.samples.series_hash([receiver.org_of(tenant) for tenant in prepared.samples.tenants])
        for row, tenant in enumerate(prepared.samples.tenant.tolist()):
            hour.series.setdefault(prepared.samples.tenants[tenant], set()).add(int(hashes[row]))
    return found
