"""Sending: batches to one receiver until each sample is accepted, refused for good, or the receiver is given up.

Retries with the same bytes, waits as the receiver asks and reports the result for every sample. Meaning of answers:
`transport`; what of a refused batch is bad: `isolate`; one attempt: `transport`. Receipts are the caller's.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pyro_assets.errors import ExportError, ReceiverMisconfigured, ReceiverUnavailable, SendingStopped
from pyro_assets.export.remote_write.batch import Batch
from pyro_assets.export.remote_write.encode import EMPTY_REQUEST, compress
from pyro_assets.export.remote_write.isolate import RefusedSeries, isolate
from pyro_assets.export.remote_write.refusals import Refusals
from pyro_assets.export.remote_write.transport import (
    TENANT_STATUSES,
    Clock,
    HttpAnswer,
    SystemClock,
    Transport,
    Verdict,
    advice,
    refusal_reason,
    retry_after_seconds,
    verdict,
)
from pyro_assets.receivers.model import HEAD_WINDOW_MS, Receiver

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: An internal error that comes so often while the receiver is well is about these samples: Prometheus before 2.50
#: answers 500 to samples that it will never take.
_PATIENCE_WITH_500: Final = 3
#: So many samples, each refused alone for the age of their common time, stand for all of a batch.
_WITNESSES: Final = 32
#: What a receiver's head takes out of order by itself, and some minutes: only what is older is too old in every series.
_SURELY_OLD_SECONDS: Final = HEAD_WINDOW_MS / 1000 + 300
#: Who does not wait for one tenant asks for another one at this attempt: the trouble may have passed by then.
_ASKED_AT_ATTEMPT: Final = 2


@dataclass(slots=True)
class SendReport:
    """The result of sending samples to one receiver.

    Attributes:
        accepted: samples that it has taken (or had already).
        refused: samples that it will not take, by reason and rule, with first examples.
        unsent: samples of the batch at which sending stopped, of which some may have arrived.
        bytes: of all bodies sent, compressed, those of retries included.
        requests: all attempts.
        retries: attempts beyond the first of a request.
        seconds: spent, waiting included.
        answer_seconds: spent waiting for answers.
        error: why sending stopped; None when everything asked for was done.
    """

    accepted: int = 0
    refused: Refusals = field(default_factory=Refusals)
    unsent: int = 0
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    answer_seconds: float = 0.0
    error: ExportError | None = None

    def merge(self, other: "SendReport") -> None:
        """Adds another report; the first error stays."""
        for name in ("accepted", "unsent", "bytes", "requests", "retries", "seconds", "answer_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.refused.merge(other.refused)
        self.error = self.error or other.error


class Client:
    """Sends batches to one receiver; for one thread at a time. Close it, or use it in `with`.

    Args:
        receiver: to whom.
        environ: where secrets that are environment variables are looked up.
        clock: tells the time and waits.
        jitter: random numbers in [0, 1) for pauses.
        keep_going: asked before every attempt and pause; False ends sending with ReceiverUnavailable.
        refused: series that the receiver refused before; the next client goes on with them.
        waits: False: what concerns one tenant alone is no reason to wait, and ends sending at once, see `send`.
        tenant: named by all messages where it is the only one that is sent to.
    """

    def __init__(
        self,
        receiver: Receiver,
        environ: Mapping[str, str],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        keep_going: Callable[[], bool] = lambda: True,
        refused: RefusedSeries | None = None,
        waits: bool = True,
        tenant: str = "",
    ) -> None:
        self.receiver = receiver
        self._clock: Clock = clock or SystemClock()
        self._transport = Transport(receiver, environ, self._clock)
        self._jitter = jitter
        self._keep_going = keep_going
        self.refused = refused if refused is not None else RefusedSeries()
        self._waits, self._tenant = waits, tenant
        self._may_send_at = 0.0
        self._others: frozenset[str] = frozenset()
        self.settled = 0  # requests that were taken or refused

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def send(self, batches: Iterable[Batch], others: Iterable[str] = ()) -> SendReport:
        """Send batches in their order, each to its end before the next.

        It stops at the first batch that the receiver neither takes nor refuses for good; `error` of the report is set
        then, and nothing of later batches was sent. Sending the same batches again is the way on.

        Args:
            batches: to send.
            others: tenants (as X-Scope-OrgID) to ask where it could be one tenant's trouble; an error that is one
                names that tenant.
        """
        self._others = frozenset(others)
        report, begin = SendReport(), self._clock.monotonic()
        try:
            for batch in batches:
                done = report.accepted + report.refused.total
                try:
                    self._send_batch(batch, report)
                except ExportError:
                    report.unsent = len(batch) - (report.accepted + report.refused.total - done)
                    raise
        except ExportError as error:
            report.error = error
        report.seconds = self._clock.monotonic() - begin
        return report

    def _send_batch(self, batch: Batch, report: SendReport) -> None:
        suspects = self.refused.among(batch)
        if suspects is None:
            self._send_part(batch, report)
            return
        # What was refused before must not hold up the others again.
        for rows, is_suspect in ((np.flatnonzero(~suspects), False), (np.flatnonzero(suspects), True)):
            if len(rows):
                self._send_part(batch.take(rows), report, is_suspect=is_suspect)

    def _send_part(self, batch: Batch, report: SendReport, *, is_suspect: bool = False) -> None:
        answer, what = self._deliver(batch, report)
        if what is Verdict.ACCEPTED:
            report.accepted += len(batch)
            if is_suspect:
                self.refused.note(batch, refused=False)
        elif what is Verdict.TOO_LARGE and len(batch) > 1:
            for half in batch.halves():
                self._send_part(half, report, is_suspect=is_suspect)
        else:
            self._isolate(batch, answer, report, is_suspect=is_suspect)

    def _isolate(self, batch: Batch, answer: HttpAnswer, report: SendReport, *, is_suspect: bool) -> None:
        def ask(part: Batch) -> HttpAnswer | None:
            no, what = self._deliver(part, report, known=answer)
            return None if what is Verdict.ACCEPTED else no

        def is_for_all(whole: Batch, no: HttpAnswer) -> bool:
            return self._is_too_old(whole, no, ask)

        for part, no in isolate(batch, answer, ask, is_for_all, is_suspect=is_suspect):
            if no is None:
                report.accepted += len(part)
            else:
                _refuse(part, no, report)
            # What was refused together was refused for its time, which says nothing of its series.
            if no is None or len(part) == 1:
                self.refused.note(part, refused=no is not None)

    def _is_too_old(self, batch: Batch, no: HttpAnswer, ask: Callable[[Batch], HttpAnswer | None]) -> bool:
        """Whether the time of a batch is too old for the receiver, and so all of its samples are.

        A block that is too old would cost a request for each of its samples otherwise. `out of bounds` is said of
        times by every TSDB; `too old` may be said of single series where the window is short, unless the time is
        older than what the head takes anyway.
        """

        def is_of_time(answer: HttpAnswer) -> bool:
            return refusal_reason(answer.text) == "too_old" and ("out of bounds" in answer.text or is_old)

        is_old = self._clock.time() - batch.timestamp_ms / 1000 > _SURELY_OLD_SECONDS
        if len(batch) <= _WITNESSES or not is_of_time(no):
            return False
        # From all over the batch, and the same in every attempt.
        places = np.random.default_rng(len(batch)).choice(len(batch) - 1, _WITNESSES - 1, replace=False) + 1
        answers = (ask(batch.slice(place, place + 1)) for place in sorted(places.tolist()))
        return all(other is not None and is_of_time(other) for other in answers)

    def _deliver(self, batch: Batch, report: SendReport, known: HttpAnswer | None = None) -> tuple[HttpAnswer, Verdict]:
        """Send one batch until the receiver says yes or no to it.

        Args:
            batch: of these samples.
            report: counts attempts.
            known: that the receiver has refused more of them with this answer.

        Raises:
            ReceiverMisconfigured, ReceiverUnavailable.
        """
        body = batch.body()
        give_up_at = self._clock.monotonic() + self.receiver.retry_for_ms / 1000
        attempt, internal_errors = 0, 0
        while True:
            answer = self._attempt(body, batch, attempt, report)
            what = verdict(answer)
            if what is Verdict.MISCONFIGURED:
                raise self._misconfigured(answer, self._concerned(answer, batch.org_id, report))
            if known is not None and _is_same_refusal(answer, known):
                what = Verdict.REFUSED
            if what is not Verdict.RETRY:
                self.settled += 1
                return answer, what
            if not self._waits and (answer.status in TENANT_STATUSES or attempt == _ASKED_AT_ATTEMPT):
                tenant = self._concerned(answer, batch.org_id, report)
                if tenant:
                    raise self._unavailable(str(answer), tenant)
            internal_errors += answer.status == 500
            if internal_errors >= _PATIENCE_WITH_500 and answer.status == 500 and self._is_well(batch.org_id, report):
                return answer, Verdict.REFUSED
            self._pause(answer, attempt, give_up_at, batch.org_id, report)
            attempt += 1

    def _attempt(self, body: bytes, batch: Batch, attempt: int, report: SendReport) -> HttpAnswer:
        if not self._keep_going():
            why = f"{self._place('')}: sending was asked to stop; what is not sent yet stays pending"
            raise SendingStopped(why, receiver=self.receiver.name)
        rate = self.receiver.limits.samples_per_second
        if rate is not None:
            now = self._clock.monotonic()
            if self._may_send_at > now:
                self._clock.sleep(self._may_send_at - now)
            self._may_send_at = max(self._may_send_at, now) + len(batch) / rate
        report.requests += 1
        report.retries += attempt > 0
        report.bytes += len(body)
        answer = self._transport.write(body, batch.org_id, attempt)
        report.answer_seconds += answer.seconds
        return answer

    def _pause(self, answer: HttpAnswer, attempt: int, give_up_at: float, org_id: str, report: SendReport) -> None:
        asked = retry_after_seconds(answer.retry_after, self._clock.time())
        backoff = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 16))
        seconds = backoff * (0.5 + self._jitter() / 2) if asked is None else asked
        if self._clock.monotonic() + seconds > give_up_at:
            wish = f" and asks to wait {asked:.0f} s" if asked else ""
            raise self._unavailable(f"{answer}{wish}", self._concerned(answer, org_id, report))
        goes_on = self._keep_going()
        if goes_on:
            self._clock.sleep(seconds)
            goes_on = self._keep_going()
        if not goes_on:
            tenant = org_id if answer.status in TENANT_STATUSES else ""
            raise self._unavailable(f"{answer}; sending was asked to stop", tenant)

    def _concerned(self, answer: HttpAnswer, org_id: str, report: SendReport) -> str:
        """The tenant where an answer concerns it alone, "" where it concerns the receiver as a whole."""
        if answer.status in TENANT_STATUSES:
            return org_id
        others = sorted(self._others - {org_id})
        return org_id if others and self._is_well(others[0], report) else ""

    def _is_well(self, org_id: str, report: SendReport) -> bool:
        """Whether a request without samples is accepted right now: then an internal error is about the samples."""
        report.requests += 1
        return verdict(self._transport.write(compress(EMPTY_REQUEST), org_id)) is Verdict.ACCEPTED

    def _misconfigured(self, answer: HttpAnswer, tenant: str) -> ReceiverMisconfigured:
        hint = advice(answer, has_credentials=bool(self.receiver.secret_refs))
        return ReceiverMisconfigured(
            f"{self._place(tenant)}: {hint} ({answer})", receiver=self.receiver.name, tenant=tenant
        )

    def _unavailable(self, why: str, tenant: str = "") -> ReceiverUnavailable:
        return ReceiverUnavailable(
            f"{self._place(tenant)}: {why}; what is not sent yet stays pending",
            receiver=self.receiver.name,
            tenant=tenant,
        )

    def _place(self, tenant: str) -> str:
        tenant = tenant or self._tenant
        of_tenant = f", tenant {tenant!r}" if tenant else ""
        return f"receiver {self.receiver.name} ({self.receiver.shown_url}){of_tenant}"


def _is_same_refusal(answer: HttpAnswer, known: HttpAnswer) -> bool:
    """Whether an internal error repeats one that was found to be about samples, with a reason that says so."""
    reason = refusal_reason(answer.text)
    return answer.status == known.status == 500 and reason == refusal_reason(known.text) != "rejected"


def _refuse(batch: Batch, answer: HttpAnswer, report: SendReport) -> None:
    reason = "series_too_large" if verdict(answer) is Verdict.TOO_LARGE else refusal_reason(answer.text)
    for (rule, tenant), count in batch.origins().items():
        report.refused.count(reason, rule, tenant, count)
    for position in range(len(batch)):
        if not report.refused.wants_example(reason):
            break
        report.refused.examples.append(batch.refusal(position, reason, str(answer)))
