"""What a rule would give over past hours, before anybody pays for it: series, functions, shares and cost.

Here, too:
* the functions of rules with `top_k`, found anew over past hours and saved where they are others than before.

Add a figure here when it helps a person decide about a rule; `tally` works it out. Nothing is stored or sent; of the
archive's level-1 blocks only what the rule can select is read, until the budget is over.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import StaleRule
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.in_force import read_body, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleEdit, RuleVersion, StoredRules
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms

_DEFAULT_HOURS: Final = 3


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """One function that a rule caught.

    Attributes:
        metric: names the profile type.
        total: of the function in the jobs read, without the rule's aggregation and unit.
        share: of the profile type's total in the profiles that the rule selects, 0 to 1; None where that is 0.
    """

    tenant: str
    metric: str
    function: str
    total: int
    share: float | None


@dataclass(frozen=True, slots=True)
class TypeShare:
    """What a rule counts of one profile type.

    Attributes:
        metric: names the profile type.
        total: of all samples that the rule counts, each once.
        whole: of the profiles that the rule selects; `share` is the part of it, 0 to 1, None where it is 0.
    """

    tenant: str
    metric: str
    total: int
    whole: int
    share: float | None


@dataclass(frozen=True, slots=True)
class PreviewSeries:
    """One series.

    Attributes:
        value: the largest of its samples.
    """

    tenant: str
    metric: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(slots=True)
class Preview:
    """What a rule gives.

    Attributes:
        hours: looked at.
        jobs, jobs_read: of these hours, and how many of them were read; the preview is exact when they are equal.
        series: distinct series in the jobs read: a lower bound where not all were.
        samples: samples of all jobs; an estimate where not all were read.
        first: the first series by tenant, metric and labels; largest: those with the largest samples.
        functions: what the rule caught, by falling total; names_seen: function names looked at, over all jobs read.
        shares: what it counts of each profile type, by falling total.
        points: (timestamp_ms, metric, sum over the job's series), for a plot.
        most_series: of one job and tenant, after limits; dropped_series: left out by limits.
        cost_ms: CPU time that the rule adds to a job that has something for it, without reading.
        seconds: what the preview took.
        bytes_read: of the archive; bytes_stored: of the blocks of the jobs read.
        folding: family -> examples (name, folded name) of names that it would fold.
        warnings: in words.
    """

    hours: tuple[str, ...]
    jobs: int = 0
    jobs_read: int = 0
    series: int = 0
    samples: int = 0
    first: list[PreviewSeries] = field(default_factory=list)
    largest: list[PreviewSeries] = field(default_factory=list)
    functions: list[FunctionShare] = field(default_factory=list)
    shares: list[TypeShare] = field(default_factory=list)
    names_seen: int = 0
    points: list[tuple[int, str, float]] = field(default_factory=list)
    most_series: int = 0
    dropped_series: int = 0
    cost_ms: float = 0.0
    seconds: float = 0.0
    bytes_read: int = 0
    bytes_stored: int = 0
    folding: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether every job was read."""
        return self.jobs == self.jobs_read


def closed_hours(ledger: Ledger, now_ms: int, count: int = _DEFAULT_HOURS) -> list[str]:
    """The last hours that are over and have sources."""
    return [hour for hour in HourRecords(ledger).hours() if hour_start_ms(hour) + HOUR_MS <= now_ms][-count:]


def preview_rule(
    archive: ReadOnlyBucket | Bucket,
    ledger: Ledger,
    rule: Rule,
    config: "SeriesConfig",
    hours: Sequence[str],
    *,
    tenants: Sequence[str] = (),
    budget_seconds: float = 10.0,
    whole_bytes: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Preview:
    """Evaluate a rule, saved or not, on the committed jobs of past hours.

    Args:
        archive: where level-1 blocks are.
        ledger: knows the jobs.
        rule: a valid rule; whether it is enabled has no say.
        config: for its gauges.
        hours: partition keys.
        tenants: only these; empty means those of the rule.
        budget_seconds: no further job is read after this time; at least one is.
        whole_bytes: blocks up to this size are read whole; by default as many as one request is worth.
        clock: seconds.

    Raises:
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    # What only previews need, imported where ticks and pages without one do not pay for it.
    from pyro_assets.explore.read import WHOLE_BYTES, NarrowReader, Wanted, batches, spread
    from pyro_assets.explore.tally import Tally
    from pyro_assets.rules.selectors import parse_selector

    begun = clock()
    found = Preview(tuple(hours))
    own_tenants = [name for name in tenants if not rule.tenants or name in rule.tenants] if tenants else rule.tenants
    wanted = Wanted(parse_selector(rule.selector), rule.profile_types, own_tenants, names=rule.has_functions)
    reader = NarrowReader(archive, whole_bytes=WHOLE_BYTES if whole_bytes is None else whole_bytes)
    tally = Tally(rule, config, lambda jobs: reader.read(jobs, wanted))
    jobs = ArchivedJobs(ledger).archived_jobs(hours)
    found.jobs = len(jobs)
    if tenants and not own_tenants:
        # None of these tenants is the rule's: there is nothing to read.
        found.jobs_read = len(jobs)
        jobs = []
    for some in batches(spread(jobs)):
        if found.jobs_read and clock() - begun > budget_seconds:
            break
        tally.add(some, found)
        found.jobs_read += len(some)
    tally.finish(found)
    found.bytes_read, found.bytes_stored = reader.bytes_read, reader.bytes_stored
    found.seconds = clock() - begun
    return found


def largest_functions(found: Preview, count: int) -> list[str]:
    """The functions with the largest shares of any profile type and tenant, for rules with `top_k`."""
    best: dict[str, tuple[float, int]] = {}
    for one in found.functions:
        best[one.function] = max(best.get(one.function, (0.0, 0)), (one.share or 0.0, one.total))
    return sorted(best, key=lambda name: (-best[name][0], -best[name][1], name))[:count]


#: Who makes the versions that nobody asked for.
SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What was found for a rule.

    Attributes:
        name: the rule's name.
        functions: the k largest, the largest first; empty where nothing was found, which changes nothing.
        came, went: compared with the list before.
        jobs, jobs_read: of the hours looked at, and how many of them were read.
        version: the new one, 0 where the list stays.
        problem: why it was not saved, "" where it was or need not be.
    """

    name: str
    functions: tuple[str, ...]
    came: tuple[str, ...] = ()
    went: tuple[str, ...] = ()
    jobs: int = 0
    jobs_read: int = 0
    version: int = 0
    problem: str = ""

    @property
    def summary(self) -> str:
        """One sentence for people.

        >>> Resolved("r", ("a", "b"), ("b",), ("c",), version=3).summary
        'r: version 3: new b; gone c'
        """
        if self.problem:
            return f"{self.name}: {self.problem}"
        if not self.version:
            return f"{self.name}: " + ("stays as it is" if self.functions else "no function found, stays as it is")
        return f"{self.name}: version {self.version}: {_changes(self.came, self.went)}"


def rules_to_resolve(ledger: Ledger, config: SeriesConfig) -> list[RuleVersion]:
    """The ledger's rules with `top_k` that are in force."""
    wanted = {rule.name for rule in config.rules if rule.enabled and rule.top_k is not None}
    return [one for one in StoredRules(ledger).rules() if one.name in wanted]


def resolve_rule(
    ledger: Ledger,
    archive: ReadOnlyBucket,
    stored: RuleVersion,
    config: SeriesConfig,
    now_ms: int,
    *,
    author: str,
    hours: Sequence[str] = (),
    budget_seconds: float = 60.0,
) -> Resolved:
    """Finds a rule's functions anew, and saves a new version only if they are others than before.

    Args:
        ledger: where the rule is.
        archive: where level-1 blocks are.
        stored: the newest version of a rule with `top_k`.
        config: for its gauges.
        now_ms: Unix milliseconds.
        author: of the new version.
        hours: looked at; those of the preview by default.
        budget_seconds: no further job is read after this time.

    Raises:
        ConfigError: what is stored is no rule.
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    rule = read_body(stored.name, stored.body)
    chosen = list(hours) or closed_hours(ledger, now_ms)
    whole = rule.model_copy(update={"top_k": None, "resolved": []})
    found = preview_rule(archive, ledger, whole, config, chosen, budget_seconds=budget_seconds)
    names = largest_functions(found, rule.top_k or 0)
    came = tuple(name for name in names if name not in rule.resolved)
    went = tuple(name for name in rule.resolved if name not in names)
    result = Resolved(stored.name, tuple(names), came, went, found.jobs, found.jobs_read)
    if not names or not (came or went):
        return result
    body = rule_body(rule.model_copy(update={"resolved": names}))
    why = f"resolved over {found.jobs_read} of {found.jobs} jobs of {', '.join(chosen)}: {_changes(came, went)}"
    try:
        [made] = StoredRules(ledger).edit_rules(
            [RuleEdit(stored.name, body, stored.version)], author=author, why=why, now_ms=now_ms
        )
    except StaleRule as error:
        return Resolved(stored.name, tuple(names), came, went, found.jobs, found.jobs_read, problem=str(error))
    return Resolved(stored.name, tuple(names), came, went, found.jobs, found.jobs_read, made.version)


def _changes(came: Sequence[str], went: Sequence[str]) -> str:
    return "; ".join(f"{what} {', '.join(names)}" for what, names in (("new", came), ("gone", went)) if names)
