"""Sending: batches to one receiver until each sample is accepted, refused for good, or the receiver is given up.

Retries with the same bytes, waits as the receiver asks, halves what it refuses and tells what became of every sample.
Meaning of answers: `answers`; one attempt: `transport`. Receipts are the caller's.
"""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import ExportError, ReceiverMisconfigured, ReceiverUnavailable
from pyro_assets.export.answers import Answer, Verdict, advice, refusal_reason, retry_after_seconds, verdict
from pyro_assets.export.batch import Batch
from pyro_assets.export.encode import EMPTY_REQUEST, compress
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.refusals import Refusals
from pyro_assets.export.transport import Clock, SystemClock, Transport

_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 30.0
#: An internal error that comes so often while the receiver is well is about these samples: Prometheus before 2.50
#: answers 500 to samples that it will never take.
_PATIENCE_WITH_500: Final = 3
#: Extra requests that one batch may cost; one bad sample among 2000 needs 23, ten need 151.
_BISECTION_REQUESTS: Final = 200
#: Samples that stand for a batch when both of its halves are refused.
_WITNESSES: Final = 5


@dataclass(slots=True)
class SendReport:
    """What became of samples at one receiver.

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
        """Add what another tells; the first error stays."""
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
    """

    def __init__(
        self,
        receiver: Receiver,
        environ: Mapping[str, str],
        *,
        clock: Clock | None = None,
        jitter: Callable[[], float] = random.random,
        keep_going: Callable[[], bool] = lambda: True,
    ) -> None:
        self.receiver = receiver
        self._clock: Clock = clock or SystemClock()
        self._transport = Transport(receiver, environ, self._clock)
        self._jitter = jitter
        self._keep_going = keep_going
        self._may_send_at = 0.0

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._transport.close()

    def send(self, batches: Iterable[Batch]) -> SendReport:
        """Send batches in their order, each to its end before the next.

        It stops at the first batch that the receiver neither takes nor refuses for good; `error` of the report is set
        then, and nothing of later batches was sent. Sending the same batches again is the way on.
        """
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
        answer, what = self._deliver(batch, report)
        if what is Verdict.ACCEPTED:
            report.accepted += len(batch)
        elif what is Verdict.TOO_LARGE:
            self._split(batch, answer, report)
        else:
            _Bisection(self, report).isolate(batch, answer)

    def _split(self, batch: Batch, answer: Answer, report: SendReport) -> None:
        if len(batch) == 1:
            report.refused.add(batch.refusal(0, "series_too_large", str(answer)))
            return
        for half in batch.halves():
            self._send_batch(half, report)

    def _deliver(self, batch: Batch, report: SendReport) -> tuple[Answer, Verdict]:
        """Send one batch until the receiver says yes or no to it.

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
                raise self._misconfigured(answer)
            if what is not Verdict.RETRY:
                return answer, what
            internal_errors += answer.status == 500
            if internal_errors >= _PATIENCE_WITH_500 and answer.status == 500 and self._is_well(batch.org_id, report):
                return answer, Verdict.REFUSED
            self._pause(answer, attempt, give_up_at)
            attempt += 1

    def _attempt(self, body: bytes, batch: Batch, attempt: int, report: SendReport) -> Answer:
        if not self._keep_going():
            raise self._unavailable("sending was asked to stop")
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

    def _pause(self, answer: Answer, attempt: int, give_up_at: float) -> None:
        asked = retry_after_seconds(answer.retry_after, self._clock.time())
        backoff = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2 ** min(attempt, 16))
        seconds = backoff * (0.5 + self._jitter() / 2) if asked is None else asked
        if self._clock.monotonic() + seconds > give_up_at:
            wish = f" and asks to wait {asked:.0f} s" if asked else ""
            raise self._unavailable(f"{answer}{wish}")
        if not self._keep_going():
            raise self._unavailable(f"{answer}; sending was asked to stop")
        self._clock.sleep(seconds)

    def _is_well(self, org_id: str, report: SendReport) -> bool:
        """Whether a request without samples is accepted right now: then an internal error is about the samples."""
        report.requests += 1
        return verdict(self._transport.write(compress(EMPTY_REQUEST), org_id)) is Verdict.ACCEPTED

    def _misconfigured(self, answer: Answer) -> ReceiverMisconfigured:
        name, url = self.receiver.name, self.receiver.shown_url
        hint = advice(answer, has_credentials=bool(self.receiver.secret_refs))
        return ReceiverMisconfigured(f"receiver {name} ({url}): {hint} ({answer})", receiver=name)

    def _unavailable(self, why: str) -> ReceiverUnavailable:
        name, url = self.receiver.name, self.receiver.shown_url
        return ReceiverUnavailable(f"receiver {name} ({url}): {why}; what is not sent yet stays pending", receiver=name)


def _reason(answer: Answer) -> str:
    return "series_too_large" if verdict(answer) is Verdict.TOO_LARGE else refusal_reason(answer.text)


class _Bisection:
    """Finds the samples that a receiver refuses among those of one batch, which all have the same time."""

    def __init__(self, client: Client, report: SendReport) -> None:
        self._client = client
        self._report = report
        self._left = _BISECTION_REQUESTS

    def isolate(self, batch: Batch, answer: Answer) -> None:
        """`batch` was refused with `answer`: send what can be sent of it, and count the rest as refused."""
        if len(batch) == 1:
            self._refuse(batch, _reason(answer), answer)
            return
        waiting = [(batch, answer)]
        is_first = True
        while waiting:
            whole, whole_answer = waiting.pop()
            halves = whole.halves()
            if self._left < len(halves):
                self._refuse(whole, "not_isolated", whole_answer)
                continue
            refused = [(half, no) for half in halves if (no := self._try(half)) is not None]
            if is_first and len(refused) == len(halves) and self._all_alike(whole, refused):
                self._refuse(whole, refusal_reason(whole_answer.text), whole_answer)
                return
            is_first = False
            for half, no in reversed(refused):
                if len(half) == 1:
                    self._refuse(half, _reason(no), no)
                else:
                    waiting.append((half, no))

    def _all_alike(self, batch: Batch, refused: list[tuple[Batch, Answer]]) -> bool:
        """Whether a few samples from all over the batch are each refused for the same reason: then all are.

        A block that is too old is refused as a whole, and 4,000 requests would only confirm it.
        """
        reasons = {refusal_reason(no.text) for _, no in refused}
        if len(reasons) != 1:
            return False
        last = len(batch) - 1
        for position in sorted({last * step // (_WITNESSES - 1) for step in range(_WITNESSES)}):
            if self._left < 1:
                return True
            no = self._try(batch.slice(position, position + 1), counts=False)
            if no is None or refusal_reason(no.text) not in reasons:
                return False
        return True

    def _try(self, batch: Batch, *, counts: bool = True) -> Answer | None:
        """Send a part; None when it is accepted, the answer when it is refused."""
        self._left -= 1
        answer, what = self._client._deliver(batch, self._report)
        if what is Verdict.ACCEPTED:
            if counts:
                self._report.accepted += len(batch)
            return None
        return answer

    def _refuse(self, batch: Batch, reason: str, answer: Answer) -> None:
        refused = self._report.refused
        for rule, count in batch.rules().items():
            refused.counts[reason, rule] += count
        for position in range(len(batch)):
            if not refused.wants_example(reason):
                break
            refused.examples.append(batch.refusal(position, reason, str(answer)))
