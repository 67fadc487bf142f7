"""The figures of an hour, and how they outlive the rows they were summed up from.

Add a figure here when `hours` sums it; a hour whose rows were removed keeps it as JSON.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass(slots=True)
class HourStatus:
    """Sums over the jobs and sources of an hour; see `pipeline.reports.HourReport` for the fields of the same names."""

    shards: int = 0
    sources_by_state: dict[str, int] = field(default_factory=dict)
    jobs_by_state: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    profiles: int = 0
    samples: int = 0
    duplicates: int = 0
    conflicts: int = 0
    series: dict[str, int] = field(default_factory=dict)
    job_seconds: float = 0.0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    pending: int = 0
    undone_jobs: int = 0
    oldest_pending_ms: int | None = None
    unheld_total: int = 0
    unheld: list[tuple[str, str, str]] = field(default_factory=list)
    services: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    listed_ms: int | None = None


def to_json(status: HourStatus) -> str:
    """Figures as text."""
    plain = asdict(status)
    plain["services"] = [[*names, *counts] for names, counts in status.services.items()]
    return json.dumps(plain)


def from_json(text: str) -> HourStatus:
    """Figures of a text; what an older program did not know is as of nothing."""
    plain = json.loads(text)
    known = {one.name for one in fields(HourStatus)}
    status = HourStatus(**{name: value for name, value in plain.items() if name in known})
    status.services = {(tenant, service): (int(n), int(u)) for tenant, service, n, u in plain.get("services", ())}
    status.unheld = [(str(key), str(state), str(reason)) for key, state, reason in status.unheld]
    return status


def added(kept: HourStatus, now: HourStatus) -> HourStatus:
    """Figures of rows that were removed, and of those that came since.

    Shards may be the same ones, so the larger number counts.
    """
    both: dict[str, Any] = {}
    for one in fields(HourStatus):
        before, after = getattr(kept, one.name), getattr(now, one.name)
        if isinstance(before, dict):
            both[one.name] = dict(
                sorted({key: _sum(before.get(key), after.get(key)) for key in before | after}.items())
            )
        elif isinstance(before, int | float | list):
            both[one.name] = before if after is None else before + after
        else:
            both[one.name] = after if before is None else before
    both["shards"] = max(kept.shards, now.shards)
    for name, choose in (("oldest_ms", min), ("newest_ms", max), ("oldest_pending_ms", min)):
        times = [getattr(status, name) for status in (kept, now) if getattr(status, name) is not None]
        both[name] = choose(times) if times else None
    return HourStatus(**both)


def _sum(before: Any, after: Any) -> Any:
    if before is None or after is None:
        return after if before is None else before
    if isinstance(before, tuple):
        return tuple(one + other for one, other in zip(before, after, strict=True))
    return before + after
