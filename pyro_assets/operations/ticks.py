"""What a tick does: looks for sources, plans jobs, and says for which hours a run is worth its start."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pyro_assets.app import App
from pyro_assets.archive.rebuild import guard
from pyro_assets.errors import ConfigError, StorageError, StorageUnavailable
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import Lane
from pyro_assets.operations import sending
from pyro_assets.planning import tick as ticking
from pyro_assets.planning.listed_hours import ListedHours
from pyro_assets.planning.listing import what_is_missing
from pyro_assets.planning.report import TickReport
from pyro_assets.planning.spans import hours_over
from pyro_assets.planning.tick import lanes_of
from pyro_assets.rules.archive import keep_versions

if TYPE_CHECKING:
    from pyro_assets.planning.sweep import RescanReport


def tick(app: App, now_ms: int | None = None, since_ms: int | None = None) -> TickReport:
    """Looks for new sources and plans jobs. A listing that fails is reported, not raised.

    Args:
        app: what is looked at.
        now_ms: Unix milliseconds.
        since_ms: when the tick before was: what live runs saw first after it has landed since, too.

    Raises:
        LedgerUnavailable: nothing was recorded.
        RebuildNeeded: the ledger lost what the archive remembers.
        SettingsError: the mode cannot change yet.
    """
    now_ms = app.clock() if now_ms is None else now_ms
    try:
        guard(app.ledger, app.archive)
    except StorageUnavailable as error:
        # An empty ledger may be a lost one: that cannot be told before the archive answers.
        return TickReport(now_ms, failures=(str(error),))
    found = ticking.tick(app.source, app.ledger, app.settings, now_ms, app.archive, since_ms)
    found = replace(found, others=tuple(other_configurations(app, "tick")))
    try:
        keep_versions(app.ledger, app.archive)
    except StorageError as error:
        found = replace(found, failures=(*found.failures, f"rules are not kept in the archive: {error}"))
    try:
        worth = sending.worth_a_run(app, app.receivers())
    except ConfigError as error:
        return replace(found, failures=(*found.failures, f"nothing is sent: {error}"))
    lanes = tuple(
        sending.with_exports(app, due, worth, lane)
        for due, lane in zip(found.lanes, lanes_of(app.settings), strict=True)
    )
    return replace(found, due=sending.with_exports(app, found.due, worth), lanes=lanes)


def look(app: App, hours: Collection[str], lane: Lane | None = None) -> int:
    """Records and plans what appeared in these hours since the last tick; see `planning.tick.look`."""
    return ticking.look(app.source, app.ledger, app.settings, hours, app.clock(), lane)


def sweep(app: App, max_keys: int) -> "RescanReport":
    """Goes on with the slow sweep of the whole source bucket; see `planning.sweep`."""
    from pyro_assets.planning.sweep import sweep

    guard(app.ledger, app.archive)
    return sweep(app.source, app.ledger, app.settings, app.clock(), max_keys)


def list_hours(app: App, hours: Sequence[str], *, deadline_monotonic: float | None = None) -> "RescanReport":
    """Looks, before a run of these hours, for all that was created in them; see `planning.sweep`."""
    from pyro_assets.planning.sweep import list_hours

    guard(app.ledger, app.archive)
    return list_hours(app.source, app.ledger, app.settings, hours, app.clock(), deadline_monotonic)


def hours_to_list(app: App, limit: int) -> list[str]:
    """Hours that are over and were not listed as a whole since: the last ones, at most `limit`, oldest first."""
    listed = ListedHours(app.ledger).listed_hours()
    over = hours_over(HourRecords(app.ledger).hours(), app.settings.settle_ms, app.clock())
    return [hour for hour in over if hour not in listed][-limit:]


def source_problem(app: App) -> str:
    """Why the source cannot be Pyroscope's bucket, or does not answer; "" where all is well."""
    try:
        return what_is_missing(app.source)
    except StorageUnavailable as error:
        return str(error)


def other_configurations(app: App, what: str) -> list[str]:
    """Notes the configuration of this process, a tick or a run; sentences about others at work on the ledger."""
    from pyro_assets.monitoring.configurations import note, values_of

    try:
        receivers = app.receivers()
    except ConfigError:
        receivers = None
    urls = app.source.url, app.archive.url
    return note(app.ledger, values_of(*urls, app.settings, app.file_hash, receivers), what, app.clock())


def warnings(app: App) -> list[str]:
    """What a person should know whenever work begins: sentences, empty where all is well.

    Costs a few requests; a bucket that does not answer is no warning of this.
    """
    from pyro_assets.planning.tick import measure

    found = other_configurations(app, "run")
    if app.settings.compaction != "own":
        return found
    try:
        life = measure(app.source, app.clock(), max_shards=4)
    except StorageUnavailable:
        return found
    if not life.is_short:
        return found
    return [
        *found,
        f"{life.sentence}: an outage of ours that is longer loses profiles; choose observe as the mode of "
        "compaction, or raise Pyroscope's deletion delay",
    ]
