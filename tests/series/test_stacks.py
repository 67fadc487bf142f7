"""Which stacks contain which functions, against walking every stack."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from series_jobs import JOBS, NAMES, frame, job, profile, sample

from pyro_assets.block.columns import BlockColumns
from pyro_assets.series import exact, stacks
from pyro_assets.series.stacks import classify_stacks, find_functions, function_sums


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


def slow_sums(columns: BlockColumns, names: list[bytes], cell_of_row: list[int]) -> dict[tuple[int, int], int]:
    rows, sets = columns.rows, slow_sets(columns, names)
    sums: dict[tuple[int, int], int] = {}
    for row, cell in enumerate(cell_of_row):
        for position in range(int(rows.sample_start[row]), int(rows.sample_start[row + 1])):
            for function in sets[int(rows.stack[position])] if cell >= 0 else ():
                sums[cell, function] = sums.get((cell, function), 0) + int(rows.value[position])
    return {key: value for key, value in sums.items() if value}


def fast_sums(columns: BlockColumns, names: list[bytes], cells: list[int]) -> dict[tuple[int, int], int]:
    size = max([0, *cells]) + 1
    found = function_sums(columns.symbols, columns.rows, names, np.array(cells, dtype=np.int64), size)
    keys = list(zip(found.cell.tolist(), found.function.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    values = [high * 2**32 + low for high, low in zip(found.sums.high.tolist(), found.sums.low.tolist(), strict=True)]
    return dict(zip(keys, values, strict=True))


def check(columns: BlockColumns, names: list[bytes], cells: list[int] | None = None) -> None:
    classes = classify_stacks(columns.symbols, names)
    of_node = classes.of_stacks(np.arange(len(columns.symbols.node_parent), dtype=np.int64)).tolist()
    start, member = classes.member_start.tolist(), classes.member.tolist()
    assert [set(member[start[c] : start[c + 1]]) for c in of_node] == slow_sets(columns, names)
    assert all(sorted(set(part)) == part for part in (member[a:b] for a, b in itertools.pairwise(start)))
    cells = list(range(len(columns.rows.time_ns))) if cells is None else cells
    assert fast_sums(columns, names, cells) == slow_sums(columns, names, cells)


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
    assert fast_sums(columns, [b"f", b"g", b"h", b"main"], [0]) == {(0, 0): 11, (0, 1): 111, (0, 2): 10, (0, 3): 1111}


def test_frames_without_function_match_nothing():
    columns, _ = job(profile([sample(1, b"main", frame(), frame(None), frame(None, b"f"))]))
    assert fast_sums(columns, [b"f", b"main", b"other"], [0]) == {(0, 0): 1, (0, 1): 1}
    assert fast_sums(columns, [b"other"], [0]) == {}
    assert fast_sums(columns, [], [0]) == {}


def test_names_are_bytes_of_any_length():
    names = [b"\xff\xfe", b"com.example.Map<K, V>.get(java.lang.Object;[I)" + b"x," * 500, "größe".encode()]
    columns, _ = job(profile([sample(1, *names), sample(2, names[1] + b"x", names[0])]))
    assert fast_sums(columns, names, [0]) == {(0, 0): 3, (0, 1): 1, (0, 2): 1}


def test_only_the_name_counts():
    columns, _ = job(profile([sample(1, b"f")]))
    # The same strings serve as system and file names.
    assert fast_sums(columns, [b"f.go", b"/bin/app"], [0]) == {}


def test_dangling_strings_and_functions_match_nothing():
    columns, _ = job(profile([sample(1, b"f", b"g")]))
    columns.symbols.function_name[0] = -1
    assert fast_sums(columns, [b"f", b"g"], [0]) == {(0, 1): 1}
    columns.symbols.line_function[:] = -1
    assert fast_sums(columns, [b"f", b"g"], [0]) == {}


def test_no_rows_no_nodes():
    columns, _ = job()
    check(columns, [b"f"])
    assert [part.tolist() for part in find_functions(columns.symbols, [b"f"])] == [[], []]


@pytest.mark.parametrize("functions", [1, 63, 64, 65, 200])
def test_many_functions(functions: int):
    names = [b"f%d" % number for number in range(functions)]
    samples = [sample(number + 1, b"main", *names[number::7], *names[: number % 3]) for number in range(40)]
    columns, _ = job(profile(samples), profile(samples[5:], pod="b"), profile(samples[::3], service=b"till"))
    check(columns, names)
    check(columns, names, [0, -1, 0])


def test_a_deep_chain_of_recursion():
    columns, _ = job(profile([sample(1, *[b"f", b"g"] * 300), sample(2, *[b"f"] * 599), sample(4, b"g")]))
    check(columns, [b"f", b"g", b"h"])


@given(JOBS, st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 9), st.sampled_from([1, 3, 1 << 22]))
def test_any_job_as_by_walking(jobs, names, seed, bound):
    columns, _ = job(*jobs, seed=seed)
    cells = [(7 * row) % 3 - 1 for row in range(len(columns.rows.time_ns))]
    before = stacks._PAIRS, stacks._BITS, exact._TABLE
    stacks._PAIRS = stacks._BITS = exact._TABLE = bound
    try:
        check(columns, names, cells)
    finally:
        stacks._PAIRS, stacks._BITS, exact._TABLE = before
