"""Which of a job's function names are meant by sets of patterns, each distinct name looked at once.

Add what must be known of names here; what stacks make of them is in `evaluate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, Bool, SymbolTables
from pyro_assets.series.names import show_bytes
from pyro_assets.series.normalize import Family, normalize
from pyro_assets.series.patterns import Pattern, match_names


@dataclass(slots=True)
class NameSets:
    """Names of a job.

    Attributes:
        code_of_line: int64[lines], the number of the line's function name, -1 without one.
        members: per set bool[names].
        shown_code: per set int64[names], the number of the name as it is shown, in `shown`.
        shown: distinct names as shown, sorted; folded and plain ones alike.
    """

    code_of_line: I64
    members: list[Bool]
    shown_code: list[I64]
    shown: list[str]


def find_names(symbols: SymbolTables, sets: Sequence[tuple[tuple[Family, ...], tuple[Pattern, ...]]]) -> NameSets:
    """Look all names up.

    Args:
        symbols: the tables.
        sets: distinct pairs of families to fold and patterns of which one must match.
    """
    names, code_of_line = distinct_names(symbols)
    folded: dict[tuple[Family, ...], Any] = {}
    members: list[Bool] = [np.zeros(0, dtype=np.bool_)] * len(sets)
    for families in dict.fromkeys(families for families, _ in sets):
        folded[families] = normalize(names, families) if families else names
        own = [number for number, one in enumerate(sets) if one[0] == families]
        patterns = list(dict.fromkeys(pattern for number in own for pattern in sets[number][1]))
        found = dict(zip(patterns, match_names(folded[families], patterns), strict=True))
        for number in own:
            members[number] = np.logical_or.reduce([found[pattern] for pattern in sets[number][1]])
    # Only names that are meant somewhere are ever shown.
    used = {families: np.zeros(len(names), dtype=np.bool_) for families in folded}
    for (families, _), member in zip(sets, members, strict=True):
        used[families] |= member
    texts: dict[tuple[Family, ...], list[str]] = {
        families: folded[families].filter(pa.array(mask)).to_pylist() for families, mask in used.items()
    }
    shown = sorted({text for one in texts.values() for text in one})
    number_of = {text: number for number, text in enumerate(shown)}
    codes = {}
    for families, mask in used.items():
        code = np.full(len(names), -1, dtype=np.int64)
        code[mask] = [number_of[text] for text in texts[families]]
        codes[families] = code
    return NameSets(code_of_line, members, [codes[families] for families, _ in sets], shown)


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
    """Bytes as large_string; what is not UTF-8 is shown with escapes."""
    try:
        return strings.cast(pa.large_string())
    except pa.ArrowInvalid:
        return pa.array([show_bytes(text) for text in strings.to_pylist()], type=pa.large_string())


def leaf_names(symbols: SymbolTables, names: NameSets) -> I64:
    """int64[nodes]: the name of each node's innermost frame, -1 where it has none."""
    has_line = symbols.line_start[1:] > symbols.line_start[:-1]
    innermost = np.full(len(has_line) + 1, -1, dtype=np.int64)
    where = np.flatnonzero(has_line)
    innermost[where] = names.code_of_line.take(symbols.line_start.take(where))
    return innermost.take(symbols.node_location)
