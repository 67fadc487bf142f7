"""What is done about receivers: send, pause, compare, estimate, write files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pyro_assets.app import App
from pyro_assets.errors import ConfigError
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords, export_due_hours, receiver_starts, start_ms_of
from pyro_assets.ledger.records import Lane

if TYPE_CHECKING:
    from pyro_assets.export.exporter import ExportCounts, Exporter
    from pyro_assets.export.files import FileFormat, FilesReport
    from pyro_assets.export.reconcile import HourEstimate, Reconciliation
    from pyro_assets.export.states import ReceiverState
    from pyro_assets.receivers.model import Receiver


#: A receiver that was given up is a reason for a run again after this time.
_RECEIVER_AGAIN_MS: Final = 60_000


def exporter(
    app: App,
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
        app: what to work with.
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
    from pyro_assets.export.exporter import Exporter

    receivers = app.receivers()
    chosen = [app.receiver(name) for name in names] if names else receivers
    return Exporter(
        app.archive,
        app.ledger,
        chosen,
        app.secrets,
        hours,
        explicit=explicit,
        stay=stay,
        everyone=receivers,
        lane=lane,
        clock=app.clock,
        deadline_monotonic=deadline_monotonic,
    ).start()


def export(
    app: App,
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
    wanted = list(export_due_hours(app, names)) if hours is None else hours
    sender = exporter(app, wanted, explicit=explicit, names=names, deadline_monotonic=deadline_monotonic)
    return sender.finish(seconds, idle_seconds)


def send_again(app: App, name: str, begin_ms: int, end_ms: int) -> "ExportCounts":
    """Sends once more what a receiver has acknowledged of [begin_ms, end_ms); receipts stay as they are.

    Raises:
        ConfigError, SettingsError: there is no receiver of this name.
        RemovedByRetention, StorageError, SeriesError: the archive does not have the series any more.
    """
    from pyro_assets.export.resend import send_again

    receiver = app.receiver(name)
    return send_again(app.archive, app.ledger, receiver, app.secrets, begin_ms, end_ms, app.clock())


def pause(app: App, name: str, *, paused: bool, tenant: str = "") -> bool:
    """Pauses or resumes a receiver, or one tenant (as it knows it) there: what is lacking stays pending meanwhile.

    Returns:
        Whether that changed anything.

    Raises:
        ConfigError, SettingsError: there is no receiver of this name.
    """
    return ReceiverRecords(app.ledger).pause_receiver(
        app.receiver(name).name, app.clock(), paused=paused, tenant=tenant
    )


def keep_changed(app: App, name: str, begin_ms: int, end_ms: int) -> int:
    """Lets a receiver keep what it was sent where samples of [begin_ms, end_ms) changed afterwards.

    Returns:
        How many receipts are not reported as changed any more.

    Raises:
        ConfigError, SettingsError: there is no receiver of this name.
    """
    return ReceiptRecords(app.ledger).keep_changed(app.receiver(name).name, begin_ms, end_ms, app.clock())


def reconcile(
    app: App,
    name: str,
    begin_ms: int,
    end_ms: int,
    *,
    only_sent: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> "Reconciliation":
    """Asks a receiver for what it holds of [begin_ms, end_ms) and compares it with the archive's series.

    Args:
        app: what to work with.
        name: of the receiver.
        begin_ms: the first millisecond.
        end_ms: the first millisecond that is not compared any more.
        only_sent: expect only what it has accepted, instead of everything that is derived.
        progress: called with the end of each window of time that is done.

    Raises:
        ConfigError, SettingsError: there is no receiver of this name.
        ReceiverMisconfigured, ReceiverUnavailable, BadAnswer: it cannot be asked.
    """
    from pyro_assets.export.reconcile import reconcile_receiver

    return reconcile_receiver(
        app.archive,
        app.ledger,
        app.receiver(name),
        app.secrets,
        begin_ms,
        end_ms,
        only_sent=only_sent,
        progress=progress,
    )


def estimate(app: App, name: str, begin_ms: int, end_ms: int) -> "dict[int, HourEstimate]":
    """Hour (ms // 3,600,000) -> what a receiver would get of it, before anything is sent.

    Raises:
        ConfigError, SettingsError: there is no receiver of this name.
    """
    from pyro_assets.export.reconcile import estimate

    return estimate(app.archive, app.ledger, app.receiver(name), begin_ms, end_ms, app.clock())


def write_files(
    app: App, receiver: "Receiver | None", folder: Path, file_format: "FileFormat", begin_ms: int, end_ms: int
) -> "FilesReport":
    """Writes the series of [begin_ms, end_ms) as files for receivers that take no history; see `export.files`."""
    from pyro_assets.export.files import any_receiver, write_files
    from pyro_assets.export.reconcile import files_between, read_files

    unreadable: list[str] = []
    jobs = read_files(app.archive, app.ledger, files_between(app.ledger, begin_ms, end_ms), unreadable)
    wanted = receiver if receiver is not None else any_receiver()
    report = write_files(jobs, wanted, folder, file_format=file_format, from_ms=begin_ms, to_ms=end_ms)
    report.unreadable += unreadable
    return report


def receiver_states(app: App) -> "dict[str, ReceiverState]":
    """What is known of each receiver that is configured."""
    return {receiver.name: ReceiverRecords(app.ledger).receiver_state(receiver.name) for receiver in app.receivers()}


def scopes(app: App) -> dict[str, int]:
    """Receiver -> its start, for reports; empty where the file of receivers is refused."""
    try:
        return receiver_starts(app)
    except ConfigError:
        return {}  # a report is about what is known; the run and the tick say that the file is refused


def worth_a_run(app: App, receivers: "Sequence[Receiver]") -> "dict[str, tuple[int, list[str]]]":
    """Receivers for whose sake a run should be requested -> their start (Unix ms), and tenants that are none."""
    found = {}
    for receiver in receivers:
        state = ReceiverRecords(app.ledger).receiver_state(receiver.name)
        since_ms = app.clock() - _RECEIVER_AGAIN_MS
        if state.paused_ms is None and (state.error_ms is None or state.error_ms <= since_ms):
            found[receiver.name] = start_ms_of(app.ledger, receiver, app.clock()), state.held_tenants(since_ms + 1)
    return found


def with_exports(
    app: App, due: Mapping[str, int], worth: "Mapping[str, tuple[int, list[str]]]", lane: Lane | None = None
) -> dict[str, int]:
    """What is due, with the hours that wait to be sent to these receivers."""
    hours = dict(due)
    for name, (since_ms, held) in worth.items():
        waiting = ReceiptRecords(app.ledger).export_due_hours(name, since_ms=since_ms, lane=lane, without=held)
        for hour, jobs in waiting.items():
            hours[hour] = hours.get(hour, 0) + jobs
    return dict(sorted(hours.items()))
