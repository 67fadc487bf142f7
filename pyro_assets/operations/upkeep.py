"""What schedules and supervisors ask for: merge, retain, scrub, renew lists of functions, tell the health."""

import functools
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from pyro_assets.app import App
from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.archive.units import hours_to_compact
from pyro_assets.export.states import receiver_starts
from pyro_assets.monitoring import now
from pyro_assets.storage.keys import hour_of

if TYPE_CHECKING:
    from pyro_assets.archive.hours import HourCompaction
    from pyro_assets.archive.merge import MergeReport
    from pyro_assets.archive.retain import Expired, Keep, RetentionReport
    from pyro_assets.archive.scrub import ScrubReport
    from pyro_assets.explore.preview import Resolved
    from pyro_assets.monitoring.metrics import HealthMetrics


def health(app: App) -> "HealthMetrics":
    """The project's own metrics; make them once per process."""
    from pyro_assets.monitoring.metrics import HealthMetrics

    return HealthMetrics(app.ledger, functools.partial(receiver_starts, app), app.clock)


def merge_series(app: App, *, deadline_monotonic: float | None = None) -> "MergeReport":
    """Merges the files of series of hours that are over; see `archive.merge`."""
    from pyro_assets.archive.merge import merge_hours

    return merge_hours(
        app.archive,
        app.ledger,
        app.clock(),
        app.settings.settle_ms,
        deadline_monotonic=deadline_monotonic,
    )


def hours_without_blocks(app: App) -> list[str]:
    """Hours that are over and whose level-1 blocks are not all in blocks of the hour, oldest first."""
    return hours_to_compact(app.ledger, app.clock(), app.settings.settle_ms)


def compact_hours(
    app: App, hours: Sequence[str], *, deadline_monotonic: float | None = None
) -> "dict[str, HourCompaction]":
    """Compacts level-1 blocks of hours to blocks of the hour; see `archive.hours`.

    Returns:
        By hour, without those that are not over and those that there was no time for.
    """
    from pyro_assets.archive.hours import compact_hour_blocks

    over, found = hour_of(app.clock() - app.settings.settle_ms), {}
    for hour in hours:
        if hour < over and (deadline_monotonic is None or time.monotonic() < deadline_monotonic):
            found[hour] = compact_hour_blocks(app.archive, app.ledger, hour, app.clock())
    return found


def retain(
    app: App,
    keep: "Keep",
    *,
    apply: bool,
    deadline_monotonic: float | None = None,
    progress: "Callable[[Expired], None]" = lambda _: None,
) -> "RetentionReport":
    """Removes what is older than `keep` says, or only lists it; see `archive.retain`.

    Raises:
        ConfigError: the file of receivers is refused, so that nobody knows what is still to be sent.
    """
    from pyro_assets.archive.retain import retain

    return retain(
        app.archive,
        app.ledger,
        keep,
        receiver_starts(app),
        app.clock(),
        apply=apply,
        deadline_monotonic=deadline_monotonic,
        progress=progress,
    )


def scrub(
    app: App,
    *,
    hours: "Collection[str] | None" = None,
    deadline_monotonic: float | None = None,
    progress: "Callable[[int, int], None]" = lambda _done, _total: None,
) -> "ScrubReport":
    """Compares what the archive holds with what was written; see `archive.scrub`."""
    from pyro_assets.archive.scrub import scrub

    return scrub(
        app.archive,
        app.ledger,
        app.clock,
        app.settings.settle_ms,
        hours=hours,
        deadline_monotonic=deadline_monotonic,
        progress=progress,
    )


def archived_hours(app: App) -> list[str]:
    """Hours that are over and have anything in the archive, as a scrub would take them."""
    return ScrubRecords(app.ledger).hours_to_scrub(hour_of(app.clock() - app.settings.settle_ms))


def alerts(app: App, now_ms: int) -> tuple[now.Alert, ...]:
    """What is wrong right now, and what to do about it: the conditions of our alerts, asked of the ledger."""
    return now.alerts(now.look(app, now_ms))


def has_rules_to_resolve(app: App) -> bool:
    """Whether a rule of the ledger that is in force has `top_k`."""
    from pyro_assets.explore.preview import rules_to_resolve

    return app.config is not None and bool(rules_to_resolve(app.ledger, app.config))


def resolve_rules(app: App, *, deadline_monotonic: float | None = None) -> "list[Resolved]":
    """Finds the functions of the ledger's rules with `top_k` anew, and saves what changed.

    Args:
        app: what to work with.
        deadline_monotonic: no further rule is begun after this `time.monotonic()`.

    Raises:
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    from pyro_assets.explore.preview import SCHEDULE, resolve_rule, rules_to_resolve

    found = []
    for stored in rules_to_resolve(app.ledger, app.config) if app.config is not None else ():
        if app.config is None or (deadline_monotonic is not None and time.monotonic() >= deadline_monotonic):
            break
        now_ms = app.clock()
        found.append(resolve_rule(app.ledger, app.archive, stored, app.config, now_ms, author=SCHEDULE))
    return found
