"""Backfills: what can be ordered, for which hours, its estimated cost, and its progress.

Add a thing to order here with what it selects; starting it in Dagster is the faces' business. Costs are those that the
ledger measured of the same hours, or of the last day where it has none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.app import App
from pyro_assets.errors import SettingsError
from pyro_assets.ledger.calendar import HourCalendar, HoursCost
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.choice import rule_hash, rule_kinds
from pyro_assets.rules.stored import RuleMark, RuleUse
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.rules.config import SeriesConfig

#: What can be ordered beside a single rule -> in words.
WHATS: Final[Mapping[str, str]] = {
    "pending": "hours that are not done: compact, derive and send",
    "function": "all function series again",
    "dimension": "all dimension series again",
    "series": "all series again",
}
#: A rule is ordered by this and its id.
RULE: Final = "rule:"
#: Tags of runs: what was ordered, for which hours, by whom.
RULE_TAG: Final = "pyro_assets/rule"
WHAT_TAG: Final = "pyro_assets/what"
FROM_TAG: Final = "pyro_assets/from"
TO_TAG: Final = "pyro_assets/to"
BY_TAG: Final = "pyro_assets/by"
MOST_HOURS: Final = 24 * 62
#: Seconds that Dagster takes around the work: its daemon looks every half minute, and a run has to start.
OVERHEAD_SECONDS: Final = 45.0
_EXPORTED: Final = "exported_series"
_MAX_RUNTIME_SECONDS: Final = 21_600
_STEP: Final = "compact_and_derive"
_TITLE_LENGTH: Final = 100
#: What Dagster does not take in titles.
_NO_TITLE: Final = re.compile(r'[%*"]')


@dataclass(frozen=True, slots=True)
class BackfillOrder:
    """A backfill as it was ordered.

    Attributes:
        what: a key of WHATS, or RULE and the id of a rule.
        hours: consecutive partition keys.
        send: also send to receivers what they lack of these hours; of a rule only since their start.
    """

    what: str
    hours: tuple[str, ...]
    send: bool = False

    @property
    def rule(self) -> str:
        """The rule's id, "" for other orders."""
        return self.what.removeprefix(RULE) if self.what.startswith(RULE) else ""


@dataclass(frozen=True, slots=True)
class BackfillPlan:
    """The plan of a backfill: what it selects and what it will cost.

    Attributes:
        order: as it was given.
        kinds: kinds of series that it makes.
        assets, tags, run_config, title: for Dagster.
        jobs: to do; done: that have it already, of what the order is about; waiting: sources in no job yet.
        seconds: from and to, of computing; basis: where that is from, in words.
        bytes: read: level-1 blocks, or sources where there are none yet.
        removed: jobs that stay as they are, because retention removed their blocks or rows.
    """

    order: BackfillOrder
    kinds: tuple[str, ...]
    assets: tuple[str, ...]
    tags: Mapping[str, str]
    run_config: Mapping[str, Any] | None
    title: str
    jobs: int
    done: int
    waiting: int
    seconds: tuple[float, float]
    basis: str
    bytes: int
    removed: int


@dataclass(frozen=True, slots=True)
class BackfillProgress:
    """How far a backfill is by the ledger: jobs done of all that can be; of others, retention `removed` the blocks."""

    done: int
    total: int
    removed: int = 0

    @property
    def share(self) -> float:
        """0 to 1."""
        return self.done / self.total if self.total else 1.0


def hours_between(first: str, last: str) -> tuple[str, ...]:
    """Partition keys from one to another, both included.

    >>> hours_between("2026-11-25-22:00", "2026-11-26-00:00")
    ('2026-11-25-22:00', '2026-11-25-23:00', '2026-11-26-00:00')

    Raises:
        SettingsError: the last is before the first, or there are too many.
    """
    begin_ms, end_ms = hour_start_ms(first), hour_start_ms(last)
    if end_ms < begin_ms:
        raise SettingsError(f"the last hour, {last}, is before the first, {first}; exchange them")
    count = (end_ms - begin_ms) // HOUR_MS + 1
    if count > MOST_HOURS:
        raise SettingsError(f"{count:,} hours are more than the {MOST_HOURS:,} of one backfill; start several")
    return tuple(hour_of(begin_ms + number * HOUR_MS) for number in range(count))


def known_part(pipeline: App, hours: Sequence[str]) -> tuple[str, ...]:
    """The part of consecutive hours from the first to the last that has sources: others are no partitions, or empty.

    Raises:
        SettingsError: none of them has any.
    """
    known = [hour for hour in HourRecords(pipeline.ledger).hours() if hours[0] <= hour <= hours[-1]]
    if not known:
        raise SettingsError(
            f"nothing landed from {hours[0]} to {hours[-1]}; /status shows the hours that have something"
        )
    return tuple(hour for hour in hours if known[0] <= hour <= known[-1])


