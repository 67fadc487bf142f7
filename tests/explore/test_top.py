"""All functions of some profiles, against walking every stack."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.explore import functions as top
from pyro_assets.explore.functions import number_in_preorder, top_functions
from pyro_assets.storage.shown import show_bytes
from tests.oracle.series import Row
from tests.support.series_jobs import JOBS, frame, job, of_tenant, profile, sample
from tests.support.strategies import CPU, INUSE

Key = tuple[str, ...]


def signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def slow_top(rows: list[Row]) -> dict[Key, tuple[int, int]]:
    totals: dict[Key, list[int]] = {}
    for row in rows:
        kind = dict(row.profile.labels)[b"__profile_type__"]
        for one in row.profile.samples:
            frames = one.stack.frames
            for name in one.stack.function_names:
                key = tuple(show_bytes(part) for part in (row.tenant, row.service, kind, name))
                own = bool(frames[0].lines) and frames[0].lines[0].name == name
                sums = totals.setdefault(key, [0, 0])
                sums[0] += one.value * own
                sums[1] += one.value
    return {key: (signed(own), signed(total)) for key, (own, total) in totals.items()}


def test_self_and_total_with_recursion_and_inlining():
    columns, _ = job(
        profile(
            [
                sample(1, b"main", b"f", b"g", b"f"),
                sample(10, b"main", frame(b"h", b"f")),
                sample(100, b"main", frame()),
                sample(1000, frame(b"f", b"f"), b"g"),
                10_000,
            ]
        ),
        profile([sample(5, b"main")], INUSE),
    )
    frame_of_top = top_functions(columns)
    assert frame_of_top.columns == ["tenant", "service", "profile_type", "function", "self", "total"]
    assert frame_of_top.rows() == [
        ("acme", "shop", INUSE.decode(), "main", 5, 5),
        ("acme", "shop", CPU.decode(), "f", 1, 1011),
        ("acme", "shop", CPU.decode(), "g", 1000, 1001),
        ("acme", "shop", CPU.decode(), "main", 0, 111),
        ("acme", "shop", CPU.decode(), "h", 10, 10),
    ]
    assert top_functions(columns, limit=1)["function"].to_list() == ["main", "f"]


def test_nothing_in_nothing_out():
    for given_profiles in ([], [profile([])], [profile([1, 2])]):
        columns, _ = job(*given_profiles)
        assert top_functions(columns).height == 0
        assert top_functions(columns).schema == top_functions(job(profile([sample(1, b"f")]))[0]).schema


def test_the_same_service_of_several_sources_and_tenants():
    one = profile([sample(1, b"f", b"\xff")])
    columns, rows = job(one, one, of_tenant(b"globex", one), split=True)
    found = {row[:4]: row[4:] for row in top_functions(columns).rows()}
    assert found == slow_top(rows)
    assert found["acme", "shop", CPU.decode(), "\\xff"] == (2, 2)


@given(JOBS, st.booleans(), st.integers(0, 9))
def test_any_job_as_by_walking(jobs, split, seed):
    columns, rows = job(*jobs, split=split, seed=seed)
    found = top_functions(columns).rows()
    assert {row[:4]: row[4:] for row in found} == slow_top(rows)
    order = [(*row[:3], -row[5]) for row in found]
    assert order == sorted(order)


@given(st.lists(st.integers(-4, 1 << 30), max_size=40), st.sampled_from([0, 2048]))
def test_what_is_below_a_node_is_an_interval(choices, levels):
    # Some new roots, else a parent among the earlier nodes of the same tree.
    parent: list[int] = []
    root = 0
    for node, choice in enumerate(choices):
        is_root = node == 0 or choice < -2
        root = node if is_root else root
        parent.append(-1 if is_root else node - 1 if choice < 0 else root + choice % (node - root))
    before = top._MAX_LEVELS
    top._MAX_LEVELS = levels
    try:
        start, end = number_in_preorder(np.array(parent, dtype=np.int64))
    finally:
        top._MAX_LEVELS = before
    below = [{node} for node in range(len(parent))]
    for node in range(len(parent) - 1, -1, -1):
        if parent[node] >= 0:
            below[parent[node]] |= below[node]
    numbers = start.tolist()
    assert sorted(numbers) == list(range(len(parent)))
    for node, nodes in enumerate(below):
        first, last = int(start[node]), int(end[node])
        assert first == numbers[node]
        assert {other for other, number in enumerate(numbers) if first <= number < last} == nodes


def test_an_absurdly_deep_stack_takes_no_array_operation_per_level():
    depth = 5_000
    parent = np.arange(-1, depth, dtype=np.int64)
    start, end = number_in_preorder(parent)
    assert start.tolist() == list(range(depth + 1))
    assert set(end.tolist()) == {depth + 1}
