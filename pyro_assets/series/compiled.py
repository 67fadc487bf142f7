"""Rules made ready for evaluation: what they select, and their distinct questions about the names on stacks.

Here, too:
* what is worked out of a configuration once and shared by all jobs that have it;
* what rules ask of the stacks of a job, numbered: equal questions of many rules are one feature that a stack holds or
  not. Features are functions (one name, or several that count as one), functions as innermost frame, exclusions, paths.

What profiles make of rules is in `engine`, which stacks hold which features in `stacks`.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64
from pyro_assets.compaction.arrays import gather_ranges, numbered
from pyro_assets.rules.choice import KINDS
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.series.label_sets import LabelMemory
from pyro_assets.series.name_sets import NameMemory, NameSets
from pyro_assets.series.rules import SeriesRule, rules_of

_COMPILED: Final = 16
_UNLIMITED: Final = 2**63 - 1


class CompiledRules:
    """The rules of a configuration, sorted by kind and id.

    Attributes:
        rules: r rules.
        labels: what label sets mean to their distinct selections; selection: int64[r], positions among these.
        sets: distinct sets of names; names: which names they mean, as far as is known.
        wanted, excluded: int64[r], positions in `sets`, -1 for none.
        paths: distinct stack paths, of positions in `sets` and -1 for gaps; path: int64[r], their numbers, -1 for none.
        is_self, is_combined: bool[r].
        least_most: the least `max_series` of any rule.
    """

    def __init__(self, rules: Iterable[SeriesRule], gauges: Iterable[str]) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: (KINDS.index(rule.kind), rule.id)))
        selections, self.selection = numbered(rule.selection for rule in self.rules)
        self.labels = LabelMemory(selections, gauges)
        wanted, excluded = [rule.wanted for rule in self.rules], [rule.exclude for rule in self.rules]
        self.sets, number = numbered([*wanted, *excluded, *(part for rule in self.rules for part in rule.path)])
        self.wanted, self.excluded, parts = np.split(number, [len(wanted), 2 * len(wanted)])
        part = iter(parts.tolist())
        self.paths, self.path = numbered(tuple(next(part) for _ in rule.path) or None for rule in self.rules)
        self.names = NameMemory(self.sets)
        self.least_most = min((rule.max_series or _UNLIMITED for rule in self.rules), default=_UNLIMITED)
        self._of_kinds: dict[frozenset[str], pl.DataFrame] = {}
        self.is_self = np.array([rule.is_self for rule in self.rules], dtype=np.bool_)
        self.is_combined = np.array([rule.is_combined for rule in self.rules], dtype=np.bool_)

    def any(self, flag: str) -> bool:
        """Whether some rule has a flag of `frame`."""
        return bool(self.frame[flag].any())

    def of_kinds(self, kinds: frozenset[str]) -> pl.DataFrame:
        """The rows of `frame` that are of some kinds."""
        if kinds not in self._of_kinds:
            wanted = [KINDS.index(kind) for kind in KINDS if kind in kinds]
            self._of_kinds[kinds] = self.frame.filter(self.frame["kind"].is_in(wanted))
        return self._of_kinds[kinds]

    @cached_property
    def frame(self) -> pl.DataFrame:
        """What is known of r rules, one row each, in their order.

        Its columns are rule (the position), selection (that among the distinct ones), kind (that in KINDS), aggregate
        ("default" where the rule leaves it to the profile type), most (`max_series`), and flags: has_function,
        has_other, keeps_zero, is_native, is_scaled, yields, keeps_largest and is_each (profiles one by one).
        """
        rules = self.rules

        def flag(values: Iterable[Any]) -> pl.Series:
            return pl.Series(values, dtype=pl.Boolean)

        return pl.DataFrame(
            {
                "rule": pl.Series(range(len(rules)), dtype=pl.Int64),
                "selection": self.selection,
                "kind": pl.Series([KINDS.index(rule.kind) for rule in rules], dtype=pl.Int64),
                "aggregate": pl.Series([rule.aggregate or "default" for rule in rules], dtype=pl.String),
                "most": pl.Series([rule.max_series or _UNLIMITED for rule in rules], dtype=pl.Int64),
                "has_function": flag(rule.wanted is not None for rule in rules),
                "has_other": flag(rule.has_other for rule in rules),
                "keeps_zero": flag(rule.keeps_zero for rule in rules),
                "is_native": flag(rule.is_native for rule in rules),
                "is_scaled": flag(rule.is_scaled for rule in rules),
                "yields": flag(rule.yields for rule in rules),
                "keeps_largest": flag(rule.overflow == "keep_largest" for rule in rules),
                "is_each": flag(rule.aggregate in ("mean", "max", "min", "count") for rule in rules),
            }
        )

    def forget(self) -> None:
        """Forget all label sets and names that were seen."""
        self.labels.forget()
        self.names.forget()


class Compiler:
    """Compiles rules once per configuration, and remembers those of the last few. Safe to share between threads."""

    def __init__(self) -> None:
        # The hash of a large configuration takes longer than a small job; the same object is recognised without it.
        self._latest: tuple[SeriesConfig, CompiledRules] | None = None
        self._known: OrderedDict[str, CompiledRules] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, config: SeriesConfig) -> CompiledRules:
        """The rules of a configuration; equal ones share them, and with them what they remember."""
        latest = self._latest
        if latest is not None and latest[0] is config:
            return latest[1]
        key = config.hash
        with self._lock:
            if key not in self._known:
                self._known[key] = CompiledRules(rules_of(config), config.gauges)
                while len(self._known) > _COMPILED:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            self._latest = (config, self._known[key])
            return self._known[key]

    def known(self) -> list[CompiledRules]:
        """All that are remembered."""
        with self._lock:
            return list(self._known.values())


compile_rules: Final = Compiler()


@dataclass(slots=True)
class Questions:
    """What is asked.

    Attributes:
        count: number of features that are names; those of innermost frames, of paths and of exclusions come behind.
        name, feature: int64[p], pairs: names and what they count as, anywhere on a stack.
        self_name, self_feature: int64[q], the same of innermost frames.
        rule, function, asked: int64[a]: a rule counts a stack that holds the feature `asked` as the function (a number
            of NameSets.shown, and 1 more; 0 where the rule combines names).
        excludes, needs: int64[r], the feature that a rule's stacks must not, or must, hold; -1 for none.
        excluded: distinct features of names that some rule excludes; behind: what makes exclusions of them.
        paths: distinct paths that are asked for.
    """

    count: int
    name: I64
    feature: I64
    self_name: I64
    self_feature: I64
    rule: I64
    function: I64
    asked: I64
    excludes: I64
    needs: I64
    excluded: I64
    behind: int
    paths: I64

    def wanted(self) -> I64:
        """Features of names that some rule asks for, anywhere on a stack."""
        return np.unique(self.asked[self.asked < self.count])

    def path_feature(self, path: I64) -> I64:
        """Features of paths."""
        return 2 * self.count + path


def find_questions(rules: CompiledRules, names: NameSets, asking: I64) -> Questions:
    """Number what some rules ask, as far as the job has such names.

    Args:
        rules: r rules.
        names: the job's names for the rules' sets.
        asking: positions of rules that ask for functions, ascending.
    """
    excluding = asking[rules.excluded.take(asking) >= 0]
    # A key is a set of names, and whether they count as one.
    key_of_rule = 2 * rules.wanted.take(asking) + rules.is_combined.take(asking)
    key_of_exclusion = 2 * rules.excluded.take(excluding) + 1
    keys = np.unique(np.concatenate([key_of_rule, key_of_exclusion]))
    size, shown = names.members.shape[1], len(names.shown) + 1
    place = np.flatnonzero(names.members.take(keys >> 1, axis=0))
    key, name = place // max(size, 1), place % max(size, 1)
    function = np.where(keys.take(key) & 1, 0, names.shown_code[keys.take(key) >> 1, name] + 1)
    # A group is what one key counts as one function. Groups of one name are the same feature for all keys.
    groups, group = np.unique(key * shown + function, return_inverse=True)
    count = np.bincount(group, minlength=len(groups))
    only_name = np.zeros(len(groups), dtype=np.int64)
    only_name[group] = name
    alike, feature_of_group = np.unique(
        np.where(count == 1, only_name, size + np.arange(len(groups))), return_inverse=True
    )
    speaker = np.zeros(len(alike), dtype=np.int64)
    speaker[feature_of_group] = np.arange(len(groups), dtype=np.int64)
    speaks = speaker.take(feature_of_group.take(group)) == group
    pair_name, pair_feature = name.compress(speaks), feature_of_group.take(group.compress(speaks))
    start = np.searchsorted(groups // shown, np.arange(len(keys) + 1))
    begin, asked = gather_ranges(start, np.searchsorted(keys, key_of_rule))
    rule = np.repeat(asking, np.diff(begin))
    is_self = rules.is_self.take(rule)
    feature = feature_of_group.take(asked)
    excludes = np.full(len(rules.rules), -1, dtype=np.int64)
    at = start.take(np.searchsorted(keys, key_of_exclusion))
    exists = start.take(np.searchsorted(keys, key_of_exclusion) + 1) > at
    behind = 2 * len(alike) + len(rules.paths)
    excluded = feature_of_group.take(at[exists])
    excludes[excluding[exists]] = excluded + behind
    of_self = np.isin(pair_feature, feature[is_self])
    path = rules.path.take(asking)
    needs = np.full(len(rules.rules), -1, dtype=np.int64)
    needs[asking] = np.where(path >= 0, 2 * len(alike) + path, -1)
    return Questions(
        len(alike),
        pair_name,
        pair_feature,
        pair_name.compress(of_self),
        pair_feature.compress(of_self) + len(alike),
        rule,
        groups.take(asked) % shown,
        feature + len(alike) * is_self,
        excludes,
        needs,
        np.unique(excluded),
        behind,
        np.unique(path[path >= 0]),
    )
