"""Receipts as immutable objects in the archive: a ledger that was lost does not make anything be sent again.

One object per job, receiver and time of sending, written after the receiver's last answer and before the ledger. Add a
field when a receipt could not be told from it; no secret and no URL ever stands in one.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from pyro_assets.errors import ObjectConflict
from pyro_assets.ledger.receipt import DueExport, Receipt
from pyro_assets.pipeline.sealed_json import from_bytes, parsing, to_bytes
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import receipt_key, receipts_prefix

_FIELDS: Final = ("kind", "state", "samples", "accepted", "refused", "sample_hash")


@dataclass(slots=True)
class ReceiptFiles:
    """The receipts of one receiver in the archive; what was there at the first look is remembered."""

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
                rules={rule: (int(count), str(digest)) for rule, (count, digest) in kind.get("rules", {}).items()},
                reasons=dict(kind.get("reasons", {})),
                tenants=dict(kind.get("tenants", {})),
                examples=tuple(kind.get("examples", ())),
                changed=tuple(kind.get("changed", ())),
                cost=dict(kind.get("cost", {})),
                tenant=str(kind.get("tenant", "")),
                apart=tuple(kind.get("apart", ())),
            )
            for kind in plain["kinds"]
        ]
