"""Flame graphs, diffs, trees and pprof profiles of made-up jobs, against plain loops over their stacks."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import read_blocks
from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.call_tree import TreeBuilder
from pyro_assets.explore.pyroscope.archive import ChosenProfiles
from pyro_assets.explore.pyroscope.asked import ProfileKind, ProfileQuery, TimeRange, label_selector
from pyro_assets.explore.pyroscope.flame_graph import flame_graph, flame_graph_diff, tree_bytes
from pyro_assets.explore.pyroscope.go_pgo import GoPgo
from pyro_assets.explore.pyroscope.pprof import pprof
from pyro_assets.explore.pyroscope.stacks import OTHER, Stacks, cut, named, over
from pyro_assets.storage.shown import show_bytes
from tests.oracle.values import Profile, Stack
from tests.support.examples import plain_object
from tests.support.models import ModelObject
from tests.support.pyroscope_exchanges import head_of, paths_of, stacks_of
from tests.support.strategies import jobs, raw_object

Paths = Counter[tuple[str, ...]]
ASKED = ProfileQuery(
    "acme",
    ProfileKind.parse("memory:alloc_space:bytes:space:bytes"),
    label_selector(""),
    TimeRange(0, 1_700_000_000_000),
)


def with_values(job: list[ModelObject], least: int) -> list[ModelObject]:
    """The job with values from `least` on that do not overflow."""

    def changed(profile: Profile) -> Profile:
        samples = tuple(one._replace(value=one.value % 1000 + least) for one in profile.samples)
        return profile._replace(samples=samples, total_value=sum(one.value for one in samples))

    return [
        replace(
            model,
            datasets=tuple(replace(one, profiles=tuple(map(changed, one.profiles))) for one in model.datasets),
        )
        for model in job
    ]


SIGNED = jobs().map(lambda job: with_values(job, -3))
POSITIVE = jobs().map(lambda job: with_values(job, 1))


def profiles_of(job: Iterable[ModelObject]) -> list[Profile]:
    return [profile for model in job for dataset in model.datasets for profile in dataset.profiles]


def chosen_of(job: Iterable[ModelObject]) -> list[ChosenProfiles]:
    """Every object of a job by itself, all of its profiles."""
    columns = [read_blocks([raw_object(model)], isolate=False).columns for model in job]
    return [ChosenProfiles(one, np.ones(len(one.rows.series), dtype=np.bool_)) for one in columns]


def tree_of(job: Iterable[ModelObject]) -> Stacks:
    builder = TreeBuilder()
    for one in chosen_of(job):
        builder.add(one.columns, one.rows)
    return named(builder.finish())


def names_of(stack: Stack) -> tuple[str, ...]:
    """Functions from the root down; frames without one are left out."""
    found = [show_bytes(line.name) for frame in stack for line in frame.lines if line.name]
    return tuple(reversed(found))


def own_of(profiles: Iterable[Profile]) -> Paths:
    found: Paths = Counter()
    for profile in profiles:
        for sample in profile.samples:
            path = names_of(sample.stack)
            if path:
                found[path] += sample.value
                for length in range(len(path)):
                    found[path[:length]] += 0
    found[()] += 0
    return found


def totals_of(own: Paths) -> Paths:
    found: Paths = Counter({(): 0})
    for path, value in own.items():
        for length in range(len(path) + 1):
            found[path[:length]] += value
    return found


def drawn(stacks: Stacks) -> dict[tuple[str, ...], tuple[int, ...]]:
    graph = flame_graph(stacks)
    found = paths_of(list(graph.names), [list(level.values) for level in graph.levels])
    return {path[1:]: figures for path, figures in found.items()}


@given(SIGNED)
def test_a_flame_graph_has_every_path_with_its_values(job: list[ModelObject]):
    own = own_of(profiles_of(job))
    totals = totals_of(own)
    stacks = tree_of(job)
    graph = flame_graph(stacks)
    assert graph.total == totals[()]
    assert graph.max_self == max(0, *own.values())
    texts = stacks.texts()
    path: list[tuple[str, ...]] = [()]
    for node in range(1, len(texts)):
        path.append((*path[int(stacks.parent[node])], texts[node]))
    assert dict(zip(path, stacks.total[:, 0].tolist(), strict=True)) == dict(totals)
    assert dict(zip(path, stacks.own[:, 0].tolist(), strict=True)) == {one: own[one] for one in totals}


@given(POSITIVE)
def test_every_part_of_a_flame_graph_stands_on_the_one_that_calls_it(job: list[ModelObject]):
    own = own_of(profiles_of(job))
    assert drawn(tree_of(job)) == {path: (total, own[path]) for path, total in totals_of(own).items()}


@given(SIGNED)
def test_the_bytes_of_a_tree_read_back(job: list[ModelObject]):
    own = own_of(profiles_of(job))
    data = tree_bytes(tree_of(job))
    place = 0

    def number() -> int:
        nonlocal place
        found = shift = 0
        while True:
            byte = data[place]
            place += 1
            found |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return found

    def read(above: tuple[str, ...] | None) -> None:
        nonlocal place
        size = number()
        name = data[place : place + size].decode()
        place += size
        path = () if above is None else (*above, name)
        assert number() == own[path] % (1 << 64)
        seen.append(path)
        for _ in range(number()):
            read(path)

    seen: list[tuple[str, ...]] = []
    read(None)
    assert place == len(data)
    assert sorted(seen) == sorted(totals_of(own))


@given(SIGNED, SIGNED)
def test_a_diff_has_both_sides(left: list[ModelObject], right: list[ModelObject]):
    sides = [own_of(profiles_of(one)) for one in (left, right)]
    totals = [totals_of(own) for own in sides]
    both = over(tree_of(left), tree_of(right))
    graph = flame_graph_diff(both)
    assert (graph.leftTicks, graph.rightTicks) == (totals[0][()], totals[1][()])
    assert graph.total == sum(one[()] for one in totals)
    path: list[tuple[str, ...]] = [()]
    for node, text in list(enumerate(both.texts()))[1:]:
        path.append((*path[int(both.parent[node])], text))
    assert set(path) == set(totals[0]) | set(totals[1])
    assert len(path) == len(set(path))
    for one, own, total in zip(path, both.own.tolist(), both.total.tolist(), strict=True):
        assert own == [side[one] for side in sides]
        assert total == [side[one] for side in totals]


@given(POSITIVE, st.integers(1, 8))
def test_what_is_cut_is_the_other_of_the_node_above(job: list[ModelObject], most: int):
    own = own_of(profiles_of(job))
    totals = totals_of(own)
    least = sorted((totals[one] for one in totals if one), reverse=True)[: most + 1]
    border = least[most - 1] if len(least) > most else 0

    def stays(path: tuple[str, ...]) -> bool:
        return all(totals[path[:length]] >= border for length in range(1, len(path) + 1))

    expected = {path: (totals[path], own[path]) for path in totals if stays(path)}
    for path in totals:
        if path and not stays(path) and stays(path[:-1]):
            lost = expected.get((*path[:-1], OTHER), (0, 0))[0] + totals[path]
            expected[*path[:-1], OTHER] = (lost, lost)
    stacks = cut(tree_of(job), most)
    path: list[tuple[str, ...]] = [()]
    for node, text in list(enumerate(stacks.texts()))[1:]:
        path.append((*path[int(stacks.parent[node])], text))
    found = zip(path, stacks.total[:, 0].tolist(), stacks.own[:, 0].tolist(), strict=True)
    assert {one: (total, its) for one, total, its in found} == expected


def pprof_of(job: Iterable[ModelObject], max_nodes: int = 0) -> Any:
    return pprof(chosen_of(job), ASKED, max_nodes)


@given(SIGNED)
def test_a_pprof_profile_has_every_stack_with_all_that_is_known_of_it(job: list[ModelObject]):
    expected: Counter[tuple[Any, ...]] = Counter()
    for profile in profiles_of(job):
        for sample in profile.samples:
            stack = tuple(
                (
                    None if frame.mapping is None else mapping_facts(frame.mapping),
                    frame.address,
                    frame.is_folded,
                    tuple(line_facts(line) for line in frame.lines),
                )
                for frame in sample.stack
            )
            expected[stack] += sample.value
    expected.pop((), None)
    found = pprof_of(job)
    # What a reference that leads nowhere referred to is not known, so stacks may be told apart that read the same.
    assert facts_of(found) == Counter({stack: value for stack, value in expected.items() if value})
    assert head_of(found)[0] == [("alloc_space", "bytes")]
    assert found.period == 512 * 1024
    assert found.time_nanos == 1_700_000_000_000 * 10**6


def facts_of(profile: Any) -> Counter[tuple[Any, ...]]:
    """As `stacks_of`, with what reads the same added up."""
    text = profile.string_table
    functions = {one.id: one for one in profile.function}
    locations = {}
    mappings = {one.id: one for one in profile.mapping}
    for one in profile.location:
        lines = []
        for line in one.line:
            function = functions.get(line.function_id)
            names = ("", "", "", 0)
            if function is not None:
                names = (
                    text[function.name], text[function.system_name], text[function.filename], function.start_line,
                )  # fmt: skip
            lines.append((*names, line.line))
        mapping = mappings.get(one.mapping_id)
        shown = None
        if mapping is not None:
            flags = (
                8 * mapping.has_functions + 4 * mapping.has_filenames + 2 * mapping.has_line_numbers
                + mapping.has_inline_frames
            )  # fmt: skip
            memory = mapping.memory_start, mapping.memory_limit, mapping.file_offset
            shown = text[mapping.filename], text[mapping.build_id], flags, *memory
        locations[one.id] = (shown, one.address, one.is_folded, tuple(lines))
    found: Counter[tuple[Any, ...]] = Counter()
    for sample in profile.sample:
        found[tuple(locations[one] for one in sample.location_id)] += sample.value[0]
    return Counter({stack: value for stack, value in found.items() if value})


def mapping_facts(mapping: Any) -> tuple[Any, ...]:
    names = [show_bytes(name or b"") for name in (mapping.file_name, mapping.build_id)]
    return (*names, mapping.flags, mapping.memory_start, mapping.memory_limit, mapping.file_offset)


def line_facts(line: Any) -> tuple[Any, ...]:
    names = [show_bytes(name or b"") for name in (line.name, line.system_name, line.file_name)]
    return (*names, line.start_line, line.line)


@given(POSITIVE, st.integers(1, 8))
def test_a_cut_profile_keeps_its_total(job: list[ModelObject], most: int):
    whole, small = pprof_of(job), pprof_of(job, most)
    assert stacks_total(small) == stacks_total(whole)
    assert len(small.sample) <= len(whole.sample)


def stacks_total(profile: Any) -> int:
    return sum(sample.value[0] for sample in profile.sample)


@given(SIGNED, st.integers(0, 4), st.booleans())
def test_stacks_trimmed_for_gos_compiler(job: list[ModelObject], keep: int, aggregate: bool):
    expected: Counter[tuple[Any, ...]] = Counter()
    for stack, value in facts_of(pprof_of(job)).items():
        kept = stack[:keep] if keep else stack
        mapping, address, is_folded, its_lines = kept[0]
        if aggregate:
            address, its_lines = 0, tuple((*one[:-1], one[-1] if place else 0) for place, one in enumerate(its_lines))
        expected[(mapping, address, is_folded, its_lines), *kept[1:]] += value
    found = pprof(chosen_of(job), ASKED, pgo=GoPgo(keep, aggregate))
    assert facts_of(found) == Counter({stack: value for stack, value in expected.items() if value})
    assert {one for sample in found.sample for one in sample.location_id} == {one.id for one in found.location}


@pytest.mark.parametrize("make", [tree_of, pprof_of])
def test_sums_that_do_not_fit_are_refused(make: Any):
    job = [plain_object(number, value=2**62) for number in range(2)]
    job[1] = replace(job[1], datasets=job[0].datasets)
    with pytest.raises(ValueOverflow):
        make(job)


def test_nothing_is_an_empty_answer():
    empty = named(TreeBuilder().finish())
    graph = flame_graph(empty)
    assert (list(graph.names), [list(one.values) for one in graph.levels]) == (["total"], [[0, 0, 0, 0]])
    assert list(pprof([], ASKED).sample) == []
    assert stacks_of(pprof([], ASKED)) == Counter()
