"""Which stacks hold given frames in a given order: `a;b;...;c`, caller to callee.

Frames of all stacks become one tree, in which inlined functions are frames of their own, and a path is followed in it
for all stacks at once. Which names belong to a part of a path is for `patterns` to say.
"""

from collections.abc import Sequence

import numpy as np

from pyro_assets.block.columns import I64, Bool, SymbolTables
from pyro_assets.block.symbols.paths import find_runs, path_sums


def find_paths(symbols: SymbolTables, code_of_line: I64, paths: Sequence[Sequence[Bool | None]]) -> list[Bool]:
    """Follow paths.

    Args:
        symbols: the tables; parents precede children.
        code_of_line: int64[lines], the number of each line's name, -1 without one.
        paths: per path its parts: bool[names], or None for a gap of any frames; neither first nor last is a gap.

    Returns:
        Per path bool[nodes]: whether the stack that ends at the node holds the path.
    """
    if not paths:
        return []
    code, parent, last = frames_of(symbols, code_of_line)
    runs = find_runs(parent)
    result = []
    for path in paths:
        # `reached`: a frame at or above which all parts before the last gap are; one more for "above the roots".
        reached: Bool | None = None
        current: Bool | None = None
        for part in path:
            if part is None:
                assert current is not None  # noqa: S101 - no path begins with a gap
                reached = path_sums(runs, current.astype(np.int64)) > 0
                current = None
                continue
            has_name = np.append(part, False).take(code)
            before = reached if current is None else current
            current = has_name if before is None else has_name & np.append(before, False).take(parent)
        assert current is not None  # noqa: S101 - nor ends with one
        found = path_sums(runs, current.astype(np.int64)) > 0
        result.append(np.append(found, False).take(last))
    return result


def frames_of(symbols: SymbolTables, code_of_line: I64) -> tuple[I64, I64, I64]:
    """The frames of all nodes, outermost first: int64[f] names, int64[f] parents (-1 above roots).

    Returns:
        These two, and int64[nodes], the innermost frame of each node, -1 for the roots, which have none.
    """
    location, node_parent = symbols.node_location, symbols.node_parent
    lines = np.append(np.diff(symbols.line_start), 0).take(location)
    count = np.where(node_parent < 0, 0, np.maximum(lines, 1))
    end = np.cumsum(count)
    begin = end - count
    last = np.where(count > 0, end - 1, -1)
    node = np.repeat(np.arange(len(count), dtype=np.int64), count)
    position = np.arange(len(node), dtype=np.int64)
    from_end = end.take(node) - 1 - position  # line 0 is the innermost
    line = np.append(symbols.line_start[:-1], 0).take(location).take(node) + from_end
    has_line = lines.take(node) > 0
    code = np.append(code_of_line, -1).take(np.where(has_line, line, -1))
    is_first = position == begin.take(node)
    parent = np.where(is_first, np.append(last, -1).take(node_parent.take(node)), position - 1)
    return code, parent, last
