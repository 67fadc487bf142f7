"""Segments are repeatable and hold what their manifest entry says, by a decoder that shares nothing with either."""

from collections import defaultdict

import pytest

from pyro_assets.generator.expected import fold, is_gauge, matches
from pyro_assets.generator.manifest import SegmentEntry
from pyro_assets.generator.segments import WATCHED, Recipe, Segment, SegmentMaker
from tests.oracle import decoder as slow_decoder
from tests.oracle.series import Row as SlowRow
from tests.oracle.series import merge, native, text_labels, ulid_time_ms

START_MS = 1_795_600_000_000


def make(recipe: Recipe, slots: int, shard: int = 1) -> list[Segment]:
    maker = SegmentMaker(recipe)
    made = [maker.make(shard, slot, START_MS + slot * 50_000 + 7) for slot in range(slots)]
    return [segment for segment in made if segment is not None]


def rows_in(data: bytes) -> dict[tuple[object, ...], tuple[int, dict[str, int]]]:
    """(tenant, labels, time) -> value and function totals, of an object decoded slowly."""
    found: dict[tuple[object, ...], tuple[int, dict[str, int]]] = {}
    for dataset in slow_decoder.decode_object(data).datasets:
        for profile in dataset.profiles:
            labels = text_labels(profile.labels)
            shown = {name: text for name, text in labels.items() if not name.startswith("__")}
            shown |= {name: labels[name] for name in ("__profile_type__", "__session_id__")}
            functions: dict[str, int] = defaultdict(int)
            for sample in profile.samples:
                for name in WATCHED:
                    if name.encode() in sample.stack.function_names:
                        functions[name] += sample.value
            key = (dataset.tenant.decode(), tuple(sorted(shown.items())), profile.time_ns)
            assert key not in found
            found[key] = (profile.total_value, dict(functions))
    return found


def entry_rows(entry: SegmentEntry) -> dict[tuple[object, ...], tuple[int, dict[str, int]]]:
    return {(*row.identity, row.time_ns): (row.value, row.functions) for row in entry.rows}


@pytest.mark.parametrize("shard", [1, 2, 3, 4])
def test_the_manifest_says_what_is_in_a_segment(shard: int):
    for segment in make(Recipe(retry_share=0), 8, shard):
        assert entry_rows(segment.entry) == rows_in(segment.data)
        assert len(segment.entry.rows) == len(entry_rows(segment.entry))


def test_what_a_segment_says_of_itself():
    [segment] = make(Recipe(), 1, shard=3)
    block = slow_decoder.decode_object(segment.data)
    entry = segment.entry
    assert (block.id.decode(), block.shard, block.level) == (entry.ulid, 3, 0)
    assert ulid_time_ms(entry.ulid) == entry.created_ms == START_MS + 7
    assert entry.key == f"segments/3/anonymous/{entry.ulid}/block.bin"
    assert entry.size_bytes == len(segment.data)
    assert START_MS - 12_000 < block.min_time_ms <= block.max_time_ms < START_MS


def test_equal_recipes_make_equal_bytes():
    recipe = Recipe(seed=9, retry_share=0.3)
    assert make(recipe, 6) == make(recipe, 6)
    assert make(recipe, 6) != make(Recipe(seed=10, retry_share=0.3), 6)


def test_segments_have_the_size_and_variety_of_real_ones():
    blocks, sizes = [], []
    for shard in (1, 2, 3, 4):
        for segment in make(Recipe(), 6, shard):
            sizes.append(len(segment.data))
            blocks.append(slow_decoder.decode_object(segment.data))
    datasets = [[dataset for dataset in block.datasets if dataset.format == 0] for block in blocks]
    assert 15_000 < sum(sizes) / len(sizes) < 40_000
    assert all(1 <= len(some) <= 4 for some in datasets)
    assert len({dataset.tenant for some in datasets for dataset in some}) == 3
    assert len({dataset.name for some in datasets for dataset in some}) == 8
    profiles = [profile for some in datasets for dataset in some for profile in dataset.profiles]
    types = {dict(profile.labels)[b"__profile_type__"] for profile in profiles}
    assert len(types) == 9
    assert any(sample.span_id for profile in profiles for sample in profile.samples)
    label_sets = {labels for some in datasets for dataset in some for labels in dataset.label_sets}
    assert any((b"__unsymbolized__", b"true") in labels for labels in label_sets)


def test_retried_uploads_come_again_and_are_counted_once():
    segments = make(Recipe(retry_share=0.5), 6)
    rows = [(row.identity, row.time_ns) for segment in segments for row in segment.entry.rows]
    assert len(set(rows)) < len(rows)
    for segment in segments:
        # A retry stands beside other profiles of its series.
        assert entry_rows(segment.entry) == rows_in(segment.data)


@pytest.mark.parametrize("dedup", ["exact", "original"])
def test_folding_a_manifest_equals_folding_the_decoded_segments(dedup: str):
    """Two slow implementations of the rules, one from counts and one from bytes, agree."""
    segments = make(Recipe(retry_share=0.2), 10, shard=2)
    merged = merge([slow_decoder.decode_object(segment.data) for segment in segments], dedup)
    rows: list[SlowRow] = list(merged.rows)
    functions = {WATCHED[0]: "{}", WATCHED[1]: '{pod=~".*-1"}'}
    expected = dict(native(rows, 2, is_gauge))
    for function, selector in functions.items():
        expected |= native(rows, 2, is_gauge, function=function, selector=selector)
    folded = fold([segment.entry for segment in segments], 2, functions)
    assert {key: value for key, value in folded.items() if value} == {
        key: value for key, value in expected.items() if value
    }
    assert any("_functions_" in key[1] for key in folded)


def test_a_shard_without_pods_makes_nothing():
    maker = SegmentMaker(Recipe(shards=100))
    assert maker.make(99, 0, START_MS) is None


def test_selectors_see_private_labels():
    [segment] = make(Recipe(), 1)
    labels = dict(segment.entry.rows[0].identity[1])
    assert matches('{__profile_type__=~"process_cpu:.*"}', labels)
