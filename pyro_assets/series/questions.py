"""What rules ask of stacks, numbered: equal questions of many rules are one feature that a stack holds or not.

Features are functions (one name, or several that count as one), functions as innermost frame, exclusions and paths.
Which stacks hold them is found by `stacks`.
"""

from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I64, Bool
from pyro_assets.compaction.arrays import gather_ranges
from pyro_assets.series.compiled import CompiledRules
from pyro_assets.series.name_sets import NameSets


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


def find_questions(rules: CompiledRules, names: NameSets, which: Bool) -> Questions:
    """Number what some rules ask, as far as the job has such names.

    Args:
        rules: r rules.
        names: the job's names for the rules' sets.
        which: bool[r].
    """
    asking = np.flatnonzero(which & (rules.wanted >= 0))
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
