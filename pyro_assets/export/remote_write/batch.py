"""Jobs to requests: samples of one X-Scope-OrgID and one time, in time order, inside a receiver's limits.

`prepare` does everything before sending and is a pure function of the job, the receiver and the time of now; what
comes out of it is encoded batch by batch, so memory grows with a job and never with the series of an hour.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate, pairwise
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64, starts
from pyro_assets.export.remote_write.encode import Encoder, compress
from pyro_assets.export.remote_write.refusals import Refusal, Refusals
from pyro_assets.export.remote_write.validate import ActiveSeries, Validated, origins, refusal_of, validate
from pyro_assets.export.samples import U64, Samples, dress
from pyro_assets.receivers.model import Receiver, ReceiverLimits

#: Series encoded at once, about; batches are slices of such a piece.
_ENCODE_ROWS: Final = 8192
_ENCODE_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one time and one X-Scope-OrgID that are sent in one request.

    Attributes:
        org_id: the X-Scope-OrgID.
        timestamp_ms: of all its samples.
        message: the WriteRequest, not compressed.
    """

    org_id: str
    timestamp_ms: int
    message: memoryview
    _ends: tuple[int, ...]
    _samples: Samples
    _begin: int
    _series: Callable[[], U64]

    def __len__(self) -> int:
        return len(self._ends) - 1

    def body(self) -> bytes:
        """The body of the request."""
        return compress(self.message)

    def slice(self, begin: int, end: int) -> "Batch":
        """The samples [begin, end) as a batch of their own."""
        ends = self._ends[begin : end + 1]
        return Batch(
            self.org_id,
            self.timestamp_ms,
            self.message[ends[0] - self._ends[0] : ends[-1] - self._ends[0]],
            ends,
            self._samples,
            self._begin + begin,
            self._series,
        )

    def take(self, rows: I64) -> "Batch":
        """Some of its samples, in this order, as a batch of their own."""
        base, ends = self._ends[0], self._ends
        parts = [self.message[ends[row] - base : ends[row + 1] - base] for row in rows.tolist()]
        sizes = [0, *map(len, parts)]
        samples, series = self._samples.take(rows + self._begin), self.series().take(rows)
        message = memoryview(b"".join(parts))
        return Batch(self.org_id, self.timestamp_ms, message, tuple(accumulate(sizes)), samples, 0, lambda: series)

    def series(self) -> U64:
        """uint64[n], the hash of each sample's series in its X-Scope-OrgID."""
        return self._series()[self._begin : self._begin + len(self)]

    def halves(self) -> tuple["Batch", "Batch"]:
        """Two batches, the first not smaller; a batch of one sample has no halves."""
        middle = (len(self) + 1) // 2
        return self.slice(0, middle), self.slice(middle, len(self))

    def refusal(self, position: int, reason: str, detail: str = "") -> Refusal:
        """Describe one of its samples as refused."""
        return refusal_of(self._samples, self._begin + position, reason, detail)

    def origins(self) -> dict[tuple[str, str], int]:
        """(rule, tenant) -> samples of them."""
        return origins(self._samples, np.arange(self._begin, self._begin + len(self)))


@dataclass(slots=True)
class Prepared:
    """The samples of one job for one receiver, ready to be sent.

    Attributes:
        samples: to be sent, dressed and valid, in the order of sending.
        refusals: found before sending.
        derived: samples of the job that the receiver is to get, refused ones included.
        digest: hash of those `derived` samples, see `samples_digest`.
        rules: rule -> (samples, hash of them), of the same samples.
        limits: of the receiver.
    """

    samples: Samples
    refusals: Refusals
    derived: int
    digest: str
    limits: ReceiverLimits
    _receiver: Receiver
    rules: dict[str, tuple[int, str]] = field(default_factory=dict)
    _encoder: Encoder | None = None

    def batches(self) -> Iterator[Batch]:
        """The requests, in the order of sending; encoded when they are asked for."""
        return cut_batches(self.samples, self._receiver, self._encoder)


def prepare(
    samples: Samples, receiver: Receiver, now_ms: int, active: ActiveSeries | None = None, *, ageless: bool = False
) -> Prepared:
    """Choose, dress and check the samples of one job for one receiver.

    Args:
        samples: of one job and kind, as `samples.open_series` or `samples.read_samples` return them.
        receiver: who shall get them.
        now_ms: the time of now, Unix milliseconds.
        active: the receiver's series so far, when it has a limit of active series.
        ageless: for files: no rule that depends on now.
    """
    dressed = dress(samples, receiver)
    valid: Validated = validate(dressed, receiver, now_ms, active, ageless=ageless)
    digest = samples_digest(dressed, receiver)
    encoder = None
    if len(valid.samples):
        encoder = Encoder(valid.samples)
        size = encoder.size
        too_large = np.flatnonzero(size > receiver.limits.request_bytes)
        if len(too_large):
            for row in too_large.tolist():
                why = f"{size[row]} bytes, a request may have {receiver.limits.request_bytes}"
                valid.refusals.add(refusal_of(valid.samples, row, "series_too_large", why))
            fits = np.flatnonzero(size <= receiver.limits.request_bytes)
            valid, encoder = Validated(valid.samples.take(fits), valid.refusals), None
    rules = _rules_of(dressed, receiver, digest)
    return Prepared(valid.samples, valid.refusals, len(dressed), digest, receiver.limits, receiver, rules, encoder)


