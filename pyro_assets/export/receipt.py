"""Receipts and the values around them: plain values that leave the ledger.

Here, too:
* receipts as immutable objects in the archive: a ledger that was lost does not make anything be sent again.

Add a field when it is stored and needed outside, with its place in `receipts`; rows of the database stay there.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, Literal

from pyro_assets.errors import ObjectConflict
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import receipt_key, receipts_prefix
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes

#: sending: a run began and did not say how it ended; sent: everything was accepted; refused: some samples were refused
#: for good; too_old: all of them, for their age; changed: the job's samples are others than those that were sent, and
#: the receiver keeps what it has; owed: of one tenant, whose samples wait while others' were sent.
ReceiptState = Literal["sending", "sent", "refused", "too_old", "changed", "owed"]
MAX_EXAMPLES: Final = 10
_TENANTS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class Receipt:
    """The receipt of one receiver for one kind of series of one job.

    Attributes:
        job_id, kind, receiver: whose receipt it is.
        tenant: of whose samples only, as the receiver knows it (X-Scope-OrgID); "": of all but those in `apart`.
        apart: tenants that have receipts of their own.
        state: see `ReceiptState`.
        samples: that were due to the receiver; accepted, refused: of these.
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
        """The fields without a column of their own, as JSON; see `fields_of_detail`."""
        detail = {name: getattr(self, name) for name in _DETAIL} | {"examples": self.examples[:MAX_EXAMPLES]}
        return json.dumps({name: value for name, value in detail.items() if value}, sort_keys=True)


#: Fields of a receipt without a column of their own.
_DETAIL: Final = (
    *("rules", "reasons", "tenants", "examples", "changed", "cost", "owner", "opened_ms", "tenant", "apart"),
)


def fields_of_detail(detail: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that `Receipt.detail` wrote, as the receipt has them; those that are missing are empty."""
    return {name: detail[name] for name in _DETAIL if name in detail} | {
        "rules": {rule: (int(count), str(digest)) for rule, (count, digest) in detail.get("rules", {}).items()},
        **{name: tuple(detail.get(name, ())) for name in ("examples", "changed", "apart")},
    }


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
    files: tuple[SeriesFile, ...]
    receipts: dict[str, Receipt]
    tenant: str = ""


@dataclass(slots=True)
class ReceiverHour:
    """Sums over the receipts of one receiver for an hour.

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


_FIELDS: Final = ("kind", "state", "samples", "accepted", "refused", "sample_hash")


@dataclass(slots=True)
class ReceiptFiles:
    """The receipts of one receiver in the archive; the first listing of an hour and shard is remembered."""

    archive: Bucket
    receiver: str
    _known: dict[tuple[str, int], dict[str, list[str]]] = field(default_factory=dict)

    def write(self, due: DueExport, written: Sequence[Receipt], now_ms: int) -> None:
        """Writes the receipts of a job.

        Raises:
            StorageError: the archive does not take it.
        """
        data = _to_bytes(due, self.receiver, written, now_ms)
        is_there = False
        while not is_there:
            try:
                self.archive.create(receipt_key(self.receiver, due.hour, due.shard, due.job_id, now_ms), data)
                is_there = True
            except ObjectConflict:
                now_ms += 1

    def read(self, due: DueExport, *, anew: bool = False) -> dict[str, Receipt]:
        """Kind -> what the archive says that the receiver has of a job, of the tenant for which it is due.

        Args:
            due: the job.
            anew: look again; needed where another process may have written since.

        Raises:
            StorageError: the archive does not answer, or a receipt does not parse.
        """
        place = (due.hour, due.shard)
        prefix = receipts_prefix(self.receiver, *place)
        if anew:
            keys = [item.key for item in self.archive.list_after(prefix, f"{prefix}{due.job_id}-", 100)]
            keys = [key for key in keys if key.startswith(f"{prefix}{due.job_id}-")]
        else:
            if place not in self._known:
                self._known[place] = self._list(prefix)
            keys = self._known[place].get(due.job_id, [])
        found: dict[str, Receipt] = {}
        for key in sorted(keys):  # by time: the later one knows all rules of the earlier
            for receipt in parse_receipts(self.archive.read(key), key, due.job_id, self.receiver):
                if receipt.tenant == due.tenant:
                    found[receipt.kind] = receipt
        return found

    def _list(self, prefix: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for item in chain.from_iterable(self.archive.pages(prefix)):
            found.setdefault(item.key.removeprefix(prefix).rpartition("-")[0], []).append(item.key)
        return found


def _to_bytes(due: DueExport, receiver: str, written: Sequence[Receipt], now_ms: int) -> bytes:
    plain = {
        "receiver": receiver,
        "job": due.job_id,
        "hour": due.hour,
        "shard": due.shard,
        "timestamp_ms": due.timestamp_ms,
        "closed_ms": now_ms,
        "kinds": [
            {name: getattr(receipt, name) for name in _FIELDS} | json.loads(receipt.detail()) for receipt in written
        ],
    }
    return to_bytes(plain)


def parse_receipts(data: bytes, key: str, job_id: str, receiver: str) -> list[Receipt]:
    """The receipts of an object, by kind.

    Raises:
        BadRecord: it does not parse, is damaged, or a newer program wrote it.
    """
    plain = from_bytes(data, key, "a receipt")
    with parsing(key, "a receipt"):
        blank = Receipt(job_id, "", receiver, "sent", first_ms=int(plain["closed_ms"]), last_ms=int(plain["closed_ms"]))
        return [
            replace(
                blank,
                **{name: kind[name] for name in _FIELDS},
                **fields_of_detail(kind),
            )
            for kind in plain["kinds"]
        ]
