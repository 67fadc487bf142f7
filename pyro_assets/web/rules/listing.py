"""All rules with their standing, as the page and the API list them.

Add a column here when a person decides by it. Where rules of both places meet is `rules.in_force`' business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from pyro_assets.errors import BlockError, ConfigError, StorageError
from pyro_assets.rules.choice import equivalent_rules, function_rule_id, rule_value
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.in_force import KnownRule, RulesInForce, merge_rules, rule_words
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import DIMENSIONS_ID
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web import words
from pyro_assets.web.site import Site

if TYPE_CHECKING:
    from pyro_assets.explore.standing import Standings

#: Facts of jobs -> what they mean for rules.
_LEFT_OUT: Final[Mapping[str, str]] = {
    "conflicting_series": "series were left out because another rule gives them already; give one another metric or "
    "labels",
    "dropped_series": "series were left out because their rule gives more than max_series; narrow it or raise that",
    "overflowing_series": "series were left out because their values do not fit 64 bits; look at the profiles' values",
    "other_units": "label sets were left out because their unit is no time; narrow profile_types of rules with a unit",
}
State = Literal["on", "off", "quiet", "problem"]


@dataclass(frozen=True, slots=True)
class ListedRule:
    """One rule.

    Attributes:
        name: of the rule; of other forms that of their equivalent.
        id: in stored series.
        state: quiet is a rule that is on and gave no series in the last hour.
        origin: "ledger", "file", or "file, other form".
        words: what it counts.
        rule: its fields; None where the ledger's text is no rule.
        version, author, at_ms: of the ledger's newest version.
        problem: why it gives no series.
        series, samples, last_ms: of the last hour.
        sent_ms, receivers: when the last samples were accepted in the last hour, and by whom.
        cost_ms: CPU time per job, None where it was not measured yet.
    """

    name: str
    id: str
    state: State
    origin: str
    words: str
    rule: Mapping[str, Any] | None
    version: int | None = None
    author: str = ""
    at_ms: int | None = None
    problem: str = ""
    series: int = 0
    samples: int = 0
    last_ms: int | None = None
    sent_ms: int | None = None
    receivers: tuple[str, ...] = ()
    cost_ms: float | None = None


@dataclass(frozen=True, slots=True)
class RuleList:
    """All rules.

    Attributes:
        hash: names the snapshot that runs would have now.
        rules: of the file in its order, of the ledger by name, then other forms.
        problems: why the file is refused, or figures are missing.
        notes: what jobs of the newest hour left out, and why.
        cut: why not all of the last hour's series were counted, "" where they were.
    """

    hash: str
    rules: tuple[ListedRule, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    cut: str


def rules_now(site: Site) -> tuple[RulesInForce, list[str]]:
    """The rules in force; with a file that is refused, those of the ledger, and why."""
    try:
        return site.rules(), []
    except ConfigError as error:
        return merge_rules(SeriesConfig(), StoredRules(site.app.ledger).rules()), [str(one) for one in error.problems]


def list_rules(site: Site, in_force: RulesInForce, problems: Sequence[str]) -> RuleList:
    """All rules with their standing; what is in force, and why not all of it, is what `rules_now` says.

    Raises:
        LedgerUnavailable: nothing is known right now.
    """
    problems = list(problems)
    now_ms = site.clock()
    standings = site.watch.standings(now_ms)
    costs: Mapping[str, float] = {}
    try:
        costs = site.watch.costs(in_force.config, now_ms)
    except (StorageError, BlockError) as error:
        problems.append(f"costs cannot be measured: {error}")
    done = listed(in_force, standings, costs)
    problems += standings.extent.unreadable[:3]
    hour, counts = site.watch.left_out(now_ms)
    notes = [f"hour {words.hour(hour)}: {counts[name]:,} {why}" for name, why in _LEFT_OUT.items() if counts.get(name)]
    return RuleList(in_force.config.hash, done, tuple(problems), tuple(notes), standings.extent.cut)


def listed(in_force: RulesInForce, standings: "Standings | None", costs: Mapping[str, float]) -> tuple[ListedRule, ...]:
    """Rules with their figures of the last hour, where there are any, and their costs by id, where measured."""
    rows = [*map(_native, in_force.known), *_others(in_force.config)]
    if standings is None:
        return tuple(rows)
    return tuple(_with_figures(row, standings, costs) for row in rows)


def _native(known: KnownRule) -> ListedRule:
    state: State = "problem" if known.problem else "on" if known.rule is not None and known.rule.enabled else "off"
    version = known.version
    return ListedRule(
        name=known.name,
        id=known.name,
        state=state,
        origin=known.origin,
        words="" if known.rule is None else rule_words(known.rule),
        rule=None if known.rule is None else rule_value(known.rule),
        version=None if version is None else version.version,
        author="" if version is None else version.author,
        at_ms=None if version is None else version.at_ms,
        problem=known.problem,
    )


def other_forms(config: SeriesConfig) -> list[tuple[str, Rule]]:
    """Short forms and recording rules of the file as rules, with their ids in stored series."""
    ids = [*map(function_rule_id, config.functions), *(rule.id for rule in config.recording_rules)]
    return list(zip(ids, equivalent_rules(config), strict=True))


def _others(config: SeriesConfig) -> list[ListedRule]:
    rows = [
        ListedRule(rule.name, rule_id, "on", "file, other form", rule_words(rule), rule_value(rule))
        for rule_id, rule in other_forms(config)
    ]
    if config.dimensions.selectors:
        words = f"whole profiles {' or '.join(config.dimensions.selectors)}"
        rows.append(ListedRule(DIMENSIONS_ID, DIMENSIONS_ID, "on", "file, dimensions", words, None))
    return rows


def _with_figures(row: ListedRule, standings: "Standings", costs: Mapping[str, float]) -> ListedRule:
    series, sent = standings.series.get(row.id), standings.sent.get(row.id)
    state: State = "quiet" if row.state == "on" and series is None else row.state
    return replace(
        row,
        state=state,
        series=series.series if series else 0,
        samples=series.samples if series else 0,
        last_ms=series.last_ms if series else None,
        sent_ms=sent.last_ms if sent else None,
        receivers=tuple(sorted(sent.receivers)) if sent else (),
        cost_ms=costs.get(row.id),
    )
