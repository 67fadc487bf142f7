"""Which of a job's function names are meant by sets of patterns, each distinct name looked at once.

Add what must be known of names here; what stacks make of them is in `stacks`.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pyro_assets.block.columns import I64, Bool, SymbolTables
from pyro_assets.compaction.arrays import numbered
from pyro_assets.rules.patterns import Family, Pattern, match_names, normalize
from pyro_assets.storage.shown import show_bytes

#: Families of names to fold, and patterns of which one must match.
NameSet = tuple[tuple[Family, ...], tuple[Pattern, ...]]
# So many names are remembered before only those of the last job are.
_REMEMBERED: Final = 50_000


@dataclass(slots=True)
class NameSets:
    """Names of a job.

    Attributes:
        code_of_line: int64[lines], the number of the line's function name, -1 without one.
        members: bool[sets, names].
        shown_code: int64[sets, names], the number of the name as it is shown, in `shown`; -1 where no set shows it.
        shown: distinct names as shown, sorted; folded and plain ones alike.
    """

    code_of_line: I64
    members: Bool
    shown_code: I64
    shown: list[str]


class NameMemory:
    """Which names sets of patterns mean, each name looked at once: the same come again in every job.

    Safe to share between threads.

    Args:
        sets: distinct pairs of families to fold and patterns of which one must match.
    """

    def __init__(self, sets: Sequence[NameSet]) -> None:
        self.sets = tuple(sets)
        self._lock = threading.Lock()
        # Per families: their sets, distinct patterns, and which of these each set has, end to end.
        self._of_families: list[tuple[tuple[Family, ...], list[int], list[Pattern], I64, I64]] = []
        for families in dict.fromkeys(families for families, _ in self.sets):
            own = [number for number, one in enumerate(self.sets) if one[0] == families]
            patterns, flat = numbered(pattern for number in own for pattern in self.sets[number][1])
            start = np.cumsum([0, *(len(self.sets[number][1]) for number in own)], dtype=np.int64)
            self._of_families.append((families, own, patterns, flat, start))
        self.exact, self.exact_members = _only_exact(self.sets)
        self.forget()

    def forget(self) -> None:
        """Forget all names."""
        with self._lock:
            self._known = pa.array([], type=pa.large_string()), np.zeros((len(self.sets), 0), dtype=np.bool_)

    def look_up(self, names: Any) -> Bool:
        """bool[sets, names], which sets mean which of distinct names."""
        with self._lock:
            known, members = self._known
        place = pc.index_in(names, options=pc.SetLookupOptions(value_set=known)).fill_null(-1).to_numpy()
        fresh = np.flatnonzero(place < 0)
        if len(fresh):
            added = names.take(pa.array(fresh))
            place = place.astype(np.int64)
            place[fresh] = np.arange(len(known), len(known) + len(fresh), dtype=np.int64)
            known, members = pa.concat_arrays([known, added]), np.concatenate([members, self._match(added)], axis=1)
            if len(known) > _REMEMBERED:
                known, members = names, members.take(place, axis=1)
                place = np.arange(len(names), dtype=np.int64)
            with self._lock:
                self._known = known, members
        found: Bool = members.take(place, axis=1)
        return found

    def _match(self, names: Any) -> Bool:
        members = np.zeros((len(self.sets), len(names)), dtype=np.bool_)
        for families, own, patterns, flat, start in self._of_families:
            found = match_names(normalize(names, families) if families else names, patterns)
            count, sets = np.diff(start), np.array(own)
            # A rule whose list of functions was not found yet has a set without patterns; most sets have one.
            members[sets[count == 1]] = found.take(flat.take(start[:-1][count == 1]), axis=0)
            for number in np.flatnonzero(count > 1).tolist():
                members[sets[number]] = found.take(flat[start[number] : start[number + 1]], axis=0).any(axis=0)
        return members


def find_names(symbols: SymbolTables, memory: NameMemory) -> NameSets:
    """Look all names up."""
    if memory.exact is not None:
        members, shown = memory.exact_members, memory.exact
        return NameSets(_find_exact(symbols, shown), members, np.where(members, np.arange(len(shown)), -1), shown)
    names, code_of_line = distinct_names(symbols)
    members = memory.look_up(names)
    families = [own for own, _ in memory.sets]
    # Only names that are meant somewhere are ever shown.
    used = {one: members[[own == one for own in families]].any(axis=0) for one in dict.fromkeys(families)}
    texts: dict[tuple[Family, ...], list[str]] = {}
    for one, mask in used.items():
        chosen = names.filter(pa.array(mask))
        texts[one] = (normalize(chosen, one) if one else chosen).to_pylist()
    shown = sorted({text for own in texts.values() for text in own})
    number_of = {text: number for number, text in enumerate(shown)}
    codes = {one: np.full(len(names), -1, dtype=np.int64) for one in used}
    for one, mask in used.items():
        codes[one][mask] = [number_of[text] for text in texts[one]]
    shown_code = np.array([codes[one] for one in families], dtype=np.int64).reshape(members.shape)
    return NameSets(code_of_line, members, shown_code, shown)


def _only_exact(sets: Sequence[NameSet]) -> tuple[list[str] | None, Bool]:
    """All names that sets mean where these are whole names, None where they are not; and bool[sets, names].

    Then nothing else need be looked for, and names are compared as the bytes that stand in blocks.
    """
    texts = [[pattern.exact or "" for pattern in patterns] for _, patterns in sets]
    # A backslash may stand for a byte that is no text; "" for a pattern that is none.
    if any(families for families, _ in sets) or any(not text or "\\" in text for own in texts for text in own):
        return None, np.zeros((len(sets), 0), dtype=np.bool_)
    names = sorted({text for own in texts for text in own})
    position = {name: number for number, name in enumerate(names)}
    members = np.zeros((len(sets), len(names)), dtype=np.bool_)
    for number, own in enumerate(texts):
        members[number, [position[text] for text in own]] = True
    return names, members


def _find_exact(symbols: SymbolTables, names: Sequence[str]) -> I64:
    """int64[lines], the position of the line's function name among some, -1 where it is another."""
    if not names or not len(symbols.strings):
        return np.full(len(symbols.line_function), -1, dtype=np.int64)
    options = pc.SetLookupOptions(value_set=pa.array([name.encode() for name in names], type=symbols.strings.type))
    of_string = pc.index_in(symbols.strings, options=options).fill_null(-1).to_numpy().astype(np.int64)
    # Dangling references are -1 and find the -1 at the end of each table.
    return np.append(np.append(of_string, -1).take(symbols.function_name), -1).take(symbols.line_function)


