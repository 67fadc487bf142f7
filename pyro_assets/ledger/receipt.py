"""A receipt and what belongs to it: plain values that leave the ledger.

Add a field when it is stored and needed outside, with its place in `receipts`; rows of the database stay there.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

#: sending: a run began and did not say how it ended; sent: everything was accepted; refused: some samples were refused
#: for good; too_old: all of them, for their age; changed: the job's samples are others than those that were sent, and
#: the receiver keeps what it has; owed: of one tenant, whose samples wait while others' were sent.
ReceiptState = Literal["sending", "sent", "refused", "too_old", "changed", "owed"]
MAX_EXAMPLES: Final = 10
_TENANTS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one receiver has of one kind of series of one job.

    Attributes:
        job_id, kind, receiver: whose receipt it is.
        tenant: of whose samples only, as the receiver knows it (X-Scope-OrgID); "": of all but those in `apart`.
        apart: tenants that have receipts of their own.
        state: see `ReceiptState`.
        samples: that the receiver was to get; accepted, refused: what became of them.
        sample_hash: of those samples.
        file_ms: when the file of series was written that it is about.
        first_ms, last_ms: when it was closed for the first and the last time; None while it is open.
        attempts: how often sending was begun.
        rules: rule -> (samples, hash of them) of what was sent or may have been.
        reasons: why samples were refused -> how many; tenants: the same by tenant.
        examples: the first refusals and changes in words.
        changed: rules whose samples differ from those that were sent.
        cost: bytes, requests, retries, seconds.
        owner, opened_ms: of an open receipt: the process that sends (host/pid), and since when.
    """

    job_id: str
    kind: str
    receiver: str
    state: ReceiptState
    samples: int = 0
    accepted: int = 0
    refused: int = 0
    sample_hash: str = ""
    file_ms: int | None = None
    first_ms: int | None = None
    last_ms: int | None = None
    attempts: int = 0
    rules: dict[str, tuple[int, str]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    cost: dict[str, float] = field(default_factory=dict)
    owner: str = ""
    opened_ms: int = 0
    tenant: str = ""
    apart: tuple[str, ...] = ()

    def detail(self) -> str:
        """What has no column of its own, as JSON."""
        detail = {
            "rules": self.rules,
            "reasons": self.reasons,
            "tenants": self.tenants,
            "examples": self.examples[:MAX_EXAMPLES],
            "changed": self.changed,
            "cost": self.cost,
            "owner": self.owner,
            "opened_ms": self.opened_ms,
            "tenant": self.tenant,
            "apart": self.apart,
        }
        return json.dumps({name: value for name, value in detail.items() if value}, sort_keys=True)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of series of a job as the ledger knows it; jobs of an hour that is over may share one.

    Attributes:
        rows: of the job.
        size_bytes, crc32c: of the file; the checksum is None where it is not known.
        written_ms: when the job's series were derived; moving them into a shared file does not change it.
    """

    kind: str
    key: str
    rows: int
    size_bytes: int
    written_ms: int
    job_id: str = ""
    crc32c: int | None = None


@dataclass(frozen=True, slots=True)
class DueExport:
    """A job of which a receiver lacks something.

    Attributes:
        tenant: whose samples are due, "": those of all that have no receipts of their own.
        derived_ms: when its series were there for the first time.
        first_created_ms: creation of its first source: the begin of the lag.
        files: those that the receiver's receipts do not cover.
        receipts: kind -> what the receiver has of it so far (of this tenant).
    """

    job_id: str
    hour: str
    shard: int
    timestamp_ms: int
    derived_ms: int
    first_created_ms: int
    files: tuple[StoredFile, ...]
    receipts: dict[str, Receipt]
    tenant: str = ""


@dataclass(slots=True)
class ReceiverHour:
    """What one receiver has of one hour.

    Attributes:
        jobs: that have a closed receipt; pending: that lack one (in the receiver's scope).
        samples, accepted, refused: over all receipts.
        reasons: why samples were refused -> how many; tenants: the same by tenant; examples: the first in words.
        changed: jobs whose samples changed after they were sent.
        bytes, requests, retries, seconds: what sending cost.
        lags_ms: first source created -> receipt closed for the first time, per job.
        open: jobs whose sending was begun and not closed.
        owed: tenant -> jobs that wait for it alone.
    """

    jobs: int = 0
    pending: int = 0
    samples: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    tenants: dict[str, Counter[str]] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    changed: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    lags_ms: list[int] = field(default_factory=list)
    open: int = 0
    owed: Counter[str] = field(default_factory=Counter)


Refused = dict[str, Counter[str]]


def add_refusals(total: Refused, more: Mapping[str, Mapping[str, int]]) -> Refused:
    """Adds refusals by tenant and reason to others, and returns those."""
    for tenant, reasons in more.items():
        total.setdefault(tenant, Counter()).update(reasons)
    return total


def words_of_refusals(tenants: Mapping[str, Mapping[str, int]]) -> str:
    """Refusals by tenant and reason for people, the tenants with the most first.

    >>> words_of_refusals({"a": {"too_old": 3}, "b": {"conflict": 1, "too_old": 9}})
    "tenant 'b': 1 conflict, 9 too_old; tenant 'a': 3 too_old"
    """
    totals = sorted(tenants.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    words = [
        f"tenant {tenant!r}: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(reasons.items()))
        for tenant, reasons in totals
    ]
    more = len(words) - _TENANTS_SHOWN
    return "; ".join(words[:_TENANTS_SHOWN]) + (f"; and {more} more tenants" if more > 0 else "")
