"""The jobs and their tags: live lanes that the sensor fills, one for backfills, one for hours that are over.

Here, too:
* all partition definitions: one, UTC hours of block creation, shared by every asset.

dagster.yaml allows one run at a time for each value of the tag `lane`. Live runs have `live`, `live-next` and
`live-late`; with several live lanes `live-0`, `live-0-next`, …, and the tag `lanes` says how many there are, because
that may change between two restarts. Runs over hours of the past have `backfill`, `rules` and `asked`, which the run
coordinator deals to `backfill-2`, … where dagster.yaml lets several of them run at the same time. Add a job when
something must be started apart from these; a run over a range of hours is the same job with range tags.
"""

from typing import Any, Final, Literal

import dagster as dg

from pyro_assets.ledger.records import Lane

#: The class of what `define_asset_job` returns has no public name.
AssetJob = Any
LANE: Final = "lane"
LANES: Final = "lanes"
LIVE: Final = "live"
#: Live runs of a lane take turns as "" and "next", so that one is ready when the other leaves; "late" ones do what came
#: late for hours that are over, beside them.
Turn = Literal["", "next", "late"]
BACKFILL: Final = "backfill"
CLOSE: Final = "close"
#: Of runs that people start in the asset graph; the run coordinator gives it.
ASKED: Final = "asked"
RULES: Final = "rules"
UPKEEP: Final = "upkeep"
SWEEP: Final = "sweep"
# Dagster's own tags: how long a run may last, how often it is retried, which of those that wait goes first, and which
# partitions it is about.
MAX_RUNTIME: Final = "dagster/max_runtime"
MAX_RETRIES: Final = "dagster/max_retries"
PRIORITY: Final = "dagster/priority"
PARTITION: Final = "dagster/partition"
RANGE_START: Final = "dagster/asset_partition_range_start"
RANGE_END: Final = "dagster/asset_partition_range_end"
#: States of a run that is not over.
IN_FLIGHT: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
#: A live run ends by its budget (a minute by default) and a minute more at most; one that is there after this is dead.
_LIVE_MAX_RUNTIME_SECONDS: Final = 420
_BACKFILL_MAX_RUNTIME_SECONDS: Final = 21_600
#: A run of upkeep begins nothing new after this time, and is dead after twice as long; the next one goes on.
UPKEEP_SECONDS: Final = 1_800.0
UPKEEP_TAGS: Final = {LANE: UPKEEP, MAX_RUNTIME: "3600", MAX_RETRIES: "0"}


def live_job(selection: dg.AssetSelection) -> AssetJob:
    """What the sensor requests. No IO of its own: an in-process executor saves a process start per step."""
    return dg.define_asset_job(
        LIVE,
        selection,
        description="All that is due, and what becomes due in the next minute, requested by the sensor "
        "`segments_landed`; one run at work in each lane, and one that relieves it.",
        # A live run that dies is not retried: the sensor requests the next one anyway, five seconds later.
        tags={LANE: LIVE, MAX_RUNTIME: str(_LIVE_MAX_RUNTIME_SECONDS), MAX_RETRIES: "0", PRIORITY: "10"},
        executor_def=dg.in_process_executor,
    )


def backfill_job(selection: dg.AssetSelection) -> AssetJob:
    """What people start for hours of the past; a long range of hours becomes several runs."""
    return dg.define_asset_job(
        BACKFILL,
        selection,
        description="Hours of the past, in a lane of their own, so that live data does not wait. Hours with nothing "
        "left to do are left as they are and checked.",
        tags={LANE: BACKFILL, MAX_RUNTIME: str(_BACKFILL_MAX_RUNTIME_SECONDS)},
        executor_def=dg.in_process_executor,
    )


def rules_job(selection: dg.AssetSelection) -> AssetJob:
    """The backfill of single rules: what people start for hours of the past when a rule is new."""
    return dg.define_asset_job(
        RULES,
        selection,
        description="The series of the rules named in the configuration of `compact_and_derive`, made for hours of "
        "the past from the archive's level-1 blocks. All other series stay as they are. Begun again, it goes on.",
        tags={LANE: RULES, MAX_RUNTIME: str(_BACKFILL_MAX_RUNTIME_SECONDS)},
        executor_def=dg.in_process_executor,
    )


def lane_tags(lane: Lane, turn: Turn = "") -> dict[str, str]:
    """The tags of a live run of a lane, beside those of its job.

    >>> lane_tags(Lane()), lane_tags(Lane(2, 4)), lane_tags(Lane(2, 4), "next"), lane_tags(Lane(), "late")
    ({}, {'lane': 'live-2', 'lanes': '4'}, {'lane': 'live-2-next', 'lanes': '4'}, {'lane': 'live-late'})
    """
    parts = [LIVE, *([str(lane.index)] if lane.count > 1 else []), *([turn] if turn else [])]
    lanes = {LANES: str(lane.count)} if lane.count > 1 else {}
    return {LANE: "-".join(parts), **lanes} if parts[1:] else {}


def lane_of(run: dg.DagsterRun) -> Lane | None:
    """The lane of a live run, which must end soon; None for any other run."""
    name, *more = run.tags.get(LANE, "").split("-")
    if name != LIVE:
        return None
    return Lane(int(more[0]), int(run.tags.get(LANES, "1"))) if more and more[0].isdecimal() else Lane()


def turn_of(run: dg.DagsterRun) -> Turn:
    """Which of a lane's live runs it is."""
    last = run.tags.get(LANE, "").rpartition("-")[2]
    return "next" if last == "next" else "late" if last == "late" else ""


def hours(start_hour: str) -> dg.HourlyPartitionsDefinition:
    """Hours from `start_hour` ("2026-11-25-13:00", UTC) up to and including the running one."""
    return dg.HourlyPartitionsDefinition(start_date=start_hour, timezone="UTC", end_offset=1)
