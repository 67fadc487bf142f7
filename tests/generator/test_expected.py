"""Folding a job: flows, levels, retries, labels and selectors by small examples with known answers."""

import pytest

from pyro_assets.generator.expected import fold, matches, totals_by_hour
from pyro_assets.generator.manifest import Manifest, ManifestRow, SegmentEntry

FLOW = "memory:alloc_space:bytes:space:bytes"
LEVEL = "memory:inuse_space:bytes:space:bytes"
FLOW_METRIC = "pyroscope_exported_metrics_memory_alloc_space_bytes_space_bytes"
LEVEL_METRIC = "pyroscope_exported_metrics_memory_inuse_space_bytes_space_bytes"


def row(
    profile_type: str, time_ns: int, value: int, functions: dict[str, int] | None = None, **labels: str
) -> ManifestRow:
    pairs = {"__profile_type__": profile_type, "__session_id__": labels.pop("session", "0"), **labels}
    return ManifestRow(("acme", tuple(sorted(pairs.items()))), time_ns, value, functions or {})


def segment(*rows: ManifestRow, created_ms: int = 0, ulid: str = "A") -> SegmentEntry:
    return SegmentEntry(f"segments/1/anonymous/{ulid}/block.bin", ulid, 1, created_ms, 1, rows)


def key(metric: str, **labels: str) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return "acme", metric, tuple(sorted({"pyroscope_shard": "3", **labels}.items()))


def test_flows_are_summed_and_of_levels_the_last_counts():
    first = segment(row(FLOW, 1, 10, pod="a"), row(LEVEL, 2, 70, pod="a"), row(LEVEL, 5, 7, pod="b"))
    second = segment(row(FLOW, 2, 20, pod="a"), row(LEVEL, 1, 90, pod="a"))
    expected = {
        key(FLOW_METRIC, pod="a"): 30,
        key(LEVEL_METRIC, pod="a"): 70,
        key(LEVEL_METRIC, pod="b"): 7,
    }
    assert fold([first, second], 3, {}) == expected
    assert fold([second, first], 3, {}) == expected


def test_of_the_sessions_of_a_target_the_last_profile_counts():
    rows = [row(LEVEL, 1, 5, session="1"), row(LEVEL, 2, 6, session="2"), row(LEVEL, 3, 4, session="2")]
    assert fold([segment(*rows)], 3, {}) == {key(LEVEL_METRIC): 4}


def test_the_parts_of_the_last_profile_are_its_series():
    rows = [row(LEVEL, time, value, session="1", pod="a", rid=rid) for time, value, rid in
            ((1, 10, "1"), (1, 20, "2"), (2, 15, "3"), (2, 16, "4"))]  # fmt: skip
    assert fold([segment(*rows)], 3, {}) == {
        key(LEVEL_METRIC, pod="a", rid="3"): 15,
        key(LEVEL_METRIC, pod="a", rid="4"): 16,
    }


def test_a_retried_upload_counts_once():
    same = row(FLOW, 1, 10)
    assert fold([segment(same), segment(same, row(FLOW, 2, 1))], 3, {}) == {key(FLOW_METRIC): 11}


def test_function_series_take_what_their_selector_matches():
    rows = [row(FLOW, 1, 10, {"f": 4}, vehicle="bike"), row(FLOW, 1, 20, {"f": 5}, vehicle="car"), row(FLOW, 2, 1)]
    series = fold([segment(*rows)], 3, {"f": '{vehicle="bike"}'})
    metric = "pyroscope_exported_metrics_functions_memory_alloc_space_bytes_space_bytes"
    assert {name: value for name, value in series.items() if "_functions_" in name[1]} == {
        key(metric, vehicle="bike", function="f"): 4
    }


def test_labels_keep_their_names_and_reserved_ones_are_moved():
    rows = [row(FLOW, 1, 10, **{"http.method": "GET", "function": "x", "tenant": "y"})]
    assert fold([segment(*rows)], 3, {}) == {
        key(FLOW_METRIC, exported_function="x", exported_tenant="y", **{"http.method": "GET"}): 10
    }


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("{}", True),
        ('{ vehicle = "bike" }', True),
        ('{vehicle="bike",pod=~"a-[0-9]+"}', True),
        ('{vehicle=~"bik"}', False),
        ('{vehicle!~"car|bike"}', False),
        ('{missing=""}', True),
        ('{missing!=""}', False),
        ('{quoted="say \\"hi\\""}', True),
    ],
)
def test_selectors(selector: str, expected: bool):
    assert matches(selector, {"vehicle": "bike", "pod": "a-17", "quoted": 'say "hi"'}) is expected


@pytest.mark.parametrize("selector", ["vehicle", "{vehicle}", '{vehicle="bike}', '{="x"}'])
def test_a_selector_that_does_not_parse_is_refused(selector: str):
    with pytest.raises(ValueError, match="selector"):
        matches(selector, {})


def test_totals_by_hour():
    manifest = Manifest(1, ("f",))
    manifest.segments = [
        segment(row(FLOW, 1, 10, {"f": 4}, pod="a"), created_ms=3_600_000),
        segment(row(FLOW, 2, 20, pod="a"), row(LEVEL, 2, 9, pod="a"), created_ms=3_700_000),
        segment(row(LEVEL, 9, 3, pod="a"), created_ms=7_200_000),
    ]
    totals = [(one["hour_ms"], one["metric"], one["labels"], one["value"]) for one in totals_by_hour(manifest)]
    functions = FLOW_METRIC.replace("metrics_", "metrics_functions_")
    assert totals == [
        (3_600_000, functions, {"function": "f", "pod": "a"}, 4),
        (3_600_000, FLOW_METRIC, {"pod": "a"}, 30),
        (3_600_000, LEVEL_METRIC, {"pod": "a"}, 9),
        (7_200_000, LEVEL_METRIC, {"pod": "a"}, 3),
    ]