def rule_digests(samples: Samples, receiver: Receiver) -> dict[str, tuple[int, str]]:
    """Rule -> how many samples of it the receiver is to get, and their hash; what `Prepared.rules` is."""
    dressed = dress(samples, receiver)
    return _rules_of(dressed, receiver, samples_digest(dressed, receiver))


def _rules_of(dressed: Samples, receiver: Receiver, digest: str) -> dict[str, tuple[int, str]]:
    counts = np.bincount(dressed.rule, minlength=len(dressed.rules))
    present = np.flatnonzero(counts).tolist()
    if len(present) == 1:
        return {dressed.rules[present[0]]: (len(dressed), digest)}
    rows = {rule: np.flatnonzero(dressed.rule == rule) for rule in present}
    return {
        dressed.rules[rule]: (int(counts[rule]), samples_digest(dressed.take(rows[rule]), receiver)) for rule in present
    }


def samples_digest(samples: Samples, receiver: Receiver) -> str:
    """A hash of which samples a receiver is to get: equal digests, equal samples.

    It depends on X-Scope-OrgID, labels, times and values and neither on now, nor on the receiver's limits, nor on the
    order of the samples, so that a receipt can tell whether a job's samples changed after they were sent.
    """
    series = samples.series_hash([receiver.org_of(tenant) for tenant in samples.tenants])
    rows = np.stack([series, samples.timestamp_ms.view(np.uint64), samples.value.view(np.uint64)], axis=1)
    order = np.lexsort((rows[:, 2], rows[:, 1], rows[:, 0]))
    return hashlib.sha256(rows.take(order, axis=0).astype("<u8").tobytes()).hexdigest()


def cut_batches(samples: Samples, receiver: Receiver, encoder: Encoder | None = None) -> Iterator[Batch]:
    """Cut samples into requests of at most the receiver's series and bytes.

    Args:
        samples: valid, in the order of `samples.dress`: by X-Scope-OrgID, then time.
        receiver: whose limits count.
        encoder: of these samples, where there is one.

    Raises:
        ValueError: the samples are in another order.
    """
    if not len(samples):
        return
    limits = receiver.limits
    encoder = encoder or Encoder(samples)
    series = cache(lambda: samples.series_hash([receiver.org_of(tenant) for tenant in samples.tenants]))
    total = starts(encoder.size)
    orgs = [receiver.org_of(tenant) for tenant in samples.tenants]
    number = {org: position for position, org in enumerate(sorted(set(orgs)))}
    org = np.array([number[name] for name in orgs], dtype=np.int64).take(samples.tenant)
    is_start = (np.diff(org) != 0) | (np.diff(samples.timestamp_ms) != 0)
    if (np.diff(org) < 0).any() or ((np.diff(org) == 0) & (np.diff(samples.timestamp_ms) < 0)).any():
        raise ValueError("samples are not in the order of sending; dress them first")
    bounds = [0, *(np.flatnonzero(is_start) + 1).tolist(), len(samples)]
    rows_at_once = max(1, _ENCODE_ROWS // limits.request_series) * limits.request_series
    for begin, end in pairwise(bounds):
        name = receiver.org_of(samples.tenants[samples.tenant[begin]])
        while begin < end:
            fits = int(np.searchsorted(total, total[begin] + _ENCODE_BYTES, side="right")) - 1
            piece = min(end, begin + rows_at_once, max(fits, begin + 1))
            encoded = encoder.encode(begin, piece)
            for first, last in _cuts(begin, piece, total, limits):
                ends = encoded.offsets[first - begin : last - begin + 1]
                message = encoded.data[ends[0] : ends[-1]]
                time = int(samples.timestamp_ms[begin])
                yield Batch(name, time, message, tuple(ends.tolist()), samples, first, series)
            begin = piece


def _cuts(begin: int, end: int, total: np.ndarray, limits: ReceiverLimits) -> Iterable[tuple[int, int]]:
    while begin < end:
        fits = int(np.searchsorted(total, total[begin] + limits.request_bytes, side="right")) - 1
        cut = min(end, begin + limits.request_series, max(fits, begin + 1))
        yield begin, cut
        begin = cut
