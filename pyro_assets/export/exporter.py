"""Exports of hours: one thread per receiver, so that one that is down does not hold up the others.

A thread takes what its receiver lacks in the order of time, until nothing is left, the time is over, or the receiver is
given up. A tenant that the receiver does not take samples of (it is over a limit, or not allowed) gets a thread of its
own for what it is owed, until it is even with the others. What becomes of one job is `sending`'s; which jobs are
sent and when is decided here.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Final

from pyro_assets.errors import (
    BadRecord,
    ExportError,
    LedgerError,
    ObjectMissing,
    PyroAssetsError,
    SendingStopped,
    SeriesError,
)
from pyro_assets.export.receipt import DueExport, ReceiptFiles, add_refusals, words_of_refusals
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.remote_write.client import Client, SendReport
from pyro_assets.export.remote_write.isolate import RefusedSeries
from pyro_assets.export.remote_write.transport import SystemClock
from pyro_assets.export.remote_write.validate import MAX_AHEAD_MS, ActiveSeries
from pyro_assets.export.send import Sender
from pyro_assets.export.states import ActiveSeriesRecords, ReceiverRecords, ReceiverState, start_ms_of
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Lane
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.interface import Bucket

#: An unfinished job holds its shard's later ones back so long where the receiver has no out-of-order window.
HOLD_MS: Final = 30_000
#: A receiver that was given up is tried again by a live run after this time.
_AGAIN_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.3
_JOBS_AT_ONCE: Final = 100
#: What a run waits for receivers once its jobs are derived: in all, and without an answer that settles something.
END_SECONDS: Final = 120.0
IDLE_SECONDS: Final = 60.0
#: Tenants of a receiver that are sent to on their own at a time; others wait for their turn.
_APART_AT_ONCE: Final = 8


@dataclass(slots=True)
class ExportCounts:
    """Counts of an export to one receiver.

    Attributes:
        jobs: that have a closed receipt now; changed: of these, with samples that differ from those sent before.
        samples: accepted; refused: not taken for good, by reason; tenants: the same by tenant and reason.
        bytes, requests, retries, seconds: what it cost.
        paused: it is paused, nothing was sent.
        left: jobs that there was no time for: the next run's.
        ahead: jobs (of those looked at) that wait because they lie in the future.
        held: tenant -> why the receiver did not get what it owes that tenant alone; part of `error`.
        error: why it stopped early, without secrets; "" where it did not.
        fatal: the error is the ledger's or the archive's, not the receiver's.
    """

    jobs: int = 0
    changed: int = 0
    samples: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tenants: dict[str, Counter[str]] = field(default_factory=dict)
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    paused: bool = False
    left: int = 0
    ahead: int = 0
    held: dict[str, str] = field(default_factory=dict)
    error: str = ""
    fatal: bool = False

    def add(self, report: SendReport) -> None:
        """Adds the result of sending some samples; errors and jobs are the caller's."""
        for name in ("bytes", "requests", "retries", "seconds"):
            setattr(self, name, getattr(self, name) + getattr(report, name))
        self.samples += report.accepted
        self.refused.update(report.refused.by_reason)
        add_refusals(self.tenants, report.refused.by_tenant)

    @property
    def is_whole(self) -> bool:
        """Whether the receiver got everything, unchanged."""
        return not (self.error or self.refused or self.changed or self.left)

    @property
    def summary(self) -> str:
        """One sentence for people.

        >>> ExportCounts().summary, ExportCounts(jobs=2, samples=30).summary
        ('nothing to send', '30 samples of 2 jobs accepted')
        """
        parts = [f"{self.samples} samples of {self.jobs} jobs accepted"] if self.jobs or self.samples else []
        parts += [f"{self.refused.total()} refused ({words_of_refusals(self.tenants)})"] if self.refused else []
        parts += [f"{self.changed} jobs changed after they were sent"] if self.changed else []
        parts += ["paused"] if self.paused else []
        parts += [f"{self.left} jobs are left for the next run"] if self.left else []
        parts += [f"{self.ahead} jobs lie in the future and wait for their time"] if self.ahead else []
        parts += [self.error] if self.error else []
        return "; ".join(parts) or "nothing to send"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the summary among them."""
        # `asdict` would make counters of pairs of counters.
        plain = asdict(replace(self, refused=Counter(), tenants={}))
        tenants = {tenant: dict(sorted(reasons.items())) for tenant, reasons in sorted(self.tenants.items())}
        return plain | {"refused": dict(sorted(self.refused.items())), "tenants": tenants, "summary": self.summary}


@dataclass(slots=True)
class _Apart:
    """Tenants of a receiver that are left out of the common requests, and the threads that send to some of them."""

    held: set[str] = field(default_factory=set)
    threads: dict[str, threading.Thread] = field(default_factory=dict)


class Exporter:
    """Sends what receivers lack of some hours, in the background; `finish` or `stop` it.

    Args:
        archive: where series and receipts lie.
        ledger: knows jobs and receipts.
        receivers: to whom; each is sent to by a thread of its own.
        secrets: where references to environment variables are looked up.
        hours: the partition keys that may be touched.
        explicit: a person asked for these hours, so a receiver's start does not matter.
        everyone: all receivers, where `receivers` are only some of them.
        lane: the share of the shards that is sent; all by default. Shards of another lane are another run's.
        stay: keep looking for more until `finish`; otherwise a thread ends when nothing is left.
        clock: Unix milliseconds.
    """

    def __init__(
        self,
        archive: Bucket,
        ledger: Ledger,
        receivers: Sequence[Receiver],
        secrets: Mapping[str, str],
        hours: Sequence[str],
        *,
        explicit: bool,
        stay: bool,
        everyone: Sequence[Receiver] = (),
        lane: Lane | None = None,
        clock: Callable[[], int],
        deadline_monotonic: float | None = None,
    ) -> None:
        self._archive, self._ledger, self._clock = archive, ledger, clock
        self._hours, self._lane = sorted(set(hours)), lane
        self._secrets = secrets
        self._stay, self._explicit = stay, explicit
        self._deadline = deadline_monotonic
        self._stopped, self._draining = threading.Event(), threading.Event()
        now_ms = clock()
        self._asked_ms = now_ms if explicit else None
        # Looked up for all receivers: it also notes those that are seen for the first time.
        starts = {receiver.name: start_ms_of(ledger, receiver, now_ms) for receiver in receivers}
        self._since = dict.fromkeys(starts, 0) if explicit else starts
        # Who is not sent to now still counts when it comes to whether a job is exported.
        self._starts = {one.name: start_ms_of(ledger, one, now_ms) for one in everyone} | self._since
        self.counts = {receiver.name: ExportCounts() for receiver in receivers}
        self._refused = {
            one.name: RefusedSeries(ActiveSeriesRecords(ledger).refused_series(one.name, now_ms)) for one in receivers
        }
        self._unfinished = False
        self._lock = threading.Lock()
        self._done: dict[str, set[str]] = {receiver.name: set() for receiver in receivers}
        self._clients: list[Client] = []
        self._apart: dict[str, _Apart] = {receiver.name: _Apart() for receiver in receivers}
        self._threads = {receiver.name: self._thread(receiver) for receiver in receivers}

    def _thread(self, receiver: Receiver, tenant: str = "") -> threading.Thread:
        name = f"export-{receiver.name}" + (f"-{tenant}" if tenant else "")
        return threading.Thread(target=self._work, args=(receiver, tenant), name=name, daemon=True)

    def start(self) -> "Exporter":
        """Starts the threads."""
        for thread in self._threads.values():
            thread.start()
        return self

    def finish(self, seconds: float | None = None, idle_seconds: float | None = None) -> dict[str, ExportCounts]:
        """Let every thread send what is due now, and end; what is left then is the next run's, and said.

        Args:
            seconds: for so long at most.
            idle_seconds: at most so long without an answer that settles something (which took or refused samples).
        """
        self._draining.set()
        begun = since = time.monotonic()
        settled = self._settled()
        while alive := [thread for thread in self._threads.values() if thread.is_alive()]:
            now = time.monotonic()
            if (count := self._settled()) != settled:
                settled, since = count, now
            over = (seconds is not None and now - begun >= seconds) or (
                idle_seconds is not None and now - since >= idle_seconds
            )
            if over:
                self._unfinished = True
                break
            alive[0].join(_POLL_SECONDS)
        return self.stop()

    def stop(self) -> dict[str, ExportCounts]:
        """End soon; a request that is on its way is waited for a little, then left to itself: its receipt is open."""
        self._draining.set()
        self._stopped.set()
        for thread in [
            *self._threads.values(),
            *(one for apart in self._apart.values() for one in list(apart.threads.values())),
        ]:
            thread.join(5.0)
        for name, counts in self.counts.items():
            if self._unfinished and not counts.paused:
                counts.left = self._count_left(name)
            # Each of these errors names its tenant.
            counts.error = "; ".join([*([counts.error] if counts.error else []), *counts.held.values()])
        self._unfinished = False
        return self.counts

    def _work(self, receiver: Receiver, tenant: str) -> None:
        counts = self.counts[receiver.name]
        while self._goes_on():
            self._say(receiver.name, tenant, "")
            try:
                self._serve(receiver, tenant)
            except PyroAssetsError as error:
                # The ledger or the archive: what is not recorded is sent again, by the next run.
                counts.error, counts.fatal = str(error), True
            except Exception as error:  # noqa: BLE001 - a thread's failure must be seen by the run
                counts.error, counts.fatal = f"{type(error).__name__}: {error}", True
            is_well = not (counts.held.get(tenant) if tenant else counts.error)
            if is_well or counts.fatal or not self._stay or self._draining.is_set():
                return
            # A run that is about to end has one more try, at once.
            self._draining.wait(_AGAIN_SECONDS)

    def _serve(self, receiver: Receiver, tenant: str) -> None:
        """Send until nothing is left (`stay`: until the end), or the receiver is given up; it is said then.

        What is owed to one tenant is sent until it is even with the others.
        """
        limit, apart, counts = receiver.limits.active_series, self._apart[receiver.name], self.counts[receiver.name]
        client = Client(
            receiver,
            self._secrets,
            clock=_Clock(self._stopped),
            keep_going=self._goes_on,
            refused=self._refused[receiver.name],
            waits=bool(tenant),
            tenant=tenant,
        )
        with client:
            self._clients.append(client)
            sender = Sender(
                self._archive,
                self._ledger,
                receiver,
                client,
                ReceiptFiles(self._archive, receiver.name),
                ActiveSeries(limit, partial(ActiveSeriesRecords(self._ledger).active_series, receiver.name))
                if limit
                else None,
                self._wanted_by,
                self._clock,
                self._asked_ms,
                is_held=lambda org: org in apart.held,
                hold=partial(self._hold, receiver.name),
            )
            noted = False
            damaged: set[str] = set()
            while self._goes_on():
                is_last = self._draining.is_set() or not self._stay
                state = ReceiverRecords(self._ledger).receiver_state(receiver.name)
                paused = state.paused_ms is not None or tenant in state.paused_tenants
                has_apart = not tenant and not paused and self._start_apart(receiver, state)
                due = [] if paused else [job for job in self._due(receiver, tenant) if job.job_id not in damaged]
                if tenant and not due:
                    return
                counts.paused = state.paused_ms is not None
                was_sent = False
                for job in self._not_held(receiver, due):
                    if not self._goes_on():
                        return
                    try:
                        sent = self._send(sender, job)
                    except (SeriesError, ObjectMissing, BadRecord) as error:
                        # One damaged file of series or receipt must not hold up the jobs behind it.
                        damaged.add(job.job_id)
                        self._note(receiver.name, tenant, f"job {job.job_id} cannot be sent: {error}")
                        continue
                    if sent is None:
                        return
                    was_sent = was_sent or sent
                    if not noted:
                        ReceiverRecords(self._ledger).note_receiver(receiver.name, self._clock(), tenant=tenant)
                        noted = True
                if was_sent:
                    continue
                # Jobs that are held back become ready within half a minute: a run that ends leaves them to the next.
                if is_last and (not due or not self._explicit) and not has_apart:
                    return
                self._stopped.wait(_POLL_SECONDS)

    def _start_apart(self, receiver: Receiver, state: ReceiverState) -> bool:
        """Starts threads for tenants that are owed samples; returns whether any of them runs."""
        apart, held = self._apart[receiver.name], self.counts[receiver.name].held
        owed = ReceiptRecords(self._ledger).owed_tenants(receiver.name, self._hours, self._lane)
        apart.threads = {tenant: thread for tenant, thread in apart.threads.items() if thread.is_alive()}
        # Nobody's later samples overtake what is owed to it.
        apart.held = {*state.tenants, *owed, *apart.threads}
        for tenant in owed:
            is_new = tenant not in apart.threads and tenant not in held and tenant not in state.paused_tenants
            if is_new and len(apart.threads) < _APART_AT_ONCE:
                apart.threads[tenant] = self._thread(receiver, tenant)
                apart.threads[tenant].start()
        return bool(apart.threads)

    def _hold(self, name: str, error: ExportError) -> None:
        """Leaves a tenant out of the common requests from now on: it is owed its samples."""
        self._apart[name].held.add(error.tenant)

    def _send(self, sender: Sender, job: DueExport) -> bool | None:
        """Whether the job is done; False where another process is at it, None when sending must stop."""
        name = sender.receiver.name
        counts = self.counts[name]
        sent = sender.send(job)
        if refused := sender.client.refused.take_fresh():
            # Also where sending stopped: the next attempt then begins with what is not refused.
            ActiveSeriesRecords(self._ledger).add_refused_series(name, refused, self._clock())
        if sent.is_busy:
            return False
        with self._lock:
            if sent.report is not None:
                counts.add(sent.report)
            if sent.error is None:
                self._done[name].add(job.job_id)
                counts.jobs = len(self._done[name])
                counts.changed += any(receipt.state == "changed" for receipt in sent.receipts)
                return True
        if not isinstance(sent.error, SendingStopped):  # we ended it, which says nothing of the receiver
            self._note(name, job.tenant, str(sent.error))
        return None

    def _say(self, name: str, tenant: str, error: str) -> None:
        counts = self.counts[name]
        if not tenant:
            counts.error = error
        elif error:
            counts.held[tenant] = error
        else:
            counts.held.pop(tenant, None)

    def _note(self, name: str, tenant: str, error: str) -> None:
        self._say(name, tenant, error)
        try:
            ReceiverRecords(self._ledger).note_receiver(name, self._clock(), error=error, tenant=tenant)
        except LedgerError:
            return  # the error itself is reported by the run

    def _settled(self) -> int:
        """Requests that were taken or refused so far."""
        return sum(client.settled for client in list(self._clients))

    def _count_left(self, name: str) -> int:
        try:
            due = ReceiptRecords(self._ledger).export_due_hours(name, since_ms=self._since[name], lane=self._lane)
        except LedgerError:
            return 0  # the thread that asked before us has said so
        return sum(jobs for hour, jobs in due.items() if hour in self._hours)

    def _due(self, receiver: Receiver, tenant: str) -> list[DueExport]:
        due = ReceiptRecords(self._ledger).export_due(
            receiver.name,
            self._hours,
            since_ms=self._since[receiver.name],
            limit=_JOBS_AT_ONCE,
            lane=self._lane,
            tenant=tenant,
        )
        latest_ms = self._clock() + MAX_AHEAD_MS
        ready = [job for job in due if job.timestamp_ms <= latest_ms]
        if not tenant:
            self.counts[receiver.name].ahead = len(due) - len(ready)
        return ready

    def _not_held(self, receiver: Receiver, due: Sequence[DueExport]) -> list[DueExport]:
        """Without jobs of shards of which an earlier job is unfinished, for a while."""
        if receiver.takes_history:
            return list(due)
        held: set[int] = set()
        ready = []
        for job in due:
            if job.shard not in held and self._clock() - job.derived_ms < HOLD_MS:
                # An hour before is enough: what is older would be refused whenever it came.
                since_ms = job.timestamp_ms - 3_600_000
                if ReceiptRecords(self._ledger).unfinished_before(job.shard, job.timestamp_ms, since_ms):
                    held.add(job.shard)
            if job.shard not in held:
                ready.append(job)
        return ready

    def _wanted_by(self, timestamp_ms: int) -> list[str]:
        return [name for name, since_ms in self._starts.items() if timestamp_ms >= since_ms]

    def _goes_on(self) -> bool:
        is_over = self._deadline is not None and time.monotonic() >= self._deadline
        return not self._stopped.is_set() and not is_over


class _Clock(SystemClock):
    """The machine's clock, whose sleep ends when the export is to stop."""

    def __init__(self, stopped: threading.Event) -> None:
        self._stopped = stopped

    def sleep(self, seconds: float) -> None:
        """Waits, at most until the export is to stop."""
        self._stopped.wait(seconds)
