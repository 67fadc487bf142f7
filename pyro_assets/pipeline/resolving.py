"""The functions of rules with `top_k`, found anew over past hours and saved where they are others than before.

Called by a schedule and by people, never by jobs: a job keeps the list of its first derivation, so that series do not
flap and a backfill gives what live gave (see `rule_records`). Which functions are largest is for `preview` to say.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pyro_assets.errors import StaleRule
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.rules import RuleEdit, RuleVersion
from pyro_assets.pipeline.preview import closed_hours, largest_functions, preview_rule
from pyro_assets.pipeline.rules import read_body, rule_body
from pyro_assets.series.config import SeriesConfig
from pyro_assets.storage.interface import ReadOnlyBucket

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
    return [one for one in ledger.rules() if one.name in wanted]


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
        [made] = ledger.edit_rules([RuleEdit(stored.name, body, stored.version)], author=author, why=why, now_ms=now_ms)
    except StaleRule as error:
        return Resolved(stored.name, tuple(names), came, went, found.jobs, found.jobs_read, problem=str(error))
    return Resolved(stored.name, tuple(names), came, went, found.jobs, found.jobs_read, made.version)


def _changes(came: Sequence[str], went: Sequence[str]) -> str:
    return "; ".join(f"{what} {', '.join(names)}" for what, names in (("new", came), ("gone", went)) if names)
