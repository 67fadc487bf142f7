"""What a pipeline does about receivers: send, pause, compare, estimate, and tell the project's own metrics.

Add what a face asks of receivers as a method that delegates; sending itself stands in `exporting` and `sending`.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyro_assets.errors import ConfigError
from pyro_assets.ledger.ledger import Lane
from pyro_assets.pipeline.parts import Parts

if TYPE_CHECKING:
    from pyro_assets.export.openmetrics import FileFormat, FilesReport
    from pyro_assets.export.receivers import Receiver
    from pyro_assets.export.reconcile import Reconciliation
    from pyro_assets.ledger.receivers import ReceiverState
    from pyro_assets.pipeline.exporting import ExportCounts, Exporter
    from pyro_assets.pipeline.health import HealthMetrics
    from pyro_assets.pipeline.reconciling import HourEstimate

#: A receiver that was given up is a reason for a run again after this time.
_RECEIVER_AGAIN_MS: Final = 60_000


class ExportMethods(Parts):
    """Everything about receivers."""

    def exporter(
        self,
        hours: Sequence[str],
        *,
        explicit: bool,
        stay: bool = False,
        names: Sequence[str] = (),
        lane: Lane | None = None,
        deadline_monotonic: float | None = None,
    ) -> "Exporter":
        """Begins to send what receivers lack of these hours, in the background; `finish` or `stop` it.

        Args:
            hours: partition keys, the only ones that are touched.
            explicit: these hours were asked for: a receiver gets them although they are before its start.
            stay: look for more until it is finished.
            names: of the receivers; all by default.
            lane: the share of the shards that is sent; all by default.
            deadline_monotonic: nothing is sent after this `time.monotonic()`.

        Raises:
            ConfigError: the file of receivers is refused.
            SettingsError: there is no receiver of a name.
        """
        from pyro_assets.pipeline.exporting import Exporter

        receivers = self.receivers()
        chosen = [self.receiver(name) for name in names] if names else receivers
        return Exporter(
            self._archive,
            self._ledger,
            chosen,
            self._secrets,
            hours,
            explicit=explicit,
            stay=stay,
            everyone=receivers,
            lane=lane,
            clock=self._clock,
            deadline_monotonic=deadline_monotonic,
        ).start()

    def export(
        self,
        hours: Sequence[str] | None = None,
        *,
        names: Sequence[str] = (),
        deadline_monotonic: float | None = None,
        seconds: float | None = None,
        idle_seconds: float | None = None,
    ) -> "dict[str, ExportCounts]":
        """Sends what receivers lack: of these hours, or of all since each receiver's start.

        For so many seconds at most, see `Exporter.finish`; what is left then is said.

        Returns:
            What was done, by receiver. A receiver that is down is reported there, not raised.

        Raises:
            ConfigError, SettingsError: see `exporter`.
        """
        explicit = hours is not None
        wanted = list(self.export_due_hours(names)) if hours is None else hours
        exporter = self.exporter(wanted, explicit=explicit, names=names, deadline_monotonic=deadline_monotonic)
        return exporter.finish(seconds, idle_seconds)

    def send_again(self, name: str, begin_ms: int, end_ms: int) -> "ExportCounts":
        """Sends once more what a receiver has acknowledged of [begin_ms, end_ms); receipts stay as they are.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
            RemovedByRetention, StorageError, SeriesError: the archive does not have the series any more.
        """
        from pyro_assets.pipeline.resending import send_again

        receiver = self.receiver(name)
        return send_again(self._archive, self._ledger, receiver, self._secrets, begin_ms, end_ms, self._clock())

    def pause(self, name: str, *, paused: bool, tenant: str = "") -> bool:
        """Pauses or resumes a receiver, or one tenant (as it knows it) there: what is lacking stays pending meanwhile.

        Returns:
            Whether that changed anything.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        return self._ledger.pause_receiver(self.receiver(name).name, self._clock(), paused=paused, tenant=tenant)

    def keep_changed(self, name: str, begin_ms: int, end_ms: int) -> int:
        """Lets a receiver keep what it was sent where samples of [begin_ms, end_ms) changed afterwards.

        Returns:
            How many receipts are not reported as changed any more.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        return self._ledger.keep_changed(self.receiver(name).name, begin_ms, end_ms, self._clock())

    def export_due_hours(self, names: Sequence[str] = ()) -> dict[str, int]:
        """Hour -> jobs that some receiver lacks since its start, oldest first."""
        found: dict[str, int] = {}
        for receiver in self.receivers():
            if not names or receiver.name in names:
                for hour, jobs in self._ledger.export_due_hours(
                    receiver.name, since_ms=self._start_ms(receiver)
                ).items():
                    found[hour] = max(jobs, found.get(hour, 0))
        return dict(sorted(found.items()))

    def reconcile(
        self,
        name: str,
        begin_ms: int,
        end_ms: int,
        *,
        only_sent: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> "Reconciliation":
        """Asks a receiver for what it holds of [begin_ms, end_ms) and compares it with the archive's series.

        Args:
            name: of the receiver.
            begin_ms: the first millisecond.
            end_ms: the first millisecond that is not compared any more.
            only_sent: expect only what it has accepted, instead of everything that is derived.
            progress: called with the end of each window of time that is done.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
            ReceiverMisconfigured, ReceiverUnavailable, BadAnswer: it cannot be asked.
        """
        from pyro_assets.pipeline.reconciling import reconcile_receiver

        return reconcile_receiver(
            self._archive,
            self._ledger,
            self.receiver(name),
            self._secrets,
            begin_ms,
            end_ms,
            only_sent=only_sent,
            progress=progress,
        )

    def estimate(self, name: str, begin_ms: int, end_ms: int) -> "dict[int, HourEstimate]":
        """Hour (ms // 3,600,000) -> what a receiver would get of it, before anything is sent.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        from pyro_assets.pipeline.reconciling import estimate

        return estimate(self._archive, self._ledger, self.receiver(name), begin_ms, end_ms)

    def write_files(
        self, receiver: "Receiver | None", folder: Path, file_format: "FileFormat", begin_ms: int, end_ms: int
    ) -> "FilesReport":
        """Writes the series of [begin_ms, end_ms) as files for receivers that take no history; see `openmetrics`."""
        from pyro_assets.export.openmetrics import any_receiver, write_files
        from pyro_assets.pipeline.reconciling import files_between, read_files

        unreadable: list[str] = []
        jobs = read_files(self._archive, self._ledger, files_between(self._ledger, begin_ms, end_ms), unreadable)
        wanted = receiver if receiver is not None else any_receiver()
        report = write_files(jobs, wanted, folder, file_format=file_format, from_ms=begin_ms, to_ms=end_ms)
        report.unreadable += unreadable
        return report

    def health(self) -> "HealthMetrics":
        """The project's own metrics; make them once per process."""
        from pyro_assets.pipeline.health import HealthMetrics

        return HealthMetrics(self._ledger, self.receiver_starts, self._clock)

    def push_health(self, metrics: "HealthMetrics", instance: str) -> dict[str, str]:
        """Sends the project's own metrics to every receiver that is not paused; see `pushing.push`.

        Raises:
            ConfigError, LedgerUnavailable: nothing was sent.
        """
        from pyro_assets.pipeline.pushing import push, samples_of

        now_ms = self._clock()
        states = self.receiver_states()
        ready = [one for one in self.receivers() if states[one.name].paused_ms is None]
        return push(samples_of(metrics.collect(), now_ms, instance), ready, self._secrets, now_ms)

    def receiver_states(self) -> "dict[str, ReceiverState]":
        """What is known of each receiver that is configured."""
        return {receiver.name: self._ledger.receiver_state(receiver.name) for receiver in self.receivers()}

    def _scopes(self) -> dict[str, int]:
        try:
            return self.receiver_starts()
        except ConfigError:
            return {}  # a report is about what is known; the run and the tick say that the file is refused

    def _worth_a_run(self, receivers: "Sequence[Receiver]") -> "dict[str, tuple[int, list[str]]]":
        """Receivers for whose sake a run should be requested -> their start (Unix ms), and tenants that are none."""
        found = {}
        for receiver in receivers:
            state = self._ledger.receiver_state(receiver.name)
            since_ms = self._clock() - _RECEIVER_AGAIN_MS
            if state.paused_ms is None and (state.error_ms is None or state.error_ms <= since_ms):
                found[receiver.name] = self._start_ms(receiver), state.held_tenants(since_ms + 1)
        return found

    def _with_exports(
        self, due: Mapping[str, int], worth: "Mapping[str, tuple[int, list[str]]]", lane: Lane | None = None
    ) -> dict[str, int]:
        """What is due, with the hours that wait to be sent to these receivers."""
        hours = dict(due)
        for name, (since_ms, held) in worth.items():
            waiting = self._ledger.export_due_hours(name, since_ms=since_ms, lane=lane, without=held)
            for hour, jobs in waiting.items():
                hours[hour] = hours.get(hour, 0) + jobs
        return dict(sorted(hours.items()))
