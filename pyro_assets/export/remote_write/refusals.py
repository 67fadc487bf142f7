"""Samples that are not sent or not taken, counted by reason, rule and tenant, with the first examples of each reason.

Add a reason here with what it means; who finds it is elsewhere (`validate` before sending, `client` from answers).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_EXAMPLES: Final = 5
#: reason -> what it means. The first part is found by us before sending, the second in a receiver's answers.
REASONS: Final[dict[str, str]] = {
    "bad_metric_name": "the metric's name is not [a-zA-Z_:][a-zA-Z0-9_:]*",
    "bad_label_name": "a label's name is not one that `label_names` of the receiver allows",
    "duplicate_label": "two labels have the same name, such as one of the series and one of the receiver's own",
    "too_many_labels": "more labels than the receiver takes",
    "label_name_too_long": "a label's name is longer than the receiver takes",
    "label_value_too_long": "a label's value is longer than the receiver takes",
    "bad_org_id": "the tenant's name cannot be an X-Scope-OrgID; map it under org_ids",
    "not_finite": "the value is no finite number",
    "future": "the timestamp is more than five minutes ahead",
    "too_old": "older than the receiver's out-of-order window or retention; write it as a file",
    "duplicate_sample": "two samples of one series and time",
    "active_series": "the tenant has as many series in this hour as the receiver allows",
    "series_too_large": "one series is larger than a request may be",
    "out_of_order": "the receiver has a newer sample of the series and no out-of-order window for this one",
    "conflict": "the receiver has another value of the series at this time",
    "label_limit": "the receiver's limit of labels or their length",
    "series_limit": "the receiver's limit of series",
    "rejected": "the receiver says no for another reason",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One sample that is not at the receiver.

    Attributes:
        labels: as they would have been sent.
        detail: what exactly, such as the label to blame or the receiver's answer.
    """

    reason: str
    rule: str
    tenant: str
    labels: Mapping[str, str]
    timestamp_ms: int
    value: float
    detail: str = ""

    def __str__(self) -> str:
        labels = ", ".join(f"{name}={value!r}" for name, value in self.labels.items() if name != "__name__")
        detail = f": {self.detail}" if self.detail else ""
        return (
            f"{self.reason}{detail} ({self.labels.get('__name__', '')}{{{labels}}} of tenant {self.tenant!r}, "
            f"rule {self.rule!r}, at {self.timestamp_ms})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {name: getattr(self, name) for name in ("reason", "rule", "tenant", "timestamp_ms", "detail")} | {
            "labels": dict(self.labels),
            "value": repr(self.value),
        }


@dataclass(slots=True)
class Refusals:
    """Counts and first examples.

    Attributes:
        counts: (reason, rule) -> samples.
        tenants: (tenant, reason) -> samples, the same ones.
        examples: at most MAX_EXAMPLES of each reason.
    """

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    tenants: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Refusal] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Samples refused."""
        return self.counts.total()

    @property
    def by_reason(self) -> dict[str, int]:
        """Reason -> samples, sorted by reason."""
        found: Counter[str] = Counter()
        for (reason, _), count in self.counts.items():
            found[reason] += count
        return dict(sorted(found.items()))

    @property
    def by_tenant(self) -> dict[str, dict[str, int]]:
        """Tenant -> reason -> samples, sorted."""
        found: dict[str, dict[str, int]] = {}
        for (tenant, reason), count in sorted(self.tenants.items()):
            found.setdefault(tenant, {})[reason] = count
        return found

    def wants_example(self, reason: str) -> bool:
        """Whether another example of a reason would be kept."""
        return sum(example.reason == reason for example in self.examples) < MAX_EXAMPLES

    def count(self, reason: str, rule: str, tenant: str, samples: int = 1) -> None:
        """Count samples of one rule and tenant."""
        self.counts[reason, rule] += samples
        self.tenants[tenant, reason] += samples

    def add(self, refusal: Refusal) -> None:
        """Count one, and keep it when it is among the first of its reason."""
        self.count(refusal.reason, refusal.rule, refusal.tenant)
        if self.wants_example(refusal.reason):
            self.examples.append(refusal)

    def merge(self, other: "Refusals") -> None:
        """Adds the refusals of another."""
        self.counts += other.counts
        self.tenants += other.tenants
        self.examples += [example for example in other.examples if self.wants_example(example.reason)]
