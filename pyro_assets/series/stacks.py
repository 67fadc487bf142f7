"""Which stacks contain which of the wanted functions, for all functions and the whole job at once.

Names are looked up once per string of the symbol tables; a function counts once per stack, however often it stands on
it and whether inlined or not. Frames without a function match nothing. All functions of a tree, instead of a wanted
few, are in `top`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I32, I64, ProfileRows, SymbolTables
from pyro_assets.series.exact import Wide, join, number_keys, sum_by, sum_keys
from pyro_assets.series.hits import Words, find_hits, number_rows

_WORD = 64
# How many bits are spread to bytes at a time.
_BITS = 1 << 22
# How many (sum, function) pairs are expanded at a time.
_PAIRS = 1 << 22


@dataclass(slots=True)
class StackClasses:
    """Stacks that contain the same wanted functions are of one class.

    Attributes:
        anchor: int32[n], for each node of the trees the nearest node at or above it that can begin another class.
        class_of_anchor: int32[k].
        member_start: int64[c + 1], class i contains the functions member_start[i]:member_start[i + 1] of `member`.
        member: int64[p], positions in the list of wanted functions, ascending within a class.
    """

    anchor: I32
    class_of_anchor: I32
    member_start: I64
    member: I64

    def of_stacks(self, stack: I64) -> I32:
        """The class of each stack (rows of the nodes)."""
        return self.class_of_anchor.take(self.anchor.take(stack))


@dataclass(slots=True)
class FunctionSums:
    """Sums of the samples whose stack contains a function; sums that are 0 are left out.

    Attributes:
        cell: int64[k], the cell of the rows.
        function: int64[k], position in the list of wanted functions; (cell, function) is unique.
        sums: k exact sums.
    """

    cell: I64
    function: I64
    sums: Wide


def find_functions(symbols: SymbolTables, names: Sequence[bytes]) -> tuple[I64, I64]:
    """Locations that have a wanted function among their lines.

    Args:
        symbols: the tables.
        names: f distinct names, compared byte for byte.

    Returns:
        int64[h] locations, ascending, and int64[h] positions in `names`: one pair per line that matches.
    """
    import pyarrow.compute as pc

    nothing = np.zeros(0, dtype=np.int64)
    if not len(symbols.strings) or not names:
        return nothing, nothing
    options = pc.SetLookupOptions(value_set=pa.array(names, type=symbols.strings.type))
    wanted_of_string = pc.index_in(symbols.strings, options=options).fill_null(-1).to_numpy(zero_copy_only=False)
    # Dangling references are -1 and find the -1 at the end of each table.
    wanted_of_function = np.append(wanted_of_string, -1).take(symbols.function_name)
    wanted_of_line = np.append(wanted_of_function, -1).take(symbols.line_function)
    line = np.flatnonzero(wanted_of_line >= 0)
    location = np.searchsorted(symbols.line_start, line, side="right") - 1
    return location, wanted_of_line.take(line).astype(np.int64)


def classify_stacks(symbols: SymbolTables, names: Sequence[bytes]) -> StackClasses:
    """Sort all stacks into classes by the wanted functions that they contain.

    Only nodes that have a wanted function themselves (hits), or do not follow their parent directly, can differ from
    the node before them. These anchors form a smaller tree; in it the nearest hit above is found by pointer doubling,
    and the sets of functions (bits) are passed down the tree of hits alone in the same way.

    Args:
        symbols: the tables; parents precede children.
        names: f distinct names.
    """
    return classify_locations(symbols, *find_functions(symbols, names), len(names))


def classify_locations(symbols: SymbolTables, location: I64, function: I64, functions: int) -> StackClasses:
    """Sort all stacks into classes by what their locations have.

    Args:
        symbols: the tables; parents precede children.
        location: int64[h], ascending.
        function: int64[h], 0 <= function < functions: what the location has, once per pair or more often.
        functions: number of things to have, such as wanted functions.
    """
    nodes = len(symbols.node_parent)
    if not len(location):
        zero = np.zeros(1, dtype=np.int32)
        empty = np.zeros(0, dtype=np.int64)
        return StackClasses(np.zeros(nodes, dtype=np.int32), zero, np.zeros(2, dtype=np.int64), empty)
    slots, bits = _bits_of_locations(location, function, functions)
    slot_of_location = np.full(len(symbols.line_start), -1, dtype=np.int32)  # one more than locations: for -1
    slot_of_location[slots] = np.arange(len(slots), dtype=np.int32)
    slot_of_node = slot_of_location.take(symbols.node_location)
    is_hit = slot_of_node >= 0
    tree = find_hits(symbols.node_parent, is_hit)
    class_of_hit, member_start, member = _number(tree.pass_down(bits.take(slot_of_node.compress(is_hit), axis=0)))
    return StackClasses(tree.anchor, class_of_hit.take(tree.hit_of_anchor), member_start, member)


def _bits_of_locations(location: I64, function: I64, functions: int) -> tuple[I64, Words]:
    """Distinct locations, ascending, and uint64[h, w]: bit f of a row tells that the location has function f."""
    begin = np.flatnonzero(np.append(True, location[1:] != location[:-1]))
    words = -(-functions // _WORD)
    each = np.zeros((len(location), words), dtype=np.uint64)
    each[np.arange(len(location)), function // _WORD] = np.uint64(1) << (function % _WORD).astype(np.uint64)
    return location.take(begin), np.bitwise_or.reduceat(each, begin, axis=0)


def _number(held: Words) -> tuple[I32, I64, I64]:
    """Equal sets get one class: int32[h + 1], and the members of each class (see StackClasses)."""
    of_row, distinct = number_rows(held)
    width = distinct.shape[1]
    classes, member = [], []
    rows = max(1, _BITS // (width * 8))
    for begin in range(0, len(distinct), rows):
        bit = np.flatnonzero(np.unpackbits(distinct[begin : begin + rows], bitorder="little"))
        classes.append(bit // (width * 8) + begin)
        member.append(bit % (width * 8))
    member_start = np.zeros(len(distinct) + 1, dtype=np.int64)
    np.cumsum(np.bincount(np.concatenate(classes), minlength=len(distinct)), out=member_start[1:])
    return of_row, member_start, np.concatenate(member)


def function_sums(
    symbols: SymbolTables, rows: ProfileRows, names: Sequence[bytes], cell_of_row: I64, cells: int
) -> FunctionSums:
    """Sum, per cell of rows and per function, the values of the samples whose stack contains the function.

    The cost hardly depends on the number of functions: samples are summed once per cell and class of stacks.

    Args:
        symbols: the tables that the stacks of the rows refer to.
        rows: the profiles.
        names: f distinct function names.
        cell_of_row: int64[n], which cell a row adds to; -1 leaves it out.
        cells: number of cells.
    """
    classes = classify_stacks(symbols, names)
    class_size = np.diff(classes.member_start)
    if not class_size.any():
        empty = np.zeros(0, dtype=np.int64)
        return FunctionSums(empty, empty, Wide(empty, empty))
    cell = np.repeat(cell_of_row, np.diff(rows.sample_start))
    stack, value = rows.stack, rows.value
    if len(cell_of_row) and cell_of_row.min() < 0:
        chosen = np.flatnonzero(cell >= 0)
        cell, stack, value = cell.take(chosen), stack.take(chosen), value.take(chosen)
    code = classes.of_stacks(stack)
    matching = np.flatnonzero((class_size > 0).take(code))
    key = cell.take(matching) * len(class_size) + code.take(matching)
    keys, number = number_keys(key, cells * len(class_size))
    sums = sum_by(number, value.take(matching), len(keys))
    return _expand(keys // len(class_size), keys % len(class_size), sums, classes, len(names), cells)


def _expand(cell: I64, code: I64, sums: Wide, classes: StackClasses, functions: int, cells: int) -> FunctionSums:
    """From sums per (cell, class) to sums per (cell, function)."""
    count = np.diff(classes.member_start).take(code)
    before = np.cumsum(count) - count
    empty = np.zeros(0, dtype=np.int64)
    keys, parts = [empty], [Wide(empty, empty)]
    begin = 0
    while begin < len(cell):
        # At least one, at most about _PAIRS pairs at a time, whatever hostile trees look like.
        end = max(begin + 1, int(np.searchsorted(before, before[begin] + _PAIRS)))
        some, first = count[begin:end], classes.member_start.take(code[begin:end])
        owner = np.repeat(np.arange(begin, end, dtype=np.int64), some)
        place = np.arange(len(owner), dtype=np.int64) + np.repeat(first - (before[begin:end] - before[begin]), some)
        pair = cell.take(owner) * functions + classes.member.take(place)
        key, part = sum_keys(pair, sums.take(owner), cells * functions)
        keys.append(key)
        parts.append(part)
        begin = end
    key, every = sum_keys(np.concatenate(keys), join(parts), cells * functions)
    keep = every.nonzero()
    return FunctionSums(key.take(keep) // functions, key.take(keep) % functions, every.take(keep))
