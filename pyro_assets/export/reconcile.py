"""The proof: a receiver's samples compared with the archive's series, one by one.

Windows of time are asked one after the other, metric by metric and tenant by tenant, so that neither side is ever in
memory as a whole. Sums are never compared, they could cancel. Nothing is repaired here.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from pyro_assets.errors import ObjectMissing, RemovedByRetention, SeriesError
from pyro_assets.export.promql import LabelSet, PromQLClient, selector
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.remote_write.batch import Prepared, prepare
from pyro_assets.export.remote_write.refusals import Refusals
from pyro_assets.export.remote_write.transport import Transport
from pyro_assets.export.samples import NAME_LABEL, Samples, samples_of
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.receivers.model import Receiver
from pyro_assets.rules.names import METRIC_PREFIX, exported_name
from pyro_assets.rules.selectors import Matcher
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import HOUR_MS
from pyro_assets.storage.shown import show_bytes

#: (tenant, time) -> samples that the receiver may lack; infinite: nothing is known of them.
Lacking = dict[tuple[str, int], float]
MAX_EXAMPLES: Final = 20
KINDS: Final = ("missing", "extra", "differing", "doubled")
#: Samples per window, about, that are in memory from either side.
WINDOW_SAMPLES: Final = 100_000
_WINDOW_MS: Final = 3_600_000
#: VictoriaMetrics keeps whole numbers exactly up to here, and others to 14 digits and more.
_EXACT_DECIMAL: Final = 2**53
_DECIMAL_TOLERANCE: Final = 1e-14


@dataclass(frozen=True, slots=True)
class JobSamples:
    """One file of series that is read when its window is compared.

    Attributes:
        timestamp_ms: of all its samples.
        count: of its samples, at least about.
        read: gives them, as `samples.open_series` does.
        may_lack: tenant -> how many of its samples the receiver may lack, because it refused them; infinite where
            nothing is known of them, which leaves them out on both sides; None where nothing was sent.
    """

    timestamp_ms: int
    count: int
    read: Callable[[], Samples]
    may_lack: Callable[[str], float | None] = lambda _tenant: 0


@dataclass(frozen=True, slots=True)
class SampleDifference:
    """One sample that is not the same on both sides.

    Attributes:
        kind: "missing" (not there), "extra" (only there), "differing", or "doubled" (there once more: sums over time
            count it again).
        expected, actual: None where there is none.
    """

    kind: str
    tenant: str
    labels: LabelSet
    timestamp_ms: int
    expected: float | None
    actual: float | None

    def __str__(self) -> str:
        labels = selector(dict(self.labels))
        return f"{self.kind} {labels} at {self.timestamp_ms}: expected {self.expected!r}, found {self.actual!r}"


@dataclass(slots=True)
class Reconciliation:
    """The result of a comparison.

    Attributes:
        compared: samples that are expected.
        equal: of these, samples that the receiver holds with the same value.
        refused: samples that it lacks because it refused them; they are not expected.
        counts: (kind, hour as ms // 3,600,000, tenant, metric) -> samples.
        examples: the first differences of each kind.
        unsendable: samples that our own rules keep back; they are not expected.
        queries: asked.
        unreadable: time of a file that could not be read -> why; what the receiver has of that time is not judged.
    """

    compared: int = 0
    equal: int = 0
    refused: int = 0
    counts: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    examples: list[SampleDifference] = field(default_factory=list)
    unsendable: Refusals = field(default_factory=Refusals)
    queries: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)

    def total(self, kind: str) -> int:
        """Differences of a kind, see `KINDS`."""
        return sum(count for (of, *_), count in self.counts.items() if of == kind)

    @property
    def is_equal(self) -> bool:
        """Whether the receiver holds exactly what is expected."""
        return not self.counts.total() and not self.unreadable

    def add(self, difference: SampleDifference) -> None:
        """Count a difference."""
        metric = dict(difference.labels).get(NAME_LABEL, "")
        self.counts[difference.kind, difference.timestamp_ms // _WINDOW_MS, difference.tenant, metric] += 1
        if sum(example.kind == difference.kind for example in self.examples) < MAX_EXAMPLES:
            self.examples.append(difference)


def reconcile(
    receiver: Receiver,
    questions: PromQLClient,
    jobs: Iterable[JobSamples],
    begin_ms: int,
    end_ms: int,
    *,
    tenants: Sequence[str] = (),
    prefix: str = METRIC_PREFIX,
    progress: Callable[[int], None] = lambda _: None,
) -> Reconciliation:
    """Compare [begin_ms, end_ms).

    Args:
        receiver: whose tenants, metrics and labels count.
        questions: to it.
        jobs: every file of series with samples in that time; their contents are read once, window by window.
        begin_ms: the first millisecond.
        end_ms: the first millisecond that is not compared any more.
        tenants: more tenants to look for extra samples of, beside those of `jobs`.
        prefix: metrics that begin like this are ours: what the receiver has of them and we do not is extra.
        progress: called with the end of each window that is done.

    Raises:
        StorageError: the archive does not answer.
        ReceiverMisconfigured, ReceiverUnavailable, BadAnswer, SecretMissing: the receiver cannot be asked.
    """
    result = Reconciliation()
    known = {tenant for tenant in tenants if receiver.takes_tenant(tenant)}
    for window_begin, window_end, inside in _windows(jobs, begin_ms, end_ms):
        expected: dict[tuple[str, str], dict[LabelSet, dict[int, float]]] = {}
        lacking: Lacking = {}
        for job in inside:
            try:
                samples = job.read()
            except (SeriesError, ObjectMissing) as error:
                result.unreadable[job.timestamp_ms] = str(error)
                continue
            prepared = prepare(samples, receiver, 0, ageless=True)
            result.unsendable.merge(prepared.refusals)
            _collect(_sent(prepared, job, lacking), window_begin, window_end, expected)
        known |= {tenant for tenant, _ in expected}
        for tenant in sorted(known):
            window = (window_begin, window_end)
            _compare_tenant(receiver, questions, tenant, expected, window, prefix, lacking, result)
        progress(window_end)
    return result


def _windows(jobs: Iterable[JobSamples], begin_ms: int, end_ms: int) -> Iterator[tuple[int, int, list[JobSamples]]]:
    """Windows that cover the whole time without gaps, each inside an hour and of bounded size where jobs allow it."""
    waiting = sorted((job for job in jobs if begin_ms <= job.timestamp_ms < end_ms), key=lambda job: job.timestamp_ms)
    position = 0
    while begin_ms < end_ms:
        end = min(end_ms, begin_ms // _WINDOW_MS * _WINDOW_MS + _WINDOW_MS)
        inside: list[JobSamples] = []
        size = 0
        while position < len(waiting) and waiting[position].timestamp_ms < end:
            job = waiting[position]
            if size + job.count > WINDOW_SAMPLES and inside and inside[-1].timestamp_ms < job.timestamp_ms:
                end = job.timestamp_ms
                break
            inside.append(job)
            size += job.count
            position += 1
        yield begin_ms, end, inside
        begin_ms = end


def _sent(prepared: Prepared, job: JobSamples, lacking: Lacking) -> Samples:
    """The samples of a job that were sent for certain; adds to `lacking` how many of them the receiver may lack."""
    samples, sent = prepared.samples, set[str]()
    for tenant in samples.tenants:
        may_lack = job.may_lack(tenant)
        if may_lack is not None and may_lack < math.inf:
            sent.add(tenant)
        if may_lack:
            # Our own rules' refusals are in receipts, too, and are not expected anyway.
            ours = sum(prepared.refusals.by_tenant.get(tenant, {}).values())
            key = (tenant, job.timestamp_ms)
            lacking[key] = lacking.get(key, 0) + max(0, may_lack - ours)
    rows = samples.of_tenants(sent.__contains__)
    return samples if rows.all() else samples.take(np.flatnonzero(rows))


def _collect(
    samples: Samples, begin_ms: int, end_ms: int, into: dict[tuple[str, str], dict[LabelSet, dict[int, float]]]
) -> None:
    rows = np.flatnonzero((samples.timestamp_ms >= begin_ms) & (samples.timestamp_ms < end_ms))
    for row in rows.tolist():
        labels = samples.labels(row)
        tenant = samples.tenants[samples.tenant[row]]
        series = into.setdefault((tenant, labels[NAME_LABEL]), {}).setdefault(tuple(sorted(labels.items())), {})
        series[int(samples.timestamp_ms[row])] = float(samples.value[row])


def _compare_tenant(
    receiver: Receiver,
    questions: PromQLClient,
    tenant: str,
    expected: dict[tuple[str, str], dict[LabelSet, dict[int, float]]],
    window: tuple[int, int],
    prefix: str,
    lacking: Lacking,
    result: Reconciliation,
) -> None:
    fixed = dict(receiver.labels)
    if receiver.effective_tenant_label is not None:
        fixed[receiver.effective_tenant_label] = tenant
    org_id = receiver.org_of(tenant)
    matching = selector(fixed).replace("{", f'{{__name__=~"{prefix}.*",', 1)
    there = questions.metric_names(matching, *window, org_id)
    result.queries += 1
    metrics = {metric for owner, metric in expected if owner == tenant}
    metrics |= {metric for metric in there if metric.startswith(prefix)}
    for metric in sorted(metrics):
        actual = questions.raw_samples({NAME_LABEL: metric, **fixed}, *window, org_id)
        result.queries += 1
        _compare(receiver, tenant, expected.get((tenant, metric), {}), actual, lacking, result)


def _compare(
    receiver: Receiver,
    tenant: str,
    expected: dict[LabelSet, dict[int, float]],
    actual: dict[LabelSet, dict[int, list[float]]],
    lacking: Lacking,
    result: Reconciliation,
) -> None:
    is_decimal = receiver.kind == "victoriametrics"
    for labels in sorted(expected.keys() | actual.keys()):
        mine, theirs = expected.get(labels, {}), actual.get(labels, {})
        if not mine and receiver.selectors is not None and not _is_selected(receiver, labels):
            continue
        for time in sorted(mine.keys() | theirs.keys()):
            value = mine.get(time)
            there = theirs.get(time, [])
            first = there[0] if there else None
            may_lack = lacking.get((tenant, time), 0)
            if may_lack == math.inf:
                continue
            is_equal = value == first or (is_decimal and _is_close(value, first))
            if may_lack and value is not None and not is_equal:
                # Refused because another value was there already, which is another writer's.
                lacking[tenant, time] -= 1
                result.refused += 1
                continue
            result.compared += value is not None
            for again in there[1:]:
                result.add(SampleDifference("doubled", tenant, labels, time, value, again))
            if is_equal:
                result.equal += 1
                continue
            kind = "missing" if first is None else "extra" if value is None else "differing"
            if kind == "extra" and time in result.unreadable:
                continue
            result.add(SampleDifference(kind, tenant, labels, time, value, first))


def _is_close(expected: float | None, actual: float | None) -> bool:
    """Whether a receiver that stores decimal numbers may give one for the other: never a whole one up to 2**53."""
    if expected is None or actual is None or (expected.is_integer() and abs(expected) <= _EXACT_DECIMAL):
        return False
    return math.isclose(expected, actual, rel_tol=_DECIMAL_TOLERANCE)


def _is_selected(receiver: Receiver, labels: LabelSet) -> bool:
    """Whether a series may be one of ours: selectors speak of own names, which are called otherwise there."""
    named = dict(labels)

    def holds(matcher: Matcher) -> bool:
        name = exported_name(show_bytes(matcher.name), receiver.label_names)
        return bool(matcher.select([named.get(name, "").encode()])[0])

    return any(all(map(holds, one.matchers)) for one in receiver.selectors or ())


#: States of receipts that do not tell what the receiver holds: something is on its way, or has changed since.
_UNCERTAIN: Final = ("sending", "owed", "changed")


@dataclass(slots=True)
class HourEstimate:
    """Samples that a receiver would get of an hour, refusals before sending, and distinct series per tenant."""

    samples: int = 0
    refused: int = 0
    series: dict[str, set[int]] = field(default_factory=dict)

    @property
    def active_series(self) -> int:
        """Distinct series of all tenants."""
        return sum(map(len, self.series.values()))


def read_files(
    archive: Bucket, ledger: Ledger, files: Sequence[tuple[int, SeriesFile]], unreadable: list[str] | None = None
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
            samples = samples_of(reader, file)
        except (SeriesError, ObjectMissing) as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
        else:
            yield samples


def files_between(ledger: Ledger, begin_ms: int, end_ms: int) -> list[tuple[int, SeriesFile]]:
    """Timestamp and file of every job with samples in [begin_ms, end_ms), by time.

    Raises:
        RemovedByRetention: the ledger or the archive does not have them any more.
    """
    removed = FileRecords(ledger).removed_in(begin_ms, end_ms)
    if removed:
        raise RemovedByRetention(
            f"retention removed series of {len(removed)} hours of this span, from {removed[0]} to {removed[-1]}; ask "
            "for what came later. Where level-1 blocks are still there, a backfill derives series again; where rows of "
            "the ledger were removed, `pyro-assets rebuild-ledger --from --to` puts them back"
        )
    return FileRecords(ledger).files_between(begin_ms, end_ms)


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
    """Compares the samples of [begin_ms, end_ms) that a receiver holds with those of the archive.

    Args:
        archive: where series lie.
        ledger: knows them, and the receipts.
        receiver: which is asked.
        secrets: where references to environment variables are looked up.
        begin_ms: the first millisecond.
        end_ms: the first millisecond that is not compared any more.
        only_sent: expect only samples of which receipts say that the receiver has them.
        progress: called with the end of each window that is done.

    Raises:
        RemovedByRetention, StorageError: the archive does not have or give the series.
        ReceiverMisconfigured, ReceiverUnavailable, BadAnswer, SecretMissing: the receiver cannot be asked.
    """
    files = files_between(ledger, begin_ms, end_ms)
    receipts = ReceiptRecords(ledger).receipts_between(receiver.name, begin_ms, end_ms) if only_sent else {}
    reader = SeriesFiles(archive, ledger)
    jobs = []
    for time_ms, file in files:
        job = JobSamples(time_ms, file.rows, partial(samples_of, reader, file))
        if only_sent:
            known = receipts.get((file.job_id, file.kind), [])
            job = replace(job, may_lack=partial(_may_lack, receiver, file, known))
        jobs.append(job)
    with Transport(receiver, secrets) as transport:
        questions = PromQLClient(transport)
        questions.refuse_what_it_reads()
        return reconcile(receiver, questions, jobs, begin_ms, end_ms, progress=progress)


def _may_lack(receiver: Receiver, file: SeriesFile, receipts: Sequence[Receipt], tenant: str) -> float | None:
    """How many samples of a tenant a receiver lacks by its receipts; see `JobSamples.may_lack`."""
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
    archive: Bucket, ledger: Ledger, receiver: Receiver, begin_ms: int, end_ms: int, now_ms: int
) -> dict[int, HourEstimate]:
    """Hour (ms // 3,600,000) -> what the receiver would get of it, at a time (Unix ms)."""
    found: dict[int, HourEstimate] = {}
    files = files_between(ledger, begin_ms, end_ms)
    for (time_ms, _), samples in zip(files, read_files(archive, ledger, files), strict=True):
        hour = found.setdefault(time_ms // HOUR_MS, HourEstimate())
        prepared = prepare(samples, receiver, now_ms)
        hour.samples += len(prepared.samples)
        hour.refused += prepared.refusals.total
        hashes = prepared.samples.series_hash([receiver.org_of(tenant) for tenant in prepared.samples.tenants])
        for row, tenant in enumerate(prepared.samples.tenant.tolist()):
            hour.series.setdefault(prepared.samples.tenants[tenant], set()).add(int(hashes[row]))
    return found