def distinct_names(symbols: SymbolTables) -> tuple[Any, I64]:
    """Distinct names of functions as text, and int64[lines], the number of each line's."""
    name = symbols.function_name
    is_used = np.zeros(len(symbols.strings), dtype=np.bool_)
    is_used[name.compress(name >= 0)] = True
    used = np.flatnonzero(is_used)
    encoded = as_text(symbols.strings.take(pa.array(used))).dictionary_encode()
    code_of_string = np.full(len(symbols.strings) + 1, -1, dtype=np.int64)
    code_of_string[used] = encoded.indices.to_numpy()
    # Dangling references are -1 and find the -1 at the end of each table.
    return encoded.dictionary, np.append(code_of_string.take(name), -1).take(symbols.line_function)


def as_text(strings: Any) -> Any:
    """Bytes as large_string, as `show_bytes` shows each of them."""
    with suppress(pa.ArrowInvalid):
        texts = strings.cast(pa.large_string())
        if not pc.any(pc.match_substring(texts, "\\x")).as_py():
            return texts
    return pa.array([show_bytes(text) for text in strings.to_pylist()], type=pa.large_string())


def leaf_codes(symbols: SymbolTables, code_of_line: I64) -> I64:
    """int64[nodes]: the name of each node's innermost frame, -1 where it has none.

    Args:
        symbols: the tables.
        code_of_line: int64[lines], the number of each line's name, -1 without one.
    """
    has_line = symbols.line_start[1:] > symbols.line_start[:-1]
    innermost = np.full(len(has_line) + 1, -1, dtype=np.int64)
    where = np.flatnonzero(has_line)
    innermost[where] = code_of_line.take(symbols.line_start.take(where))
    return innermost.take(symbols.node_location)
