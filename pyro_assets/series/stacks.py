"""Which stacks hold which of the things that rules ask for, for a whole job at once: one column, the class of a stack.

Stacks of one class hold the same things, and a thing stands once in a class however often it is on the stack, inlined
or not. Trees are walked in arrays, which is no work for queries; what classes are worth is added up in `engine`. All
functions of a tree, instead of a wanted few, are in `top`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I32, I64, BlockColumns, Bool, SymbolTables
from pyro_assets.compaction.arrays import distinct_rows, gather_ranges
from pyro_assets.series.compiled import CompiledRules, Questions
from pyro_assets.series.name_sets import NameSets, leaf_codes
from pyro_assets.series.stack_paths import Words, find_hits, find_paths, number_rows

_WORD = 64
# How many bits are spread to bytes at a time.
_BITS = 1 << 22
# So many functions are looked for at a time: bounds what a pattern that matches everything costs in memory.
_FEATURES = 1024


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

    def of_stacks(self, stack: I64) -> I64:
        """The class of each stack (rows of the nodes)."""
        return self.class_of_anchor.take(self.anchor.take(stack)).astype(np.int64)


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
        # NumPy finds what is set among bool five times as fast as among uint8, and divides int32 four times as fast.
        bits = np.unpackbits(distinct[begin : begin + rows], bitorder="little").view(np.bool_)
        holder, own = np.divmod(np.flatnonzero(bits).astype(np.int32), np.int32(width * 8))
        classes.append(holder.astype(np.int64) + begin)
        member.append(own.astype(np.int64))
    member_start = np.zeros(len(distinct) + 1, dtype=np.int64)
    np.cumsum(np.bincount(np.concatenate(classes), minlength=len(distinct)), out=member_start[1:])
    return of_row, member_start, np.concatenate(member)


@dataclass(slots=True)
class Held:
    """What stacks hold.

    Attributes:
        class_of_stack: int64[n], of each stack that was asked for, below `classes`.
        holder, feature: int64[p], pairs without repetition: a class, and what it holds (see Questions).
    """

    class_of_stack: I64
    classes: int
    holder: I64
    feature: I64

    def members(self, asked: Questions, most: int) -> "Iterator[Members]":
        """Which classes rules count, cut by classes into pieces of so many pairs of a stack and a rule's function.

        As joins this took 2.0 ms for 14,700 pairs of 200 rules, in arrays 0.6.
        """
        order = np.argsort(asked.asked, kind="stable")
        start = np.searchsorted(asked.asked.take(order), np.arange(asked.behind + asked.count + 1))
        asks = np.diff(start)
        weight = np.bincount(self.holder, weights=asks.take(self.feature), minlength=self.classes)
        weight *= np.bincount(self.class_of_stack, minlength=self.classes)
        piece = np.cumsum(weight) // most
        size = asked.behind + asked.count
        # Conditions are numbered behind what is counted.
        held = (self.holder * size + self.feature).compress(self.feature >= 2 * asked.count)
        for number in np.unique(piece.compress(weight > 0)).tolist():
            is_meant = (piece == number) & (weight > 0)
            own = is_meant.take(self.holder)
            begin, place = gather_ranges(start, self.feature.compress(own))
            of_class = np.repeat(self.holder.compress(own), np.diff(begin))
            at = order.take(place)
            rule, function = asked.rule.take(at), asked.function.take(at)
            excludes, needs = asked.excludes.take(rule), asked.needs.take(rule)
            counts = np.ones(len(rule), dtype=np.bool_)
            for condition, is_good in ((excludes, False), (needs, True)):
                where = np.flatnonzero(condition >= 0)
                has = np.isin(of_class.take(where) * size + condition.take(where), held)
                counts[where] &= has == is_good
            yield Members(of_class.compress(counts), rule.compress(counts), function.compress(counts), is_meant)


@dataclass(slots=True)
class Members:
    """Which classes of stacks which rules count as which functions: int64[n] each, without repetition.

    Attributes:
        of_class, rule, function: see Questions.
        is_meant: bool[classes], which classes these are all of.
    """

    of_class: I64
    rule: I64
    function: I64
    is_meant: Bool


def hold(columns: BlockColumns, rules: CompiledRules, names: NameSets, asked: Questions, stack: I64) -> Iterator[Held]:
    """Find what stacks hold, so many functions at a time: of each function all stacks come together.

    Args:
        columns: the trees.
        rules: the rules.
        names: the job's names for the rules' sets.
        asked: what is looked for.
        stack: int64[n], rows of the nodes.
    """
    symbols = columns.symbols
    beside = [one for one in (_leaves(symbols, names, asked), _paths(columns, rules, names, asked)) if one is not None]
    wanted = asked.wanted()
    for begin in range(0, max(len(wanted), 1), _FEATURES):
        some = wanted[begin : begin + _FEATURES]
        used = np.concatenate([asked.excluded + asked.behind, some])
        found = classify_locations(symbols, *_located(symbols, names, asked, [asked.excluded, some]), max(len(used), 1))
        parts = [_Part(found.of_stacks(stack), found.member_start, used.take(found.member))]
        parts += [one.of_stacks(stack) for one in beside]
        yield _together(parts)
        # The others were looked at.
        beside = [one for one in beside if one.is_condition]


@dataclass(slots=True)
class _Part:
    """One view of stacks: each has a code, and code i holds member[start[i]:start[i + 1]]."""

    code: I64
    start: I64
    member: I64
    is_condition: bool = False

    def of_stacks(self, stack: I64) -> "_Part":
        """From nodes to stacks."""
        return _Part(self.code.take(stack), self.start, self.member)


def _together(parts: Sequence[_Part]) -> Held:
    """Stacks that have equal codes in all views are one class."""
    if len(parts) == 1:
        [part] = parts
        classes = len(part.start) - 1
        holder = np.repeat(np.arange(classes, dtype=np.int64), np.diff(part.start))
        return Held(part.code, classes, holder, part.member)
    distinct = distinct_rows([part.code for part in parts])
    classes = len(distinct.first)
    holders, features = [], []
    for part in parts:
        begin, place = gather_ranges(part.start, part.code.take(distinct.first))
        holders.append(np.repeat(np.arange(classes, dtype=np.int64), np.diff(begin)))
        features.append(part.member.take(place))
    return Held(distinct.codes, classes, np.concatenate(holders), np.concatenate(features))


def _located(symbols: SymbolTables, names: NameSets, asked: Questions, lists: Sequence[I64]) -> tuple[I64, I64]:
    """Locations, ascending, and the positions, in lists of features end to end, of what their lines have."""
    pairs, before = [], 0
    for features in lists:
        number = np.full(asked.count + 1, -1, dtype=np.int64)
        number[features] = np.arange(before, before + len(features), dtype=np.int64)
        before += len(features)
        own = number.take(asked.feature)
        pairs.append((asked.name.compress(own >= 0), own.compress(own >= 0)))
    name, position = (np.concatenate(column) for column in zip(*pairs, strict=True))
    order = np.argsort(name, kind="stable")
    start = np.searchsorted(name.take(order), np.arange(names.members.shape[1] + 1))
    has = np.append(np.diff(start) > 0, False)
    line = np.flatnonzero(has.take(names.code_of_line))
    begin, place = gather_ranges(start, names.code_of_line.take(line))
    line = np.repeat(line, np.diff(begin))
    location = np.searchsorted(symbols.line_start, line, side="right") - 1
    return location, position.take(order).take(place)


def _leaves(symbols: SymbolTables, names: NameSets, asked: Questions) -> _Part | None:
    """Nodes by the name of their innermost frame, 0 without one that is asked for."""
    if not len(asked.self_name):
        return None
    order = np.argsort(asked.self_name, kind="stable")
    has, begin = np.unique(asked.self_name.take(order), return_index=True)
    code = np.zeros(names.members.shape[1] + 1, dtype=np.int64)
    code[has] = np.arange(1, len(has) + 1, dtype=np.int64)
    start = np.concatenate([[0], begin, [len(order)]]).astype(np.int64)
    return _Part(code.take(leaf_codes(symbols, names.code_of_line)), start, asked.self_feature.take(order))


def _paths(columns: BlockColumns, rules: CompiledRules, names: NameSets, asked: Questions) -> _Part | None:
    """Nodes by the paths that their stacks hold."""
    if not len(asked.paths):
        return None
    paths = tuple(rules.paths[path] for path in asked.paths.tolist())
    code, holds = find_paths(columns.symbols, names.code_of_line, names.members, paths)
    start = np.append(0, np.cumsum(holds.sum(axis=1))).astype(np.int64)
    return _Part(code, start, asked.path_feature(asked.paths).take(np.nonzero(holds)[1]), is_condition=True)
