"""How rules are doing: series and samples of the last hour, what receivers got of them, what they cost per job.

Add a figure here that helps a person decide about a rule that is in force; what a rule would give is `preview`'s.
Costs are measured anew, on a recent job, because jobs know only what all rules cost together.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyro_assets.explore.scan import Asked, Extent
from pyro_assets.explore.series import RuleSeries, SeriesReader
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.derive import Engine, read_outputs
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.choice import function_rule_id, only
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.names import DIMENSIONS_ID
from pyro_assets.storage.keys import HOUR_MS

if TYPE_CHECKING:
    from pyro_assets.ledger.database import Ledger
    from pyro_assets.storage.interface import ReadOnlyBucket

#: Width of the steps in which the series of a rule are counted.
STEP_MS: Final = 120_000
#: A job to measure on is looked for in so many of the newest hours.
_LOOK_BACK_HOURS: Final = 48


@dataclass(slots=True)
class SentOfRule:
    """What receivers got of a rule in the last hour: samples, and when the newest were accepted."""

    samples: int = 0
    last_ms: int | None = None
    receivers: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Standings:
    """How all rules are doing, by the rule's id.

    Attributes:
        series: of the last hour; a rule that gave none is not there.
        sent: of the last hour.
        extent: which files that stands on.
    """

    series: Mapping[str, RuleSeries]
    sent: Mapping[str, SentOfRule]
    extent: Extent


def standings(archive: "ReadOnlyBucket", ledger: "Ledger", now_ms: int) -> Standings:
    """Look at the hour before a moment.

    Raises:
        LedgerUnavailable: nothing is known right now.
    """
    series, extent = SeriesReader(archive, ledger).rules(Asked(now_ms - HOUR_MS, now_ms + 1), STEP_MS)
    sent: dict[str, SentOfRule] = {}
    for receipt, _ in ReceiverRecords(ledger).closed_between(now_ms - HOUR_MS, now_ms):
        if receipt.accepted:
            for rule, (samples, _) in receipt.rules.items():
                one = sent.setdefault(rule, SentOfRule())
                one.samples += samples
                one.last_ms = max(one.last_ms or 0, receipt.first_ms or 0)
                one.receivers.add(receipt.receiver)
    return Standings(series, sent, extent)


def parts_of(config: SeriesConfig) -> dict[str, SeriesConfig]:
    """Every rule of a configuration alone, by its id in stored series."""
    ids = [rule.name for rule in config.rules if rule.enabled]
    ids += [function_rule_id(name) for name in config.functions]
    ids += [rule.id for rule in config.recording_rules]
    ids += [DIMENSIONS_ID] if config.dimensions.selectors else []
    return {rule_id: only(config, [rule_id]) for rule_id in ids}


def measure_costs(
    archive: "ReadOnlyBucket",
    ledger: "Ledger",
    parts: Mapping[str, SeriesConfig],
    *,
    wanted: Iterable[str],
    budget_seconds: float,
) -> dict[str, float]:
    """CPU milliseconds per job of rules alone, on the newest job, without reading and writing.

    Args:
        archive: where level-1 blocks are.
        ledger: knows the jobs.
        parts: see `parts_of`.
        wanted: ids of rules, in this order until the budget is over.
        budget_seconds: no further rule is measured after this time.

    Returns:
        Id -> milliseconds of those that were measured; none where there is no job.

    Raises:
        StorageError, BlockError: the job's blocks cannot be read.
    """
    from pyro_assets.series.derive import derive
    from pyro_assets.series.facts import JobInfo

    begun = time.monotonic()
    newest = (
        DueJobs(ledger).committed_jobs(hour) for hour in reversed(HourRecords(ledger).hours()[-_LOOK_BACK_HOURS:])
    )
    jobs = next((jobs for jobs in newest if jobs), None)
    if jobs is None:
        return {}
    job, _ = JobRecords(ledger).look_up(jobs[-1])
    if not job.outputs:
        return {}
    columns = read_outputs(archive, Engine(), job)
    info = JobInfo(job.id, job.shard, job.timestamp_ms, job.instance or "")
    found: dict[str, float] = {}
    for name in wanted:
        if found and time.monotonic() - begun > budget_seconds:
            break
        # Live jobs find the rules compiled and the label sets known, so the first time does not count.
        for _ in range(2):
            started = time.process_time()
            derive(columns, info, parts[name])
            found[name] = 1e3 * (time.process_time() - started)
    return found
