"""The project's own health as metrics, by Prometheus' conventions: what is pending, how late, what went wrong.

Counters begin at 0 when this is made and grow by what the ledger says happened since, so a scrape costs what happened
since the last one. Add a metric here with its unit in its name; serving the text is `web`'s.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.errors import ConfigError
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.lag import LAG_BOUNDS_MS, STAGES, LagFigures, LagRecords, Stage, figures_of
from pyro_assets.monitoring.health import LedgerFigures
from pyro_assets.planning.due import DueJobs
from pyro_assets.settings import KINDS
from pyro_assets.storage.keys import HOUR_MS, hour_of

#: Upper bounds of the lag's buckets.
LAG_BUCKETS: Final = tuple(bound_ms / 1000 for bound_ms in LAG_BOUNDS_MS)
#: What is committed is looked for so much later, so that no clock that is a little behind is missed.
_SETTLE_MS: Final = 1_000
_RULES_KEPT_MS: Final = HOUR_MS
Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Family:
    """One metric: its type, what it says, and its samples (suffix, labels, value)."""

    name: str
    kind: str
    help: str
    samples: list[tuple[str, Labels, float]] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", **labels: str) -> None:
        """Add a sample."""
        self.samples.append((suffix, tuple(labels.items()), value))


@dataclass(slots=True)
class _Lag:
    counts: list[int] = field(default_factory=lambda: [0] * (len(LAG_BUCKETS) + 1))
    total: float = 0.0

    def add(self, figures: LagFigures) -> None:
        self.counts = [before + more for before, more in zip(self.counts, figures.buckets, strict=True)]
        self.total += figures.sum_ms / 1000

    def samples(self, family: "Family", **labels: str) -> None:
        """Add its cumulative buckets, sum and count to a metric."""
        running = 0
        for bound, count in zip((*map(str, LAG_BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            family.add(running, "_bucket", **labels, le=bound)
        family.add(round(self.total, 3), "_sum", **labels)
        family.add(running, "_count", **labels)


class HealthMetrics:
    """Collects; safe to be asked by several threads.

    Args:
        ledger: what is known.
        receivers: names and starts of those that are configured now; may raise ConfigError.
        clock: Unix milliseconds.
    """

    def __init__(self, ledger: Ledger, receivers: Callable[[], Mapping[str, int]], clock: Callable[[], int]) -> None:
        self._ledger, self._receivers, self._clock = ledger, receivers, clock
        self._lock = threading.Lock()
        self._until_ms = clock() - _SETTLE_MS
        self._done = dict.fromkeys(("jobs", "bytes_in", "bytes_out", "profiles", "duplicates", "conflicts"), 0)
        self._lags: dict[str, _Lag] = {}
        self._stages: dict[Stage, _Lag] = {stage: _Lag() for stage in STAGES}
        self._asked: dict[Stage, _Lag] = {stage: _Lag() for stage in STAGES}
        self._sums: dict[str, dict[str, float]] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._rules: dict[tuple[str, str], tuple[int, int]] = {}

    def collect(self) -> list[Family]:
        """All metrics as they are now.

        Raises:
            LedgerUnavailable: nothing is known right now.
        """
        with self._lock:
            now_ms = self._clock()
            self._advance(now_ms - _SETTLE_MS)
            return [*self._state(now_ms), *self._work(), *self._exports(now_ms)]

    def _advance(self, until_ms: int) -> None:
        if until_ms <= self._until_ms:
            return
        done = LedgerFigures(self._ledger).done_between(self._until_ms, until_ms)
        for name in self._done:
            self._done[name] += getattr(done, name)
        lags_ms: dict[str, dict[str, int]] = {}
        for receipt, created_ms in ReceiverRecords(self._ledger).closed_between(self._until_ms, until_ms):
            self._count(receipt)
            if receipt.first_ms is not None and receipt.accepted and created_ms is not None:
                lags_ms.setdefault(receipt.receiver, {})[receipt.job_id] = receipt.first_ms - created_ms
        for receiver, of_jobs in lags_ms.items():
            self._lags.setdefault(receiver, _Lag()).add(figures_of(sorted(Counter(of_jobs.values()).items())))
        for asked, stages in ((False, self._stages), (True, self._asked)):
            for stage, figures in LagRecords(self._ledger).lag(self._until_ms + 1, until_ms + 1, asked=asked).items():
                stages[stage].add(figures)
        self._until_ms = until_ms

    def _count(self, receipt: Receipt) -> None:
        sums = self._sums.setdefault(receipt.receiver, {})
        for name, value in {"accepted": receipt.accepted, **receipt.cost}.items():
            sums[name] = sums.get(name, 0) + value
        for reason, count in receipt.reasons.items():
            self._refused[receipt.receiver, reason] = self._refused.get((receipt.receiver, reason), 0) + count
        for rule, (samples, _) in receipt.rules.items():
            at_ms, most = self._rules.get((receipt.kind, rule), (0, 0))
            closed_ms = receipt.first_ms or 0
            fresh = closed_ms - at_ms > _RULES_KEPT_MS
            self._rules[receipt.kind, rule] = (closed_ms, samples) if fresh or samples >= most else (at_ms, most)

    def _state(self, now_ms: int) -> Iterable[Family]:
        backlog = DueJobs(self._ledger).backlog(now_ms, KINDS)
        pending = Family("pyro_assets_pending_segments", "gauge", "Segments that are in no job yet.")
        pending.add(backlog.waiting)
        unfinished = Family("pyro_assets_unfinished_jobs", "gauge", "Jobs whose series are not stored yet.")
        unfinished.add(backlog.unfinished)
        age = Family("pyro_assets_oldest_pending_age_seconds", "gauge", "Age of the oldest segment without series.")
        age.add(0 if backlog.oldest_ms is None else max(0, now_ms - backlog.oldest_ms) / 1000)
        states = Family("pyro_assets_jobs", "gauge", "Jobs of the last 24 hours by state.")
        for state, count in sorted(LedgerFigures(self._ledger).jobs_by_state(hour_of(now_ms - 24 * HOUR_MS)).items()):
            states.add(count, state=state)
        quarantined = Family("pyro_assets_quarantined", "gauge", "Jobs and segments that are given up.")
        for subject, count in QuarantineRecords(self._ledger).quarantined().items():
            quarantined.add(count, subject=subject)
        lost = Family("pyro_assets_lost_segments", "gauge", "Segments deleted before they were read, not acknowledged.")
        lost.add(Pardons(self._ledger).count_unheld().get("lost", 0))
        damaged = Family("pyro_assets_damaged_objects", "gauge", "Objects of the archive that changed or vanished.")
        for kind, count in ScrubRecords(self._ledger).count_damaged().items():
            damaged.add(count, kind=kind)
        return [pending, unfinished, age, states, quarantined, lost, damaged, *self._scrubs(now_ms)]

    def _scrubs(self, now_ms: int) -> Iterable[Family]:
        """Nothing while there is an hour that no scrub has looked at."""
        oldest_ms = ScrubRecords(self._ledger).oldest_scrub_ms(hour_of(now_ms - HOUR_MS))
        if oldest_ms is not None:
            age = Family(
                "pyro_assets_oldest_scrub_age_seconds", "gauge", "How long ago the oldest scrub of an hour was."
            )
            age.add(max(0, now_ms - oldest_ms) / 1000)
            yield age

    def _work(self) -> Iterable[Family]:
        for name, metric, text in (
            ("jobs", "pyro_assets_compacted_jobs_total", "Jobs whose level-1 blocks were committed."),
            ("bytes_in", "pyro_assets_source_bytes_total", "Bytes of the segments of committed jobs."),
            ("bytes_out", "pyro_assets_block_bytes_total", "Bytes of committed level-1 blocks."),
            ("profiles", "pyro_assets_profiles_total", "Profiles in committed level-1 blocks."),
            ("duplicates", "pyro_assets_duplicate_profiles_total", "Profiles that were dropped as duplicates."),
            ("conflicts", "pyro_assets_conflicting_profiles_total", "Profiles of equal series and time that differ."),
        ):
            family = Family(metric, "counter", text)
            family.add(self._done[name])
            yield family
        lag = Family(
            "pyro_assets_lag_seconds", "histogram", "First segment of a live job created until it reached a stage."
        )
        for stage, of_stage in self._stages.items():
            of_stage.samples(lag, stage=stage)
        yield lag
        asked = Family(
            "pyro_assets_backfill_seconds",
            "histogram",
            "Begin of a run or export that a person asked for until a job of it reached a stage; these have no lag.",
        )
        for stage, of_stage in self._asked.items():
            of_stage.samples(asked, stage=stage)
        yield asked

    def _exports(self, now_ms: int) -> Iterable[Family]:
        try:
            starts = self._receivers()
        except ConfigError:
            starts = {}
        names = sorted({*starts, *self._sums})
        yield self._lag_family(names)
        for key, metric, text in (
            ("accepted", "pyro_assets_exported_samples_total", "Samples that a receiver accepted."),
            ("requests", "pyro_assets_export_requests_total", "Requests to a receiver."),
            ("retries", "pyro_assets_export_retries_total", "Requests that were repeated."),
            ("bytes", "pyro_assets_export_bytes_total", "Bytes of bodies sent to a receiver, compressed."),
        ):
            family = Family(metric, "counter", text)
            for name in names:
                family.add(self._sums.get(name, {}).get(key, 0), receiver=name)
            yield family
        answers = Family("pyro_assets_receiver_answer_seconds", "summary", "Time until a receiver answered a request.")
        refused = Family("pyro_assets_refused_samples_total", "counter", "Samples that a receiver refused for good.")
        for name in names:
            sums = self._sums.get(name, {})
            answers.add(round(sums.get("answer_seconds", 0.0), 6), "_sum", receiver=name)
            answers.add(sums.get("requests", 0), "_count", receiver=name)
        for (name, reason), count in sorted(self._refused.items()):
            refused.add(count, receiver=name, reason=reason)
        yield from (answers, refused)
        yield from self._receiver_states(starts)
        rules = Family("pyro_assets_rule_series", "gauge", "Most series of a rule in one job of the last hour.")
        for (kind, rule), (at_ms, most) in sorted(self._rules.items()):
            if now_ms - at_ms <= _RULES_KEPT_MS:
                rules.add(most, kind=kind, rule=rule)
        yield rules

    def _lag_family(self, names: Sequence[str]) -> Family:
        lag = Family(
            "pyro_assets_export_lag_seconds",
            "histogram",
            "First segment of a live job created until a receiver accepted.",
        )
        for name in names:
            self._lags.get(name, _Lag()).samples(lag, receiver=name)
        return lag

    def _receiver_states(self, starts: Mapping[str, int]) -> Iterable[Family]:
        up = Family("pyro_assets_receiver_up", "gauge", "1 where sending to a receiver went well last, else 0.")
        paused = Family("pyro_assets_receiver_paused", "gauge", "1 where a receiver is paused, else 0.")
        pending = Family("pyro_assets_export_pending_jobs", "gauge", "Jobs that a receiver lacks since its start.")
        tenant_up = Family(
            "pyro_assets_receiver_tenant_up", "gauge", "0 where a receiver takes no samples of a tenant."
        )
        owed = Family("pyro_assets_export_owed_jobs", "gauge", "Jobs that a receiver lacks of one tenant alone.")
        for name, since_ms in sorted(starts.items()):
            state = ReceiverRecords(self._ledger).receiver_state(name)
            up.add(not state.error, receiver=name)
            paused.add(state.paused_ms is not None, receiver=name)
            pending.add(
                sum(ReceiptRecords(self._ledger).export_due_hours(name, since_ms=since_ms).values()), receiver=name
            )
            waiting = ReceiptRecords(self._ledger).owed_tenants(name)
            for tenant in sorted({*state.tenants, *waiting}):
                is_failing = tenant in state.tenants and bool(state.tenants[tenant].error)
                tenant_up.add(not is_failing, receiver=name, tenant=tenant)
                owed.add(waiting.get(tenant, 0), receiver=name, tenant=tenant)
        return [up, paused, pending, tenant_up, owed]


def exposition(families: Iterable[Family]) -> str:
    r"""Prometheus' text format.

    >>> family = Family("a_total", "counter", "A.")
    >>> family.add(1, receiver='x"y')
    >>> exposition([family])
    '# HELP a_total A.\n# TYPE a_total counter\na_total{receiver="x\\"y"} 1\n'
    """
    lines = []
    for family in families:
        lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
        for suffix, labels, value in family.samples:
            pairs = ",".join(f'{name}="{_escape(text)}"' for name, text in labels)
            number = repr(float(value)) if value % 1 else str(int(value))
            lines.append(f"{family.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {number}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