def plan(pipeline: App, config: "SeriesConfig", order: BackfillOrder, by: str) -> BackfillPlan:
    """Plans a backfill.

    Args:
        pipeline: its ledger is asked.
        config: the rules in force.
        order: what is wanted.
        by: who orders it.

    Raises:
        SettingsError: there is no such thing to order.
    """
    kinds = kinds_of(config, order.what)
    cost = HourCalendar(pipeline.ledger).hours_cost(order.hours)
    removed = _removed(pipeline, order.what, order.hours)
    if order.what == "pending":
        jobs, done, read = cost.undone, cost.derived, _share(cost.bytes_in, cost.undone, cost.jobs)
    elif order.rule:
        done, total = _rule_progress(pipeline, config, order.rule, order.hours)
        jobs = max(0, total - done - cost.without_blocks)
        read = _share(cost.bytes_out, jobs, cost.jobs)
    else:
        jobs, done, read = cost.jobs, 0, cost.bytes_out
    seconds, basis = _seconds(pipeline, cost, order.hours, jobs)
    assets = [f"{kind}_series" for kind in kinds]
    if order.what == "pending":
        assets.insert(0, "l1_blocks")
    if order.send or order.what == "pending":
        assets.append(_EXPORTED)
    return BackfillPlan(
        order=order,
        kinds=kinds,
        assets=tuple(assets),
        tags={
            "lane": "rules" if order.rule else "backfill",
            "dagster/max_runtime": str(_MAX_RUNTIME_SECONDS),
            WHAT_TAG: "rule" if order.rule else order.what,
            **({RULE_TAG: order.rule} if order.rule else {}),
            FROM_TAG: order.hours[0],
            TO_TAG: order.hours[-1],
            BY_TAG: by,
        },
        run_config={"ops": {_STEP: {"config": {"rules": [order.rule]}}}} if order.rule else None,
        title=title_of(order),
        jobs=jobs,
        done=done,
        waiting=cost.waiting if order.what == "pending" else 0,
        seconds=seconds,
        basis=basis,
        bytes=read,
        removed=removed,
    )


def progress(pipeline: App, config: "SeriesConfig", tags: Mapping[str, str], since_ms: int) -> BackfillProgress | None:
    """How far a backfill is, by its tags; None where it is not one of ours, or its rule is gone.

    Args:
        pipeline: its ledger is asked.
        config: the rules in force.
        tags: of its runs.
        since_ms: when it was started.
    """
    try:
        hours = hours_between(tags[FROM_TAG], tags[TO_TAG])
        what = RULE + tags[RULE_TAG] if RULE_TAG in tags else tags[WHAT_TAG]
        kinds = kinds_of(config, what)
    except (KeyError, ValueError, SettingsError):
        return None
    removed = _removed(pipeline, what, hours)
    if RULE_TAG in tags:
        done, total = _rule_progress(pipeline, config, tags[RULE_TAG], hours)
        # What was done before its blocks were removed counts as done.
        total = max(done, total - HourCalendar(pipeline.ledger).hours_cost(hours).without_blocks)
        return BackfillProgress(done, total, removed)
    if what == "pending":
        cost = HourCalendar(pipeline.ledger).hours_cost(hours)
        return BackfillProgress(cost.derived, cost.derived + cost.undone)
    return BackfillProgress(*HourCalendar(pipeline.ledger).written_since(hours, kinds, since_ms), removed)


def kinds_of(config: "SeriesConfig", what: str) -> tuple[str, ...]:
    """Kinds of series of an order.

    Raises:
        SettingsError: there is no such thing to order.
    """
    if what.startswith(RULE):
        kind = rule_kinds(config).get(what.removeprefix(RULE))
        if kind is None:
            raise SettingsError(
                f"no rule {what.removeprefix(RULE)!r} is in force; it may be disabled, deleted or refused: see /rules"
            )
        return (kind,)
    if what not in WHATS:
        raise SettingsError(f"{what!r} cannot be ordered; choose a rule, or one of {', '.join(WHATS)}")
    return (what,) if what in ("function", "dimension") else ("dimension", "function")


def title_of(order: BackfillOrder) -> str:
    """A title that Dagster takes.

    >>> title_of(BackfillOrder("rule:cpu*", ("2026-11-25-09:00", "2026-11-25-10:00")))
    'rule cpu_: 2026-11-25 09:00 to 2026-11-25 10:00'
    """
    first, last = (f"{hour[:10]} {hour[11:]}" for hour in (order.hours[0], order.hours[-1]))
    span = f": {first}" + (f" to {last}" if len(order.hours) > 1 else "")
    what = f"rule {order.rule}" if order.rule else WHATS[order.what].partition(":")[0]
    clean = _NO_TITLE.sub("_", "".join(one if one.isprintable() else "_" for one in what))
    return clean[: _TITLE_LENGTH - len(span)] + span


def _rule_progress(pipeline: App, config: "SeriesConfig", rule: str, hours: Sequence[str]) -> tuple[int, int]:
    """(jobs that have this version of a rule, jobs that should) over hours that follow each other."""
    mark = RuleMark(rule, rule_kinds(config)[rule], rule_hash(config, rule))
    return RuleUse(pipeline.ledger).rule_progress(hours[0], mark, hours[-1])


def _seconds(pipeline: App, cost: HoursCost, hours: Sequence[str], jobs: int) -> tuple[tuple[float, float], str]:
    """Seconds of computing for a number of jobs, at least and at most, and on what that is based."""
    basis = f"{cost.measured:,} jobs of these hours"
    if not cost.measured:
        last_ms = hour_start_ms(hours[-1])
        known = [hour for hour in HourRecords(pipeline.ledger).hours() if hour_start_ms(hour) > last_ms - 24 * HOUR_MS][
            -24:
        ]
        cost = HourCalendar(pipeline.ledger).hours_cost(known) if known else cost
        basis = f"{cost.measured:,} jobs of the last day"
    if not cost.measured:
        return (0.0, 0.0), "no job was measured yet"
    derive, compact = cost.derive_seconds / cost.measured, cost.compact_seconds / cost.measured
    # Blocks have to be read again, which live deriving does not do; compaction reads too, and writes beside.
    return (jobs * derive, jobs * (derive + compact)), f"measured of {basis}, on one core"


def _removed(pipeline: App, what: str, hours: Sequence[str]) -> int:
    """Jobs of hours that can only stay as they are; of work that is pending nothing was ever removed."""
    return 0 if what == "pending" else sum(DueJobs(pipeline.ledger).jobs_removed_in(hours).values())


def _share(amount: int, part: int, whole: int) -> int:
    return round(amount * part / whole) if whole else 0
