"""Rules made ready for evaluation: what they select, and their distinct questions about the names on stacks.

Here, too:
* what is worked out of a configuration once and shared by all jobs that have it.

Everything here depends on the rules alone and is worked out once per configuration. What profiles make of it is in
`engine`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import numpy as np

from pyro_assets.rules.choice import KINDS
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.series.name_sets import NameMemory, NameSet
from pyro_assets.series.rules import Rule, RuleSet, rules_of

if TYPE_CHECKING:
    import polars as pl

T = TypeVar("T")


class Compiler(Generic[T]):
    """Works something out per configuration, and remembers it for the last few. Safe to share between threads.

    Args:
        compile_config: what is worked out.
        size: for so many configurations it is remembered.
    """

    def __init__(self, compile_config: Callable[[SeriesConfig], T], size: int) -> None:
        self._compile, self._size = compile_config, size
        # The hash of a large configuration takes longer than a small job; the same object is recognised without it.
        self._latest: tuple[SeriesConfig, T] | None = None
        self._known: OrderedDict[str, T] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, config: SeriesConfig) -> T:
        """What belongs to a configuration; equal ones share it."""
        latest = self._latest
        if latest is not None and latest[0] is config:
            return latest[1]
        key = config.hash
        with self._lock:
            if key not in self._known:
                self._known[key] = self._compile(config)
                while len(self._known) > self._size:
                    self._known.popitem(last=False)
            self._known.move_to_end(key)
            self._latest = (config, self._known[key])
            return self._known[key]

    def known(self) -> list[T]:
        """All that is remembered."""
        with self._lock:
            return list(self._known.values())


_T = TypeVar("_T", bound=Hashable)
_COMPILED: Final = 16
_UNLIMITED: Final = 2**63 - 1
#: A stack path: positions in `CompiledRules.sets`, -1 for gaps.
Path = tuple[int, ...]


class Numbers(Generic[_T]):
    """Distinct things in order of their first coming; -1 stands for none."""

    def __init__(self) -> None:
        self.all: list[_T] = []
        self._position: dict[_T, int] = {}

    def number(self, one: _T | None) -> int:
        """The position of one."""
        if one is None:
            return -1
        position = self._position.setdefault(one, len(self.all))
        if position == len(self.all):
            self.all.append(one)
        return position


class CompiledRules:
    """The rules of a configuration, sorted by kind and id.

    Attributes:
        rules: r rules.
        labels: their selectors and groupings.
        sets: distinct sets of names; names: which names they mean, as far as is known.
        wanted, excluded: int64[r], positions in `sets`, -1 for none.
        paths: distinct stack paths; path: int64[r], positions in `paths`, -1 for none.
        is_self, is_combined: bool[r].
        least_most: the least `max_series` of any rule.
    """

    def __init__(self, rules: Iterable[Rule], gauges: Iterable[str]) -> None:
        self.labels = RuleSet(rules, gauges)
        self.rules = self.labels.rules
        sets: Numbers[NameSet] = Numbers()
        paths: Numbers[Path] = Numbers()
        self.wanted = np.array([sets.number(rule.wanted) for rule in self.rules], dtype=np.int64)
        self.excluded = np.array([sets.number(rule.exclude) for rule in self.rules], dtype=np.int64)
        own = [tuple(sets.number(part) for part in rule.path) or None for rule in self.rules]
        self.path = np.array([paths.number(path) for path in own], dtype=np.int64)
        self.sets, self.paths = sets.all, paths.all
        self.names = NameMemory(self.sets)

        self.least_most = min((rule.max_series or _UNLIMITED for rule in self.rules), default=_UNLIMITED)
        self._of_kinds: dict[frozenset[str], pl.LazyFrame] = {}
        self.is_self = np.array([rule.is_self for rule in self.rules], dtype=np.bool_)
        self.is_combined = np.array([rule.is_combined for rule in self.rules], dtype=np.bool_)

    def any(self, flag: str) -> bool:
        """Whether some rule has a flag of `frame`."""
        return bool(self.frame[flag].any())

    def of_kinds(self, kinds: frozenset[str]) -> "pl.LazyFrame":
        """The rows of `frame` that are of some kinds, without what is asked of summed values only."""
        if kinds not in self._of_kinds:
            wanted = self.frame.filter(self.frame["kind"].is_in([KINDS.index(kind) for kind in KINDS if kind in kinds]))
            self._of_kinds[kinds] = wanted.drop("kind", "most", "yields", "keeps_largest").lazy()
        return self._of_kinds[kinds]

    @cached_property
    def frame(self) -> "pl.DataFrame":
        """What is known of r rules, one row each, in their order.

        Its columns are rule (the position), kind (that in KINDS), aggregate ("default" where the rule leaves it to the
        profile type), most (`max_series`), and flags: has_function, has_other, keeps_zero, is_native, is_scaled,
        yields, keeps_largest and is_each (profiles are looked at one by one).
        """
        import polars as pl

        rules = self.rules

        def flag(values: Iterable[Any]) -> pl.Series:
            return pl.Series(values, dtype=pl.Boolean)

        return pl.DataFrame(
            {
                "rule": pl.Series(range(len(rules)), dtype=pl.Int64),
                "kind": pl.Series(self.labels.kind_of_rule),
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


#: The rules of a configuration; equal configurations share one set, and with it what it remembers.
compile_rules: Final = Compiler(lambda config: CompiledRules(rules_of(config), config.gauges), _COMPILED)
