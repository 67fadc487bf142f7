"""Which stacks contain which functions, against walking every stack."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.columns import BlockColumns
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import show_bytes
from pyro_assets.rules.patterns import Pattern
from pyro_assets.series import stacks
from pyro_assets.series.compiled import compile_rules, find_questions
from pyro_assets.series.name_sets import find_names
from pyro_assets.series.stacks import hold
from tests.support.series_jobs import JOBS, NAMES, frame, job, profile, sample


def slow_sets(columns: BlockColumns, names: list[bytes]) -> list[set[int]]:
    """Per node, the positions of the wanted functions on its stack."""
    symbols = columns.symbols
    strings = symbols.strings.to_pylist()
    result: list[set[int]] = []
    for parent, location in zip(symbols.node_parent.tolist(), symbols.node_location.tolist(), strict=True):
        found = set() if parent < 0 else set(result[parent])
        if location >= 0:
            for line in range(int(symbols.line_start[location]), int(symbols.line_start[location + 1])):
                function = int(symbols.line_function[line])
                name = int(symbols.function_name[function]) if function >= 0 else -1
                if name >= 0 and strings[name] in names:
                    found.add(names.index(strings[name]))
        result.append(found)
    return result


def held_sets(columns: BlockColumns, names: list[bytes]) -> list[set[int]]:
    """The same, as rules find them."""
    nodes = len(columns.symbols.node_parent)
    found: list[set[int]] = [set() for _ in range(nodes)]
    shown = [show_bytes(name) for name in names if name]
    if not shown:
        return found
    rules = compile_rules(SeriesConfig(rules=[Rule(name="r", functions=[Pattern(exact=name) for name in shown])]))
    sets = find_names(columns.symbols, rules.names)
    asked = find_questions(rules, sets, np.flatnonzero(rules.wanted >= 0))
    name_of = {
        feature: names.index(next(name for name in names if show_bytes(name) == sets.shown[function - 1]))
        for feature, function in zip(asked.asked.tolist(), asked.function.tolist(), strict=True)
    }
    for held in hold(columns, rules, sets, asked, np.arange(nodes, dtype=np.int64)):
        pairs = list(zip(held.holder.tolist(), held.feature.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs)
        of_class: list[set[int]] = [set() for _ in range(held.classes)]
        for holder, feature in pairs:
            of_class[holder].add(name_of[feature])
        for node, one in enumerate(held.class_of_stack.tolist()):
            assert not found[node] & of_class[one]
            found[node] |= of_class[one]
    return found


def sums(columns: BlockColumns, names: list[bytes]) -> dict[int, int]:
    """Values of all samples whose stack holds a name."""
    found: dict[int, int] = {}
    sets = held_sets(columns, names)
    for node, value in zip(columns.rows.stack.tolist(), columns.rows.value.tolist(), strict=True):
        for name in sets[node]:
            found[name] = found.get(name, 0) + value
    return found


def check(columns: BlockColumns, names: list[bytes]) -> None:
    wanted = {number for number, name in enumerate(names) if name}
    assert held_sets(columns, names) == [one & wanted for one in slow_sets(columns, names)]


def test_recursion_and_inlining_count_once():
    columns, _ = job(
        profile(
            [
                sample(1, b"main", b"f", b"g", b"f", b"f"),
                sample(10, b"main", frame(b"f", b"f", b"h"), b"g"),
                sample(100, frame(b"g", b"main"), b"g"),
                sample(1000, b"main"),
            ]
        )
    )
    assert sums(columns, [b"f", b"g", b"h", b"main"]) == {0: 11, 1: 111, 2: 10, 3: 1111}


def test_frames_without_function_match_nothing():
    columns, _ = job(profile([sample(1, b"main", frame(), frame(None), frame(None, b"f"))]))
    assert sums(columns, [b"f", b"main", b"other"]) == {0: 1, 1: 1}
    assert sums(columns, [b"other"]) == {}
    assert sums(columns, []) == {}


def test_names_are_bytes_of_any_length():
    names = [b"\xff\xfe", b"com.example.Map<K, V>.get(java.lang.Object;[I)" + b"x," * 500, "größe".encode()]
    columns, _ = job(profile([sample(1, *names), sample(2, names[1] + b"x", names[0])]))
    assert sums(columns, names) == {0: 3, 1: 1, 2: 1}


def test_only_the_name_counts():
    columns, _ = job(profile([sample(1, b"f")]))
    # The same strings serve as system and file names.
    assert sums(columns, [b"f.go", b"/bin/app"]) == {}


def test_dangling_strings_and_functions_match_nothing():
    columns, _ = job(profile([sample(1, b"f", b"g")]))
    columns.symbols.function_name[0] = -1
    assert sums(columns, [b"f", b"g"]) == {1: 1}
    columns.symbols.line_function[:] = -1
    assert sums(columns, [b"f", b"g"]) == {}


def test_no_rows_no_nodes():
    columns, _ = job()
    check(columns, [b"f"])


@pytest.mark.parametrize("functions", [1, 63, 64, 65, 200])
def test_many_functions(functions: int):
    names = [b"f%d" % number for number in range(functions)]
    samples = [sample(number + 1, b"main", *names[number::7], *names[: number % 3]) for number in range(40)]
    columns, _ = job(profile(samples), profile(samples[5:], pod="b"), profile(samples[::3], service=b"till"))
    check(columns, names)


def test_a_deep_chain_of_recursion():
    columns, _ = job(profile([sample(1, *[b"f", b"g"] * 300), sample(2, *[b"f"] * 599), sample(4, b"g")]))
    check(columns, [b"f", b"g", b"h"])


@given(JOBS, st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 9), st.sampled_from([1, 3, 1 << 22]))
def test_any_job_as_by_walking(jobs, names, seed, bound):
    columns, _ = job(*jobs, seed=seed)
    before = stacks._BITS, stacks._FEATURES
    stacks._BITS = stacks._FEATURES = bound
    try:
        check(columns, names)
    finally:
        stacks._BITS, stacks._FEATURES = before
