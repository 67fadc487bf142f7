"""Samples checked before they are sent: what a receiver would refuse, cut, merge or lose silently is refused by us.

Add a rule with its reason in `refusals.REASONS`. Nothing is repaired: a label that is cut may be another series' label.
The receiver's own judgement is `client`'s to hear.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, Bool
from pyro_assets.export.remote_write.refusals import Refusal, Refusals
from pyro_assets.export.samples import NAME_LABEL, U64, Samples
from pyro_assets.receivers.model import HEADER_VALUE, Receiver
from pyro_assets.rules.names import exported_name, is_metric_name

#: Receivers refuse what is ten minutes ahead; older ones take it, and then refuse everything of now.
MAX_AHEAD_MS: Final = 5 * 60_000
_HOUR_MS: Final = 3_600_000
_ACTIVE_HOURS: Final = 2


@dataclass(slots=True)
class ActiveSeries:
    """Series per tenant and hour of samples, to keep below a receiver's limit; what is over it is refused.

    Keep one per receiver as long as the process lives. Of each tenant only the newest hours are held in memory; what
    earlier processes sent comes from `load`, and `take_fresh` is what to keep for later ones. Two processes that send
    different jobs of one hour at the same moment may each take a series for which there was room for one.

    Attributes:
        limit: series per tenant and hour.
        load: hashes of the series of a tenant and hour that were sent before.
    """

    limit: int
    load: Callable[[str, int], Iterable[int]] = lambda _tenant, _hour: ()
    _fresh: dict[tuple[str, int], set[int]] = field(default_factory=dict)
    _seen: dict[tuple[str, int], set[int]] = field(default_factory=dict)

    def over_limit(self, tenant: str, hour: int, series: U64) -> Bool:
        """Which of the series are over the limit; the others are active from now on.

        Args:
            tenant: of all of them.
            hour: of all of them, Unix ms // 3,600,000.
            series: hashes of `Samples.series_hash`.
        """
        known = self._of(tenant, hour)
        result = np.zeros(len(series), dtype=np.bool_)
        fresh = np.flatnonzero(~np.isin(series, np.fromiter(known, dtype=np.uint64, count=len(known))))
        room = max(0, self.limit - len(known))
        # Of equal hashes the first decides; callers have refused equal series at one time already.
        taken = series.take(fresh[:room]).tolist()
        known.update(taken)
        if taken:
            self._fresh.setdefault((tenant, hour), set()).update(taken)
        for position in fresh[room:].tolist():
            result[position] = int(series[position]) not in known
        return result

    def take_fresh(self) -> dict[tuple[str, int], set[int]]:
        """(tenant, hour) -> series that became active since this was asked last."""
        fresh, self._fresh = self._fresh, {}
        return fresh

    def _of(self, tenant: str, hour: int) -> set[int]:
        if (tenant, hour) not in self._seen:
            hours = sorted(known for name, known in self._seen if name == tenant)
            for old in hours[: max(0, len(hours) - _ACTIVE_HOURS + 1)]:
                del self._seen[tenant, old]
            unsaved = self._fresh.get((tenant, hour), ())
            self._seen[tenant, hour] = {*self.load(tenant, hour), *unsaved}
        return self._seen[tenant, hour]


@dataclass(slots=True)
class Validated:
    """Samples that may be sent, in the order given, and what was refused."""

    samples: Samples
    refusals: Refusals


def validate(
    samples: Samples, receiver: Receiver, now_ms: int, active: ActiveSeries | None = None, *, ageless: bool = False
) -> Validated:
    """Check the samples of one job for one receiver.

    Each refused sample is counted once, under the first reason that applies, in the order of this function.

    Args:
        samples: dressed for the receiver, see `samples.dress`.
        receiver: whose limits count.
        now_ms: the time of now, Unix milliseconds.
        active: counts series over the jobs of an hour; None: the limit of active series is not looked at.
        ageless: skip what depends on now and on other jobs: files take any age.
    """
    checks = _Checks(samples)
    pairs = zip(samples.pair_name.tolist(), samples.pair_value.tolist(), strict=True)
    labels = [(samples.names[name], samples.values[value]) for name, value in pairs]
    checks.labels("bad_metric_name", labels, lambda n, v: n == NAME_LABEL and not is_metric_name(v))
    checks.missing_name()
    checks.labels(
        "bad_label_name",
        labels,
        lambda n, _: n not in (NAME_LABEL, exported_name(n, receiver.label_names)),
        by_name=True,
    )
    checks.duplicate_labels()
    if receiver.max_labels is not None:
        checks.rows("too_many_labels", np.diff(samples.offsets) > receiver.max_labels)
    if (longest := receiver.max_label_name_bytes) is not None:
        checks.labels("label_name_too_long", labels, lambda n, _: len(n) > longest, by_name=True)
    if (most := receiver.max_label_value_bytes) is not None:
        too_long = np.array([_is_longer(text, most) for text in samples.values], dtype=np.bool_)
        checks.pairs("label_value_too_long", too_long.take(samples.pair_value) if len(too_long) else None)
    checks.rows("bad_org_id", samples.of_tenants(lambda tenant: not HEADER_VALUE.fullmatch(receiver.org_of(tenant))))
    checks.rows("not_finite", ~np.isfinite(samples.value))
    oldest_ms = 1  # nobody takes a time before 1970
    if not ageless:
        checks.rows("future", samples.timestamp_ms > now_ms + MAX_AHEAD_MS)
        if receiver.max_age_ms is not None:
            oldest_ms = max(oldest_ms, now_ms - receiver.max_age_ms)
    checks.rows("too_old", samples.timestamp_ms < oldest_ms)
    series = samples.series_hash([receiver.org_of(tenant) for tenant in samples.tenants])
    checks.rows("duplicate_sample", _duplicates(samples, series, checks.good))
    if active is not None and not ageless:
        checks.rows("active_series", _over_limit(samples, series, checks.good, active))
    return Validated(samples.take(np.flatnonzero(checks.good)), checks.refusals)


def _is_longer(text: str, most: int) -> bool:
    # A character has four bytes at most, so that most texts need not be encoded.
    return len(text) * 4 > most and len(text.encode()) > most


class _Checks:
    """Which samples are still good, and why the others are not."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.good: Bool = np.ones(len(samples), dtype=np.bool_)
        self.refusals = Refusals()

    def rows(self, reason: str, is_bad: npt.NDArray[np.bool_], label: I64 | None = None) -> None:
        """Refuse samples; `label`, int64[n], is the position in `pair` of the label to blame."""
        samples = self.samples
        bad = np.flatnonzero(is_bad & self.good)
        if not len(bad):
            return
        self.good[bad] = False
        for (rule, tenant), count in origins(samples, bad).items():
            self.refusals.count(reason, rule, tenant, count)
        for row in bad.tolist():
            if not self.refusals.wants_example(reason):
                break
            blamed = ""
            if label is not None:
                pair = samples.pair[label[row]]
                blamed = f"label {samples.names[samples.pair_name[pair]]!r}"
            self.refusals.examples.append(refusal_of(samples, row, reason, blamed))

    def labels(
        self, reason: str, pairs: list[tuple[str, str]], is_bad: Callable[[str, str], bool], *, by_name: bool = False
    ) -> None:
        """Refuse samples with a bad label; `by_name` asks each distinct name once."""
        if by_name:
            bad_name = np.array([is_bad(name, "") for name in self.samples.names], dtype=np.bool_)
            self.pairs(reason, bad_name.take(self.samples.pair_name) if len(bad_name) else None)
        else:
            self.pairs(reason, np.array([is_bad(name, value) for name, value in pairs], dtype=np.bool_))

    def pairs(self, reason: str, is_bad: Bool | None) -> None:
        """Refuse samples with a bad one of the distinct labels."""
        if is_bad is None or not is_bad.any():
            return
        self._positions(reason, np.flatnonzero(is_bad.take(self.samples.pair)))

    def duplicate_labels(self) -> None:
        """Refuse samples where two labels have one name; they stand side by side."""
        name = self.samples.pair_name.take(self.samples.pair)
        equal = np.flatnonzero(name[1:] == name[:-1]) + 1
        row = np.searchsorted(self.samples.offsets, equal, side="right") - 1
        self._positions("duplicate_label", equal.compress(equal > self.samples.offsets.take(row)))

    def missing_name(self) -> None:
        """Refuse samples without a metric's name: an empty one is no label."""
        position = np.flatnonzero(self.samples.pair_name.take(self.samples.pair) == self.samples.name_code)
        has_name = np.zeros(len(self.samples), dtype=np.bool_)
        has_name[np.searchsorted(self.samples.offsets, position, side="right") - 1] = True
        self.rows("bad_metric_name", ~has_name)

    def _positions(self, reason: str, positions: I64) -> None:
        row = np.searchsorted(self.samples.offsets, positions, side="right") - 1
        is_bad = np.zeros(len(self.samples), dtype=np.bool_)
        label = np.zeros(len(self.samples), dtype=np.int64)
        is_bad[row[::-1]] = True
        label[row[::-1]] = positions[::-1]  # of several the first is named
        self.rows(reason, is_bad, label)


