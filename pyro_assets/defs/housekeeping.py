"""The sensor `housekeeping`: check hours that live runs worked on, seal hours that are over, prune what is old.

It decides when; how an hour is sealed and a run deleted stands in `retention`. Add what must happen every few minutes
beside the live path.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from pyro_assets.defs.checks import STEP, is_closed
from pyro_assets.defs.jobs import LANE, LIVE, AssetJob
from pyro_assets.defs.retention import hours_of, materialised, prune, seal
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from resources.pipeline import PipelineResource, RetentionResource

INTERVAL_SECONDS: Final = 60
#: Live hours are checked so often; each job is compared once, whenever that is.
_VERIFY_MS: Final = 300_000
#: A tick must end within a minute, so it looks at so many at most.
_HOURS_A_TICK: Final = 10
_RUNS_A_TICK: Final = 1000


@dataclass(frozen=True, slots=True)
class Kept:
    """What the sensor remembers between ticks, in its cursor.

    Attributes:
        closed: the last hour that was over and has been sealed if it had anything.
        verified_ms: when hours of live runs were last sent to the checks, Unix ms.
    """

    closed: str
    verified_ms: int

    @classmethod
    def from_cursor(cls, cursor: str | None, now_ms: int) -> "Kept":
        """Read a cursor; without one, the running hour is the first that will be sealed.

        >>> Kept.from_cursor(None, 1795597200000)
        Kept(closed='2026-11-25-08:00', verified_ms=0)
        """
        try:
            state = json.loads(cursor or "")
            return cls(hour_of(hour_start_ms(state["closed"])), int(state["verified_ms"]))
        except (ValueError, KeyError, TypeError):
            return cls(hour_of(now_ms - HOUR_MS), 0)

    def to_cursor(self) -> str:
        """As text for Dagster."""
        return json.dumps({"closed": self.closed, "verified_ms": self.verified_ms})


def housekeeping_sensor(job: AssetJob) -> dg.SensorDefinition:
    """The sensor, for the job of the checks."""

    @dg.sensor(
        name="housekeeping",
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Has the hours of live runs checked every five minutes, seals hours that are over with their "
        "final figures, and deletes Dagster's records of live runs after PYRO_ASSETS_KEEP_RUNS_MINUTES (of failed "
        "ones after seven days). Blocks, series and the ledger are not touched.",
    )
    def housekeeping(
        context: dg.SensorEvaluationContext, pipeline: PipelineResource, retention: RetentionResource
    ) -> dg.SensorResult:
        """One tick."""
        with pipeline.open() as opened:
            keep = timedelta(minutes=retention.keep_runs_minutes)
            settle_ms = pipeline.settings().settle_ms
            return keep_house(context.instance, opened, context.cursor, datetime.now(UTC), keep, settle_ms)

    return housekeeping


def keep_house(
    instance: dg.DagsterInstance,
    opened: Pipeline,
    cursor: str | None,
    now: datetime,
    keep: timedelta,
    settle_ms: int,
) -> dg.SensorResult:
    """What a tick does and asks for.

    Args:
        instance: Dagster's records.
        opened: what the hours are asked of.
        cursor: of the tick before.
        now: with its time zone.
        keep: how long live runs are kept; nothing: for ever.
        settle_ms: an hour is over so long after its end.
    """
    now_ms = round(now.timestamp() * 1000)
    kept = Kept.from_cursor(cursor, now_ms)
    closed, over = newly_closed(kept.closed, now_ms, settle_ms)
    sealed = [hour for hour in over if seal(instance, opened, hour)]
    verified_ms, checked = kept.verified_ms, set(sealed)
    if now_ms - verified_ms >= _VERIFY_MS:
        checked |= set(hours_of_live_runs(instance, datetime.fromtimestamp(verified_ms / 1000, UTC)))
        verified_ms = now_ms if checked else verified_ms
    # After the runs were asked for their hours.
    pruned = prune(instance, opened, now, keep) if keep else 0
    cursor = Kept(closed, verified_ms).to_cursor()
    if checked:
        config = {"ops": {STEP: {"config": {"hours": sorted(checked)}}}}
        return dg.SensorResult(run_requests=[dg.RunRequest(run_config=config)], cursor=cursor)
    done = f"sealed {len(sealed)} hours, pruned {pruned} live runs"
    return dg.SensorResult(skip_reason=done if sealed or pruned else "nothing to check, seal or prune", cursor=cursor)


def newly_closed(closed: str, now_ms: int, settle_ms: int) -> tuple[str, list[str]]:
    """The hours that became over since `closed`, at most ten, and the last of them (or `closed`).

    >>> newly_closed("2026-11-25-08:00", 1795597200000 + 4_000_000, 120_000)
    ('2026-11-25-09:00', ['2026-11-25-09:00'])
    """
    first = hour_start_ms(closed) + HOUR_MS
    hours = [hour_of(first + position * HOUR_MS) for position in range(_HOURS_A_TICK)]
    over = [hour for hour in hours if is_closed(hour, now_ms, settle_ms)]
    return (over[-1] if over else closed), over


def hours_of_live_runs(instance: dg.DagsterInstance, since: datetime) -> Iterable[str]:
    """Hours that live runs worked on which ended since then."""
    ended = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
    records = instance.get_run_records(
        dg.RunsFilter(tags={LANE: LIVE}, statuses=ended, updated_after=since), limit=_RUNS_A_TICK
    )
    hours = {hour for record in records for hour in hours_of(record.dagster_run)}
    return (hour for hour in hours if materialised(instance, hour))
