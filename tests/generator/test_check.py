"""Whatever differs between manifest and series is found and named; equal ones differ in nothing."""

from typing import Any

import pytest

from pyro_assets.generator.check import CommittedJob, compare
from pyro_assets.generator.manifest import Manifest, ManifestRow, SegmentEntry

TYPE = "mutex:delay:nanoseconds:contentions:count"
METRIC = "pyroscope_exported_metrics_mutex_delay_nanoseconds_contentions_count"
FUNCTION_METRIC = "pyroscope_exported_metrics_functions_mutex_delay_nanoseconds_contentions_count"
KEYS = [f"segments/3/anonymous/{letter}/block.bin" for letter in "AB"]


@pytest.fixture
def manifest() -> Manifest:
    rows = [
        ManifestRow(("acme", (("__profile_type__", TYPE), ("pod", "a"))), time, 2**60 + time, {"f": time})
        for time in (1, 2)
    ]
    return Manifest(
        1, ("f",), [SegmentEntry(key, key[-11], 3, 5, 1, (one,)) for key, one in zip(KEYS, rows, strict=True)]
    )


def sample(metric: str = METRIC, value: int = 2**61 + 3, **labels: str) -> dict[str, Any]:
    pairs = {"pod": "a", "pyroscope_shard": "3", **labels}
    return {
        "tenant": "acme", "metric": metric, "timestamp_ms": 5, "value": float(value), "value_int": value, "job": "j",
        "labels": [{"name": name, "value": text} for name, text in pairs.items()],
    }  # fmt: skip


GOOD = sample()
GOOD_FUNCTION = sample(FUNCTION_METRIC, 3, function="f")
JOB = CommittedJob("j", 3, 5, tuple(KEYS))
RECORD: dict[str, Any] = {
    "job": "j",
    "shard": 3,
    "timestamp_ms": 5,
    "sources": [{"key": key, "state": "done", "size_bytes": 1} for key in KEYS],
}


def whats(*arguments: Any, **options: Any) -> list[str]:
    return [difference.what for difference in compare(*arguments, **options)]


def test_equal_ones_differ_in_nothing(manifest: Manifest):
    other_rule = sample("profiles_recorded_cpu_total", 1)
    assert compare(manifest, [GOOD, GOOD_FUNCTION, other_rule], [JOB], {"f": "{}"}) == []
    assert compare(manifest, [GOOD, GOOD_FUNCTION], [RECORD], {"f": "{}"}) == []
    assert compare(manifest, [GOOD, GOOD_FUNCTION], [JOB]) == []
    assert compare(manifest, [GOOD_FUNCTION], [JOB], {"f": "{}"}, dimensions=False) == []


def test_labels_may_be_a_mapping(manifest: Manifest):
    labels = {pair["name"]: pair["value"] for pair in GOOD["labels"]}
    assert compare(manifest, [GOOD | {"labels": labels}], [JOB]) == []


@pytest.mark.parametrize(
    ("series", "what"),
    [
        ([], "missing"),
        ([sample(value=2**61 + 4)], "value"),
        ([GOOD | {"value": 1.0}], "value"),
        ([GOOD | {"value_int": None}], "value"),
        ([GOOD, GOOD], "repeated"),
        ([GOOD, sample(pod="b")], "unexpected"),
        ([GOOD, GOOD | {"job": "other"}], "unexpected"),
    ],
)
def test_each_difference_of_series_has_its_name(manifest: Manifest, series: list[dict[str, Any]], what: str):
    [difference] = compare(manifest, series, [JOB])
    assert difference.what == what
    assert METRIC in str(difference)


def test_a_timestamp_that_is_not_the_jobs_is_missing_and_unexpected(manifest: Manifest):
    assert whats(manifest, [GOOD | {"timestamp_ms": 6}], [JOB]) == ["missing", "unexpected"]


def test_a_series_of_zero_may_be_left_out(manifest: Manifest):
    assert compare(manifest, [GOOD], [JOB], {"f": '{pod="b"}'}) == []
    assert whats(manifest, [GOOD], [JOB], {"f": "{}"}) == ["missing"]


def test_sources_are_accounted_for(manifest: Manifest):
    half = sample(value=2**60 + 1)
    assert whats(manifest, [half], [CommittedJob("j", 3, 5, (KEYS[0],))]) == ["unprocessed"]
    assert whats(manifest, [half], [CommittedJob("j", 3, 5, (KEYS[0],))], unprocessed_is_difference=False) == []
    assert whats(manifest, [GOOD], [CommittedJob("j", 3, 5, (*KEYS, "segments/3/anonymous/C/block.bin"))]) == [
        "unknown source"
    ]
    second = GOOD | {"job": "k"}
    gone = RECORD | {"sources": [RECORD["sources"][0], {"key": KEYS[1], "state": "set_aside"}]}
    assert whats(manifest, [half], [gone]) == ["dropped"]
    assert whats(manifest, [GOOD, second], [JOB, CommittedJob("k", 3, 5, tuple(KEYS))]) == ["processed twice"] * 2


def test_a_function_that_was_not_recorded_is_refused(manifest: Manifest):
    with pytest.raises(ValueError, match="no totals of g"):
        compare(manifest, [], [JOB], {"g": "{}"})
