"""What hashing decides is verified: with hashes that collide, merging gives the same tables, row for row."""

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings

from pyro_assets.block.columns import SymbolTables
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.compaction.arrays import CHUNK_ROWS, number_by_hash
from pyro_assets.compaction.rows import _by_stack, drop_copies
from pyro_assets.compaction.symbols import STRINGS_AT_ONCE, MergedSymbols, merge_symbols, prune_symbols
from tests.support import golden_bucket, strategies

COLLIDING = {
    "one bit": lambda hashed: number_by_hash(hashed & np.uint64(1)),
    "all collide": lambda hashed: number_by_hash(np.zeros_like(hashed)),
}


def merged(objects: list[RawObject], number=number_by_hash) -> MergedSymbols:
    columns = read_blocks(objects, isolate=False).columns
    names = [(dataset.tenant, dataset.name) for dataset in columns.datasets]
    outputs = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return merge_symbols(columns.symbols, np.array([outputs[name] for name in names], dtype=np.int64), number)


def same(one: MergedSymbols, other: MergedSymbols) -> bool:
    tables = all(
        np.array_equal(np.asarray(getattr(one.tables, field.name)), np.asarray(getattr(other.tables, field.name)))
        for field in fields(SymbolTables)
    )
    return tables and np.array_equal(one.node_code, other.node_code) and np.array_equal(one.unit_code, other.unit_code)


@pytest.mark.parametrize("number", COLLIDING.values(), ids=COLLIDING)
@given(job=strategies.jobs())
@settings(max_examples=10)
def test_made_up_jobs(number, job):
    raw = [strategies.raw_object(model) for model in job]
    assert same(merged(raw), merged(raw, number))


@pytest.mark.parametrize("number", COLLIDING.values(), ids=COLLIDING)
def test_a_real_job(number):
    golden = golden_bucket.committed()
    raw = [RawObject(key, golden.read(key)) for key in golden.jobs[0]]
    assert same(merged(raw), merged(raw, number))


def test_what_is_too_much_for_one_step_is_done_in_parts():
    golden = golden_bucket.committed()
    raw = [RawObject(key, golden.read(key)) for key in golden.jobs[0]]
    copies = 2 + STRINGS_AT_ONCE // len(read_blocks(raw, isolate=False).columns.symbols.strings)
    one, many = merged(raw), merged(raw * copies)
    assert len(many.node_code) == copies * len(one.node_code) > CHUNK_ROWS
    assert same(replace(many, node_code=one.node_code, unit_code=one.unit_code), one)
    assert np.array_equal(np.bincount(many.node_code), copies * np.bincount(one.node_code))


@pytest.mark.parametrize("number", COLLIDING.values(), ids=COLLIDING)
@given(job=strategies.jobs())
@settings(max_examples=20)
def test_copies_are_found_by_content_not_by_hash(number, job):
    rows = read_blocks([strategies.raw_object(model) for model in job], isolate=False).columns.rows
    # All rows as if they were of one series and time, so that their samples alone tell them apart.
    together, order = np.zeros(len(rows.time_ns), dtype=np.int64), np.arange(len(rows.time_ns), dtype=np.int64)
    rows.time_ns = together
    by_hash = drop_copies(rows, together, rows.stack, order)
    colliding = drop_copies(rows, together, rows.stack, order, number)
    assert by_hash.kept.tolist() == colliding.kept.tolist()
    assert (by_hash.duplicates, by_hash.conflicts) == (colliding.duplicates, colliding.conflicts)


def deep(nodes: int) -> list[int]:
    """Two stacks that take turns in the table, so that no node follows its parent: as deep as there is room."""
    return [-1, 0, *range(nodes - 2)]


def test_deep_trees_whose_hashes_collide_are_merged_exactly():
    tables = read_blocks([strategies.raw_object(strategies.plain_object())], isolate=False).columns.symbols
    nodes = 20_000
    locations = len(tables.location_address)
    tree = replace(
        tables,
        node_start=np.array([0, nodes]),
        node_parent=np.array(deep(nodes), dtype=np.int64),
        node_location=np.array([-1, *(place // 2 % locations for place in range(nodes - 1))], dtype=np.int64),
    )
    output = np.zeros(1, dtype=np.int64)
    by_hash = merge_symbols(replace(tree), output)
    assert len(by_hash.tables.node_parent) < nodes
    assert same(by_hash, merge_symbols(tree, output, COLLIDING["all collide"]))


def test_what_deep_stacks_need_is_kept_and_the_rest_dropped():
    tables = read_blocks([strategies.raw_object(strategies.plain_object())], isolate=False).columns.symbols
    nodes = 20_000
    tree = replace(
        tables,
        node_start=np.array([0, nodes]),
        node_parent=np.array(deep(nodes), dtype=np.int64),
        node_location=np.array([-1, *[0] * (nodes - 1)], dtype=np.int64),
    )
    pruned, row = prune_symbols(tree, np.array([nodes - 3], dtype=np.int64))
    wanted = {0}
    node = nodes - 3
    while node > 0:
        wanted.add(node)
        node = tree.node_parent[node]
    assert np.flatnonzero(row >= 0).tolist() == sorted(wanted)
    assert len(pruned.node_parent) == len(wanted)


def test_samples_whose_row_and_stack_need_more_than_63_bits():
    row = np.array([0, 0, 0, 5, 5], dtype=np.int64)
    stack = np.array([2**62, 3, 2**62, 9, 1], dtype=np.int64)
    assert _by_stack(row, stack).tolist() == [1, 0, 2, 4, 3]


def test_samples_in_one_and_in_several_passes():
    random = np.random.default_rng(1)
    for bits in (3, 15, 16, 17, 40):
        row = np.sort(random.integers(0, 50, 500))
        stack = random.integers(0, 1 << bits, 500)
        assert np.array_equal(_by_stack(row, stack), np.lexsort((stack, row)))
