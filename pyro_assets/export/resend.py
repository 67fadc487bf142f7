"""Sends once more the samples that a receiver acknowledged and lost afterwards.

Receipts say what was acknowledged and stay as they are. What is still owed is `exporter`'s, what was refused is tried
again like the rest. One tenant that is not taken is left out from there on; a receiver that is down ends it.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from pyro_assets.export.exporter import ExportCounts
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import UNCLOSED, ReceiptRecords
from pyro_assets.export.reconcile import files_between
from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.remote_write.client import Client, SendReport
from pyro_assets.export.samples import Samples, orgs_of, samples_of
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.interface import Bucket


def send_again(
    archive: Bucket,
    ledger: Ledger,
    receiver: Receiver,
    secrets: Mapping[str, str],
    begin_ms: int,
    end_ms: int,
    now_ms: int,
) -> ExportCounts:
    """Sends the samples of [begin_ms, end_ms) of which receipts say that a receiver has them, in the order of time.

    Raises:
        RemovedByRetention, StorageError, SeriesError: the archive does not have the series any more.
    """
    receipts = ReceiptRecords(ledger).receipts_between(receiver.name, begin_ms, end_ms)
    reader, counts, total = SeriesFiles(archive, ledger), ExportCounts(), SendReport()
    jobs: set[str] = set()
    with Client(receiver, secrets) as client:
        for _, file in files_between(ledger, begin_ms, end_ms):
            known = receipts.get((file.job_id, file.kind), [])
            if not known:
                continue
            there = _acknowledged(samples_of(reader, file), receiver, file, known)
            prepared = prepare(there, receiver, now_ms)
            total.refused.merge(prepared.refusals)
            for org, batches in groupby(prepared.batches(), key=lambda batch: batch.org_id):
                if org in counts.held:
                    continue
                report = client.send(batches, orgs_of(prepared.samples, receiver))
                error, report.error = report.error, None
                total.merge(report)
                if error is not None and error.tenant:
                    counts.held[org] = str(error)
                elif error is not None:
                    counts.error = str(error)
                    break
                else:
                    jobs.add(file.job_id)
            if counts.error:
                break
    counts.error = "; ".join([*([counts.error] if counts.error else []), *counts.held.values()])
    counts.jobs = len(jobs)
    counts.add(total)
    return counts


def _acknowledged(samples: Samples, receiver: Receiver, file: SeriesFile, receipts: Sequence[Receipt]) -> Samples:
    """The samples of which a closed receipt says that the receiver got them as they are now."""
    is_wanted = np.zeros(len(samples), dtype=np.bool_)
    for receipt in receipts:
        if receipt.state in UNCLOSED or receipt.file_ms != file.written_ms:
            continue  # the next export sends it anyway
        rules = set(receipt.rules) - set(receipt.changed)

        def is_theirs(tenant: str, receipt: Receipt = receipt) -> bool:
            org = receiver.org_of(tenant)
            return org == receipt.tenant if receipt.tenant else org not in receipt.apart

        is_wanted |= samples.of_tenants(is_theirs) & samples.of_rules(rules.__contains__)
    return samples.take(np.flatnonzero(is_wanted))