def refusal_of(samples: Samples, row: int, reason: str, detail: str = "") -> Refusal:
    """Describe a refused sample."""
    return Refusal(
        reason,
        samples.rules[samples.rule[row]],
        samples.tenants[samples.tenant[row]],
        samples.labels(row),
        int(samples.timestamp_ms[row]),
        float(samples.value[row]),
        detail,
    )


def origins(samples: Samples, rows: I64) -> dict[tuple[str, str], int]:
    """(rule, tenant) -> how many of the samples at these rows are theirs."""
    width = max(1, len(samples.tenants))
    counts = np.bincount(samples.rule.take(rows).astype(np.int64) * width + samples.tenant.take(rows))
    return {
        (samples.rules[number // width], samples.tenants[number % width]): int(counts[number])
        for number in np.flatnonzero(counts).tolist()
    }


def _duplicates(samples: Samples, series: U64, good: Bool) -> Bool:
    """All samples that share series and time with another good one; none of them may be chosen by us."""
    result = np.zeros(len(samples), dtype=np.bool_)
    rows = np.flatnonzero(good)
    order = rows.take(np.lexsort((samples.timestamp_ms.take(rows), series.take(rows))))
    same = (np.diff(series.take(order)) == 0) & (np.diff(samples.timestamp_ms.take(order)) == 0)
    for position in np.flatnonzero(same).tolist():  # none in good data; equal hashes are compared in full
        first, second = order[position], order[position + 1]
        if samples.labels(int(first)) == samples.labels(int(second)):
            result[first] = result[second] = True
    return result


def _over_limit(samples: Samples, series: U64, good: Bool, active: ActiveSeries) -> Bool:
    result = np.zeros(len(samples), dtype=np.bool_)
    hour = samples.timestamp_ms // _HOUR_MS
    rows = np.flatnonzero(good)
    for tenant, one_hour in np.unique(np.stack([samples.tenant.take(rows), hour.take(rows)]), axis=1).T.tolist():
        chosen = rows.compress((samples.tenant.take(rows) == tenant) & (hour.take(rows) == one_hour))
        result[chosen] = active.over_limit(samples.tenants[tenant], one_hour, series.take(chosen))
    return result
