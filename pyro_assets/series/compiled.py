"""Rules made ready for evaluation: what they select, and their distinct questions about the names on stacks.

Here, too:
* what is worked out of a configuration once and shared by all jobs that have it.

Everything here depends on the rules alone and is worked out once per configuration. What profiles make of it is in
`engine`.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

import numpy as np

from pyro_assets.rules.config import SeriesConfig
from pyro_assets.series.name_sets import NameMemory, NameSet
from pyro_assets.series.rules import Rule, RuleSet, rules_of

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
        is_self, is_combined, has_other, keeps_zero, is_native, is_scaled: bool[r].
        is_over_profiles: bool[r]: profiles are looked at one by one.
        most: int64[r], `max_series`.
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

        def flags(name: str) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
            return np.array([getattr(rule, name) for rule in self.rules], dtype=np.bool_)

        self.is_self, self.is_combined, self.has_other = flags("is_self"), flags("is_combined"), flags("has_other")
        self.keeps_zero, self.is_native, self.is_scaled = flags("keeps_zero"), flags("is_native"), flags("is_scaled")
        self.is_over_profiles = self.labels.is_over_profiles
        unlimited = np.iinfo(np.int64).max
        self.most = np.array([rule.max_series or unlimited for rule in self.rules], dtype=np.int64)

    def forget(self) -> None:
        """Forget all label sets and names that were seen."""
        self.labels.forget()
        self.names.forget()


#: The rules of a configuration; equal configurations share one set, and with it what it remembers.
compile_rules: Final = Compiler(lambda config: CompiledRules(rules_of(config), config.gauges), _COMPILED)
