"""The merged tree of calls, against dictionaries filled by walking every stack."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.call_tree import CallTree, TreeBuilder, path_id
from tests.oracle import decoder as slow_decoder
from tests.oracle import rules as slow_rules
from tests.oracle.series import Row
from tests.support import golden_bucket
from tests.support.series_jobs import JOBS, frame, job, profile, sample

Path = tuple[str, ...]
GOLDEN = golden_bucket.committed()


def slow_tree(rows: list[Row]) -> dict[Path, list[int]]:
    """Own value and total of every path; the root is the empty one."""
    found: dict[Path, list[int]] = {(): [0, 0]}
    for row in rows:
        for one in row.profile.samples:
            path = tuple(name or "" for name in slow_rules.frames(one.stack))
            for length in range(len(path) + 1):
                found.setdefault(path[:length], [0, 0])[1] += one.value
            found[path][0] += one.value
    return found


def slow_functions(rows: list[Row]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        for one in row.profile.samples:
            path = [name or "" for name in slow_rules.frames(one.stack)]
            for name in set(path) - {""}:
                sums = found.setdefault(name, [0, 0])
                sums[0] += one.value * (path[-1] == name)
                sums[1] += one.value
    return found


def paths_of(tree: CallTree) -> list[Path]:
    paths: list[Path] = [()]
    for node in range(1, len(tree.parent)):
        above = int(tree.parent[node])
        assert above < node
        paths.append((*paths[above], tree.text(node)))
    return paths


def check(tree: CallTree, rows: list[Row]) -> None:
    paths = paths_of(tree)
    found = {path: [own, total] for path, own, total in zip(paths, tree.own.tolist(), tree.total.tolist(), strict=True)}
    assert found == slow_tree(rows)
    assert len(found) == len(paths)
    own, total = tree.functions()
    assert dict(zip(tree.names, map(list, zip(own.tolist(), total.tolist(), strict=True)), strict=True)) == (
        slow_functions(rows)
    )
    for node, path in enumerate(paths):
        assert tree.depth[node] == len(path)
        assert tree.find(path_id(path)) == node
        assert [paths[above] for above in tree.ancestors(node)] == [path[:length] for length in range(len(path))]
        below = tree.children(node).tolist()
        assert sorted(below) == [other for other in range(1, len(paths)) if tree.parent[other] == node]
        keys = [(-int(tree.total[one]), tree.text(one)) for one in below]
        assert keys == sorted(keys)


def built(*parts: object) -> CallTree:
    builder = TreeBuilder()
    for columns in parts:
        builder.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))  # type: ignore[attr-defined]
    return builder.finish()


def test_recursion_inlining_and_what_has_no_name():
    given_profile = profile(
        [
            sample(1, b"main", b"f", b"g", b"f"),
            sample(10, b"main", frame(b"h", b"f")),
            sample(100, b"main", frame()),
            sample(1000, b"", b"g"),
            10_000,
        ]
    )
    columns, rows = job(given_profile)
    tree = built(columns)
    check(tree, rows)
    assert [(tree.text(node), int(tree.total[node])) for node in tree.children(0).tolist()] == [
        ("", 1000),
        ("main", 111),
    ]
    assert (int(tree.own[0]), int(tree.total[0])) == (10_000, 11_111)
    assert tree.find(path_id(["main", "nothing"])) is None


@given(JOBS, JOBS, st.booleans(), st.integers(0, 9))
def test_any_jobs_as_by_walking(one, other, split, seed):
    (left, rows), (right, more) = job(*one, split=split, seed=seed), job(*other)
    everything = sum(abs(sample.value) for row in rows + more for sample in row.profile.samples)
    if everything >= 2**63:
        with pytest.raises(ValueOverflow, match="choose fewer hours"):
            built(left, right)
    else:
        tree = built(left, right)
        check(tree, [*rows, *more])
        # The order in which blocks come has no say.
        again = built(right, left)
        assert dict(zip(again.path_id.tolist(), again.total.tolist(), strict=True)) == dict(
            zip(tree.path_id.tolist(), tree.total.tolist(), strict=True)
        )


@pytest.mark.parametrize("number", range(len(GOLDEN.jobs)))
def test_real_blocks(number: int):
    keys = GOLDEN.level1_keys(GOLDEN.jobs[number])
    columns = read_blocks([RawObject(key, GOLDEN.read(key)) for key in keys]).columns
    rows = [
        Row(dataset.tenant, dataset.name, 0, one)
        for block in (slow_decoder.decode_object(GOLDEN.read(key), ascending=False) for key in keys)
        for dataset in block.datasets
        for one in dataset.profiles
    ]
    for kind in sorted({dict(row.profile.labels)[b"__profile_type__"] for row in rows}):
        chosen = [dict(labels).get(b"__profile_type__") == kind for labels in columns.series.labels]
        builder = TreeBuilder()
        builder.add(columns, np.array(chosen).take(columns.rows.series))
        tree = builder.finish()
        own = [row for row in rows if dict(row.profile.labels)[b"__profile_type__"] == kind]
        names, values = tree.names, tree.functions()
        assert int(tree.total[0]) == sum(sample.value for row in own for sample in row.profile.samples)
        assert dict(zip(names, map(list, zip(*(part.tolist() for part in values), strict=True)), strict=True)) == (
            slow_functions(own)
        )
        paths = paths_of(tree)
        assert dict(zip(paths, tree.total.tolist(), strict=True)) == {
            path: total for path, (_, total) in slow_tree(own).items()
        }
        assert (values[1] >= values[0]).all()


def test_many_parts_are_merged_as_one():
    columns, rows = job(*[profile([sample(1, b"main", b"f%d" % number)]) for number in range(40)])
    assert built(*[columns] * 30).total.tolist() == (30 * built(columns).total).tolist()
    assert Counter(paths_of(built(*[columns] * 3))) == Counter(list(slow_tree(rows)))


def test_nothing():
    tree = TreeBuilder().finish()
    assert (tree.total.tolist(), tree.names, tree.children(0).tolist()) == ([0], [], [])
    assert [part.tolist() for part in tree.functions()] == [[], []]
    check(built(job()[0]), [])
    deep, _ = job(profile([sample(1, *[b"f"] * 200)]))
    assert built(deep).functions()[1].tolist() == [1]
