"""Views of call trees, against dictionaries filled by walking every path; values over time, against plain sums."""

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given

from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.call_tree import CallTree, TreeBuilder
from pyro_assets.explore.over_time import Timeline
from pyro_assets.explore.views import WHOLE, callees, callers, compare, folded
from tests.support.series_jobs import JOBS, frame, job, profile, sample

Path = tuple[str, ...]


def tree_of(profiles: Any) -> CallTree:
    columns, _ = job(*profiles)
    builder = TreeBuilder()
    builder.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
    return builder.finish()


def paths(tree: CallTree) -> list[Path]:
    found: list[Path] = [()]
    for node in range(1, len(tree.parent)):
        found.append((*found[int(tree.parent[node])], tree.text(node)))
    return found


def values(tree: CallTree) -> dict[Path, tuple[int, int]]:
    return {path: (int(tree.own[node]), int(tree.total[node])) for node, path in enumerate(paths(tree))}


@given(JOBS)
def test_callers_and_callees_of_every_function(profiles: Any):
    try:
        tree = tree_of(profiles)
    except ValueOverflow:
        return
    stacks = [(path, own) for path, (own, _) in values(tree).items()]
    totals = dict(zip(tree.names, tree.functions()[1].tolist(), strict=True))
    for name in tree.names:
        above: Counter[Path] = Counter()
        below: Counter[Path] = Counter()
        for path, own in stacks:
            if name in path:
                first = path.index(name)
                up, down = path[:first][::-1], path[first + 1 :]
                for length in range(len(up) + 1):
                    above[up[:length]] += own
                for length in range(len(down) + 1):
                    below[down[:length]] += own
        assert {path: total for path, (_, total) in values(callers(tree, name)).items()} == dict(above)
        assert {path: total for path, (_, total) in values(callees(tree, name)).items()} == dict(below)
        assert int(callers(tree, name).total[0]) == int(callees(tree, name).total[0]) == totals[name]


def test_a_function_that_is_not_there():
    tree = tree_of([profile([sample(1, b"main")])])
    assert values(callers(tree, "none")) == values(callees(tree, "none")) == {(): (0, 0)}


def test_shares_of_two_trees():
    first = tree_of([profile([sample(60, b"main", b"work"), sample(40, b"idle")])])
    second = tree_of([profile([sample(1, b"main"), sample(1, b"new")])])
    both = compare(first, second)
    shares = {
        path: (round(100 * both.first[node] / WHOLE), round(100 * both.second[node] / WHOLE))
        for node, path in enumerate(paths(both.tree))
    }
    assert shares == {
        (): (100, 100), ("main",): (60, 50), ("main", "work"): (60, 0), ("idle",): (40, 0), ("new",): (0, 50)
    }  # fmt: skip
    assert both.tree.total.tolist() == (both.first + both.second).tolist()
    empty = compare(first, TreeBuilder().finish())
    assert (int(empty.first[0]), int(empty.second[0])) == (WHOLE, 0)


def test_stacks_as_text():
    tree = tree_of([profile([sample(3, b"main", b"a;b\nc"), sample(2, b"main"), sample(1, b"main", frame(None))])])
    assert sorted(folded(tree)) == ["main 2\n", "main;(no function) 1\n", "main;a:b c 3\n"]


def test_values_over_time_by_any_label():
    seconds = 1_000_000_000
    given_profiles = [
        profile([sample(10 * number, b"main")], pod=f"pod-{number % 3}", time_ns=number * 30 * seconds)
        for number in range(1, 7)
    ]
    columns, _ = job(*given_profiles)
    line = Timeline(60_000)
    line.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
    assert line.split() == [("", {0: 10.0, 60_000: 50.0, 120_000: 90.0, 180_000: 60.0})]
    by_pod = {
        "pod-0": {60_000: 30.0, 180_000: 60.0},
        "pod-1": {0: 10.0, 120_000: 40.0},
        "pod-2": {60_000: 20.0, 120_000: 50.0},
    }
    assert dict(line.split("pod")) == by_pod
    assert [name for name, _ in line.split("pod", most=1)] == ["pod-0", "all others (2)"]
    assert line.split("nothing") == [("no nothing", line.split()[0][1])]
    # Of levels the mean of each series counts.
    double = Timeline(600_000)
    double.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
    assert double.split(is_gauge=True) == [("", {0: 45.0 + 25.0 + 35.0})]
    assert "pod" in line.labels
    assert Timeline(1).split() == []
