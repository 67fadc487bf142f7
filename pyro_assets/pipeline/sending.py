"""One job to one receiver: what of it is new there, sent; a receipt before the first request and after the last answer.

The order is the promise: open receipt -> requests -> receipt in the archive -> receipt in the ledger. A crash in
between is repaired by sending the same samples again. Which jobs, and when, is `exporting`'s; how bytes get there is
`export.client`'s.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pyro_assets.errors import ExportError, ReceiverMisconfigured
from pyro_assets.export.batch import Prepared, prepare, rule_digests
from pyro_assets.export.client import Client, SendReport
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.samples import Samples
from pyro_assets.export.validate import ActiveSeries
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.receipt import DueExport, Receipt, ReceiptState, StoredFile, add_refusals
from pyro_assets.pipeline.receipt_files import ReceiptFiles
from pyro_assets.pipeline.series_files import SeriesFiles
from pyro_assets.storage.interface import Bucket

Rules = dict[str, tuple[int, str]]


@dataclass(slots=True)
class _Part:
    """One kind of series of a job.

    Attributes:
        before: what the receiver has, None for nothing.
        rules: rule -> (samples, hash) after sending.
        changed: rules that are not sent because the receiver has other samples of them.
        base: of these earlier counts of the receipt still hold.
    """

    file: StoredFile
    before: Receipt | None
    prepared: Prepared
    rules: Rules
    changed: tuple[str, ...]
    base: Receipt


@dataclass(slots=True)
class Sent:
    """What sending one job came to; `error` says why it is not done, `is_busy` that another process is at it."""

    receipts: tuple[Receipt, ...] = ()
    report: SendReport | None = None
    error: ExportError | None = None
    is_busy: bool = False


@dataclass(slots=True)
class Sender:
    """Sends jobs to one receiver, one at a time.

    Attributes:
        wanted_by: receivers that are to get a job, given its timestamp.
        clock: Unix milliseconds.
    """

    archive: Bucket
    ledger: Ledger
    receiver: Receiver
    client: Client
    files: ReceiptFiles
    active: ActiveSeries | None
    wanted_by: Callable[[int], list[str]]
    clock: Callable[[], int]
    _series: SeriesFiles = field(init=False)

    def __post_init__(self) -> None:
        self._series = SeriesFiles(self.archive, self.ledger)

    def send(self, due: DueExport) -> Sent:
        """Sends what the receiver lacks of a job.

        Raises:
            StorageError, SeriesError: the archive does not give the series, or does not take the receipt.
            LedgerUnavailable: the receipt stays open; the same samples are sent again.
        """
        known = dict(due.receipts)
        if any(receipt.state == "sending" for receipt in known.values()):
            # A run that died may have come as far as the archive.
            known |= self.files.read(due, anew=True)
        elif not known:
            known = self.files.read(due)
        parts = [self._part(due, file, known.get(file.kind)) for file in due.files]
        to_send = [part for part in parts if len(part.prepared.samples)]
        if to_send:
            opened = [self._opened(due, part) for part in to_send]
            if not self.ledger.open_receipts(opened, self.clock()):
                return Sent(is_busy=True)
            if self.active is not None and (fresh := self.active.take_fresh()):
                # Before the first request: the next process must know of them whatever becomes of this one.
                self.ledger.add_active_series(self.receiver.name, fresh, self.clock())
        total = SendReport()
        closed = []
        for part in parts:
            report = self.client.send(part.prepared.batches())
            if report.error is not None:
                total.merge(report)
                if isinstance(report.error, ReceiverMisconfigured) and not total.accepted and not total.retries:
                    self.ledger.drop_open_receipts(due.job_id, self.receiver.name)
                return Sent((), total, report.error)
            closed.append(self._closed(due, part, report))
            total.merge(report)  # only now: closing adds what we refused ourselves
        now_ms = self.clock()
        if to_send or any(receipt.samples for receipt in closed):
            self.files.write(due, closed, now_ms)
        self.ledger.put_receipts(closed, now_ms, wanted_by=self.wanted_by(due.timestamp_ms))
        return Sent(tuple(closed), total)

    def _part(self, due: DueExport, file: StoredFile, before: Receipt | None) -> _Part:
        samples = self._series.samples(file)
        blank = Receipt(due.job_id, file.kind, self.receiver.name, "sending")
        if before is None:
            prepared = self._prepare(samples)
            return _Part(file, None, prepared, prepared.rules, (), blank)
        now = rule_digests(samples, self.receiver)
        changed = tuple(sorted(rule for rule, sent in before.rules.items() if now.get(rule) != sent))
        is_open = before.state == "sending"
        wanted = {rule for rule in now if rule not in before.rules or (is_open and rule not in changed)}
        prepared = self._prepare(_of_rules(samples, wanted))
        # What is sent again is counted again; what stays as it is keeps its counts.
        return _Part(file, before, prepared, now | before.rules, changed, blank if is_open else before)

    def _prepare(self, samples: Samples) -> Prepared:
        return prepare(samples, self.receiver, self.clock(), self.active)

    def _opened(self, due: DueExport, part: _Part) -> Receipt:
        return Receipt(
            due.job_id,
            part.file.kind,
            self.receiver.name,
            "sending",
            samples=part.prepared.derived,
            sample_hash=part.prepared.digest,
            file_ms=part.file.written_ms,
            rules=part.rules,
        )

    def _closed(self, due: DueExport, part: _Part, report: SendReport) -> Receipt:
        report.refused.merge(part.prepared.refusals)
        base = part.base
        refused = base.refused + report.refused.total
        reasons = Counter(base.reasons) + Counter(report.refused.by_reason)
        tenants = add_refusals(add_refusals({}, base.tenants), report.refused.by_tenant)
        samples = base.samples + part.prepared.derived
        changes = tuple(f"changed after it was sent: rule {rule!r}" for rule in part.changed)
        cost: dict[str, Any] = {
            "bytes": report.bytes,
            "requests": report.requests,
            "retries": report.retries,
            "seconds": round(report.seconds, 6),
            "answer_seconds": round(report.answer_seconds, 6),
        }
        cost = {name: value + base.cost.get(name, 0) for name, value in cost.items()}
        return replace(
            base,
            job_id=due.job_id,
            state=_state(part.changed, samples, refused, reasons),
            samples=samples,
            accepted=base.accepted + report.accepted,
            refused=refused,
            sample_hash=part.prepared.digest if part.before is None else part.before.sample_hash,
            file_ms=part.file.written_ms,
            rules=part.rules,
            reasons=dict(reasons),
            tenants={tenant: dict(of_tenant) for tenant, of_tenant in tenants.items()},
            examples=(*changes, *(str(example) for example in report.refused.examples), *base.examples),
            changed=part.changed,
            cost=cost,
        )


def _state(changed: tuple[str, ...], samples: int, refused: int, reasons: Mapping[str, int]) -> ReceiptState:
    if changed:
        return "changed"
    if not refused:
        return "sent"
    return "too_old" if refused >= samples and set(reasons) == {"too_old"} else "refused"


def _of_rules(samples: Samples, wanted: set[str]) -> Samples:
    is_wanted = np.array([rule in wanted for rule in samples.rules], dtype=np.bool_)
    rows = np.flatnonzero(is_wanted.take(samples.rule)) if len(samples) else np.zeros(0, dtype=np.int64)
    return samples.take(rows)
