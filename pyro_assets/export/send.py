"""Sends one job to one receiver: what is new there, with a receipt before the first request and after the last answer.

The order is the promise: open receipt -> requests -> receipt in the archive -> receipt in the ledger. A crash in
between is repaired by sending the same samples again. A tenant that the receiver does not take samples of right now
gets a receipt of its own, which says that they are owed, so that the others' can be closed. Which jobs, and when, is
`exporter`'s; how bytes get there is `export.remote_write.client`'s.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

import numpy as np

from pyro_assets.errors import ExportError, ReceiverMisconfigured
from pyro_assets.export.receipt import DueExport, Receipt, ReceiptFiles, ReceiptState, add_refusals
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.remote_write.batch import Prepared, prepare, rule_digests
from pyro_assets.export.remote_write.client import Client, SendReport
from pyro_assets.export.remote_write.refusals import Refusals
from pyro_assets.export.remote_write.validate import ActiveSeries
from pyro_assets.export.samples import Samples, orgs_of, samples_of
from pyro_assets.export.states import ActiveSeriesRecords
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.interface import Bucket

Rules = dict[str, tuple[int, str]]


@dataclass(slots=True)
class _Part:
    """One kind of series of a job.

    Attributes:
        before: what the receiver has, None for nothing.
        rules: rule -> (samples, hash) after sending.
        changed: rules that are not sent because the receiver has other samples of them.
        base: the receipt whose counts still hold.
        apart: tenants that have receipts of their own; owed: those that get one with this job.
        report: the result so far; done: tenants to which it was sent.
    """

    file: SeriesFile
    before: Receipt | None
    prepared: Prepared
    rules: Rules
    changed: tuple[str, ...]
    base: Receipt
    apart: tuple[str, ...] = ()
    owed: tuple[Receipt, ...] = ()
    report: SendReport = field(default_factory=SendReport)
    done: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Sent:
    """The result of sending one job; `error` says why it is not done, `is_busy` that another process has it open."""

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
        asked_ms: when this export began, where a person asked for it.
        is_held: whether a tenant (as the receiver knows it) is not sent to with the others.
        hold: called with a tenant's own trouble; what the job has of it is owed then.
    """

    archive: Bucket
    ledger: Ledger
    receiver: Receiver
    client: Client
    files: ReceiptFiles
    active: ActiveSeries | None
    wanted_by: Callable[[int], list[str]]
    clock: Callable[[], int]
    asked_ms: int | None = None
    is_held: Callable[[str], bool] = lambda _: False
    hold: Callable[[ExportError], None] = lambda _: None
    _series: SeriesFiles = field(init=False)

    def __post_init__(self) -> None:
        self._series = SeriesFiles(self.archive, self.ledger)

    def send(self, due: DueExport) -> Sent:
        """Sends what the receiver lacks of a job: of all tenants, or of the one for which it is due.

        Raises:
            StorageError, SeriesError: the archive does not give the series, or does not take the receipt.
            LedgerUnavailable: the receipt stays open; the same samples are sent again.
        """
        known = dict(due.receipts)
        if any(receipt.state == "sending" for receipt in known.values()):
            # A run that died may have come as far as the archive.
            known |= self.files.read(due, anew=True)
        elif not known or due.tenant:
            # A ledger that was made anew knows of a tenant's receipts only that there are some.
            known |= self.files.read(due)
        total, tried = SendReport(), set[str]()
        parts = [self._part(due, file, known.get(file.kind), tried) for file in due.files]
        to_send = [part for part in parts if len(part.prepared.samples)]
        if to_send:
            opened = [self._opened(due, part) for part in to_send]
            if not ReceiptRecords(self.ledger).open_receipts(opened, self.clock()):
                return Sent(is_busy=True)
            if self.active is not None and (fresh := self.active.take_fresh()):
                # Before the first request: the next process must know of them whatever becomes of this one.
                ActiveSeriesRecords(self.ledger).add_active_series(self.receiver.name, fresh, self.clock())
        for position, file in enumerate(due.files):
            while error := self._send_part(parts[position], total):
                if not error.tenant or due.tenant:
                    if isinstance(error, ReceiverMisconfigured) and not total.accepted and not total.retries:
                        ReceiptRecords(self.ledger).drop_open_receipts(due.job_id, self.receiver.name, due.tenant)
                    return Sent((), total, error)
                self.hold(error)
                tried.add(error.tenant)
                report, done = parts[position].report, parts[position].done
                parts[position] = replace(self._part(due, file, known.get(file.kind), tried), report=report, done=done)
        closed = [self._closed(due, part, total) for part in parts]
        now_ms = self.clock()
        if to_send or any(receipt.samples or receipt.apart for receipt in closed):
            self.files.write(due, closed, now_ms)
        owed = [receipt for part in parts for receipt in part.owed]
        wanted_by = self.wanted_by(due.timestamp_ms)
        ReceiptRecords(self.ledger).put_receipts(closed, now_ms, wanted_by=wanted_by, owed=owed, asked_ms=self.asked_ms)
        return Sent(tuple(closed), total)

    def _send_part(self, part: _Part, total: SendReport) -> ExportError | None:
        """Sends tenant by tenant what has not been sent yet, up to the first trouble."""
        samples = part.prepared.samples
        orgs = orgs_of(samples, self.receiver)
        for org, batches in groupby(part.prepared.batches(), key=lambda batch: batch.org_id):
            if org in part.done:
                continue
            report = self.client.send(batches, orgs)
            if report.error is not None and report.error.tenant and not part.base.tenant:
                # All of it is sent again, so nothing of it counts but its cost.
                report = replace(report, accepted=0, refused=Refusals(), unsent=0)
            error, report.error = report.error, None
            total.merge(report)
            part.report.merge(report)
            if error is not None:
                return error
            part.done.add(org)
        return None

    def _part(self, due: DueExport, file: SeriesFile, before: Receipt | None, tried: Collection[str]) -> _Part:
        samples = samples_of(self._series, file)
        blank = Receipt(due.job_id, file.kind, self.receiver.name, "sending", tenant=due.tenant)
        apart = set(before.apart) if before is not None else set()
        orgs = {self.receiver.org_of(tenant) for tenant in samples.tenants} - apart
        orgs = orgs & {due.tenant} if due.tenant else orgs
        held = set() if due.tenant else {org for org in orgs if org in tried or self.is_held(org)}
        everyone = self._of_tenants(samples, orgs) if due.tenant or apart else samples
        mine = self._of_tenants(samples, orgs - held) if held else everyone
        changed: tuple[str, ...] = ()
        if before is None:
            prepared, base = self._prepare(mine), blank
            rules = prepared.rules
        else:
            now = rule_digests(everyone, self.receiver)
            changed = tuple(sorted(rule for rule, sent in before.rules.items() if now.get(rule) != sent))
            is_open = before.state in ("sending", "owed")
            wanted = {rule for rule in now if rule not in before.rules or (is_open and rule not in changed)}
            prepared = self._prepare(mine.take(np.flatnonzero(mine.of_rules(wanted.__contains__))))
            # What is sent again is counted again; what stays as it is keeps its counts.
            base = replace(blank, apart=before.apart) if is_open else before
            rules = _kept(rule_digests(mine, self.receiver) if held else now, before.rules, changed)
        owed = []
        # Also those that had one: a ledger that was made anew does not know of them.
        for org in sorted(held | apart):
            theirs = rule_digests(self._of_tenants(samples, {org}), self.receiver)
            if theirs:
                maybe_there = {} if before is None and org not in tried else theirs
                owed.append(
                    replace(
                        blank,
                        state="owed",
                        tenant=org,
                        samples=sum(count for count, _ in theirs.values()),
                        file_ms=file.written_ms,
                        rules=_kept(maybe_there, before.rules if before is not None else {}, changed),
                    )
                )
        apart |= {receipt.tenant for receipt in owed}
        return _Part(file, before, prepared, rules, changed, base, tuple(sorted(apart)), tuple(owed))

    def _of_tenants(self, samples: Samples, orgs: Collection[str]) -> Samples:
        """The samples that are sent under these X-Scope-OrgIDs."""
        return samples.take(np.flatnonzero(samples.of_tenants(lambda tenant: self.receiver.org_of(tenant) in orgs)))

    def _prepare(self, samples: Samples) -> Prepared:
        return prepare(samples, self.receiver, self.clock(), self.active)

    def _opened(self, due: DueExport, part: _Part) -> Receipt:
        return Receipt(
            due.job_id,
            part.file.kind,
            self.receiver.name,
            "sending",
            tenant=due.tenant,
            apart=part.base.apart,
            samples=part.prepared.derived,
            sample_hash=part.prepared.digest,
            file_ms=part.file.written_ms,
            rules=part.rules,
        )

    def _closed(self, due: DueExport, part: _Part, total: SendReport) -> Receipt:
        report = part.report
        report.refused.merge(part.prepared.refusals)
        total.refused.merge(part.prepared.refusals)
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
            apart=part.apart,
        )


def _state(changed: tuple[str, ...], samples: int, refused: int, reasons: Mapping[str, int]) -> ReceiptState:
    if changed:
        return "changed"
    if not refused:
        return "sent"
    return "too_old" if refused >= samples and set(reasons) == {"too_old"} else "refused"


def _kept(now: Rules, before: Rules, changed: Collection[str]) -> Rules:
    """Digests of rules: of changed ones those that were sent, of others those of now."""
    return now | {rule: sent for rule, sent in before.items() if rule in changed or rule not in now}
