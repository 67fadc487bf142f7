"""How everything is right now, for people: how late, what waits, what was given up, how receivers are.

Add a figure here when a person should see it at a glance; what is wrong with it, and what to do, is said by `alerts`.
Each costs what happened lately, not what the ledger holds.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import ConfigError
from pyro_assets.ledger.lag import LagFigures, Stage
from pyro_assets.ledger.receipt import Refused, add_refusals, words_of_refusals
from pyro_assets.ledger.receivers import ReceiverState
from pyro_assets.ledger.status import Backlog
from pyro_assets.pipeline.hours import lag_of
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.pipeline.settings import KINDS
from pyro_assets.storage.keys import HOUR_MS

#: Name of a span -> its length; the first is what alerts look at.
SPANS_MS: Final[Mapping[str, int]] = {"last 10 minutes": 600_000, "last hour": HOUR_MS}


@dataclass(frozen=True, slots=True)
class ReceiverNow:
    """A receiver as it is.

    Attributes:
        name, kind, url: as configured.
        state: what the ledger remembers.
        pending: jobs that it lacks since its start; oldest_hour: the first of their hours, "" without any.
        accepted, refused: samples in the last hour; reasons: why they were refused -> how many; refused_words: the
            same by tenant.
        owed: tenant (as the receiver knows it) -> jobs that wait for it alone.
        lag_p95_seconds: first segment created -> accepted, over the last ten minutes; None without any.
    """

    name: str
    kind: str
    url: str
    state: ReceiverState
    pending: int = 0
    oldest_hour: str = ""
    accepted: int = 0
    refused: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    refused_words: str = ""
    owed: Mapping[str, int] = field(default_factory=dict)
    lag_p95_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at a glance.

    Attributes:
        now_ms: when.
        lags: span -> stage -> how late the jobs were that reached it in that span.
        backlog: what is not done.
        given_up: jobs that failed too often; unheld: state -> sources that no output holds and nobody acknowledged.
        receivers: by name; receivers_problem: why their file is refused, "" where it is not.
        damaged: objects of the archive that changed or vanished.
    """

    now_ms: int
    lags: Mapping[str, Mapping[Stage, LagFigures]]
    backlog: Backlog
    given_up: int
    unheld: Mapping[str, int]
    receivers: tuple[ReceiverNow, ...]
    receivers_problem: str
    damaged: int = 0

    @property
    def oldest_pending_seconds(self) -> float | None:
        """Age of the oldest segment without series, None without any."""
        oldest_ms = self.backlog.oldest_ms
        return None if oldest_ms is None else max(0, self.now_ms - oldest_ms) / 1000


def look(pipeline: Pipeline, now_ms: int) -> Overview:
    """Looks at everything.

    Raises:
        LedgerUnavailable: nothing is known right now.
    """
    ledger = pipeline.ledger
    try:
        receivers, problem = _receivers(pipeline, now_ms), ""
    except ConfigError as error:
        receivers, problem = (), str(error)
    return Overview(
        now_ms=now_ms,
        lags={name: ledger.lag(now_ms - span_ms, now_ms + 1) for name, span_ms in SPANS_MS.items()},
        backlog=ledger.backlog(now_ms, KINDS),
        given_up=ledger.quarantined()["job"],
        unheld=ledger.count_unheld(),
        receivers=receivers,
        receivers_problem=problem,
        damaged=sum(ledger.count_damaged().values()),
    )


def _receivers(pipeline: Pipeline, now_ms: int) -> tuple[ReceiverNow, ...]:
    ledger, found = pipeline.ledger, []
    lately_ms = now_ms - next(iter(SPANS_MS.values()))
    accepted: Counter[str] = Counter()
    refusals: dict[str, Refused] = {}
    reasons: dict[str, Counter[str]] = {}
    lags: dict[str, dict[str, int]] = {}
    for receipt, created_ms in ledger.closed_between(now_ms - HOUR_MS, now_ms):
        accepted[receipt.receiver] += receipt.accepted
        reasons.setdefault(receipt.receiver, Counter()).update(receipt.reasons)
        add_refusals(refusals.setdefault(receipt.receiver, {}), receipt.tenants)
        is_late = receipt.accepted and receipt.first_ms is not None and receipt.first_ms > lately_ms
        if is_late and receipt.first_ms is not None and created_ms is not None:
            lags.setdefault(receipt.receiver, {})[receipt.job_id] = receipt.first_ms - created_ms
    starts = pipeline.receiver_starts()
    for receiver in pipeline.receivers():
        due = ledger.export_due_hours(receiver.name, since_ms=starts[receiver.name])
        late = lag_of(list(lags.get(receiver.name, {}).values()))
        refused = reasons.get(receiver.name, Counter())
        found.append(
            ReceiverNow(
                name=receiver.name,
                kind=receiver.kind,
                url=receiver.url,
                state=ledger.receiver_state(receiver.name),
                pending=sum(due.values()),
                oldest_hour=next(iter(due), ""),
                accepted=accepted[receiver.name],
                refused=refused.total(),
                reasons=dict(sorted(refused.items())),
                refused_words=words_of_refusals(refusals.get(receiver.name, {})),
                owed=ledger.owed_tenants(receiver.name),
                lag_p95_seconds=None if late is None else late.p95_seconds,
            )
        )
    return tuple(found)
