"""From made-up sources to series: what compaction keeps and the engine derives is what the slow evaluation says."""

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.compaction.compact import compact
from pyro_assets.rules.config import DEFAULT_GAUGES, SeriesConfig
from pyro_assets.series.derive import derive
from pyro_assets.series.facts import JobInfo
from tests.oracle import decoder as slow_decoder
from tests.oracle import series as slow_series
from tests.support import strategies
from tests.support.series_values import values_of

FUNCTIONS = ["main.work", "main.run", "runtime.main", "größe.höhe", "not.there"]
SELECTORS = ["{}", '{vehicle="bike"}', '{vehicle=~"bike|car", pod!="a"}', '{env=""}']
JOB = JobInfo("job-1", 3, 1_700_000_000_000, "0123")


def is_gauge(profile_type: str) -> bool:
    return any(fnmatchcase(profile_type.split(":")[1], gauge) for gauge in DEFAULT_GAUGES)


def fitting(values: dict) -> dict:
    """Without the series whose values do not fit 64 bits, which are left out."""
    return {key: value for key, value in values.items() if -(1 << 63) <= value < 1 << 63}


@pytest.mark.parametrize("dedup", ["exact", "original"])
@given(job=strategies.jobs(), selector=st.sampled_from(SELECTORS))
def test_native_series(dedup, job, selector):
    raw = [strategies.raw_object(model) for model in job]
    merged = slow_series.merge([slow_decoder.decode_object(item.data) for item in raw], dedup)
    expected = slow_series.native(merged.rows, JOB.shard, is_gauge, selector=selector)
    functions: dict = {}
    for function in FUNCTIONS:
        series = slow_series.native(merged.rows, JOB.shard, is_gauge, function=function, selector=selector)
        functions |= {key: value for key, value in series.items() if value}
    config = SeriesConfig.model_validate(
        {"dimensions": {"selectors": [selector]}, "functions": dict.fromkeys(FUNCTIONS, selector)}
    )
    result = compact(raw, dedup=dedup)
    derived = derive(result.columns, JOB, config)
    left_out = [*(expected.keys() - fitting(expected).keys()), *(functions.keys() - fitting(functions).keys())]
    assert derived.facts.overflowing_series == len(left_out)
    expected, functions = fitting(expected), fitting(functions)
    assert values_of(derived, "dimension") == expected
    assert values_of(derived, "function") == functions
    # The same from the finished blocks, as a backfill of a rule reads them.
    blocks = [RawObject(f"blocks/3/t{number}/x/block.bin", block.data) for number, block in enumerate(result.blocks)]
    again = derive(read_blocks(blocks, isolate=False).columns, JOB, config)
    assert values_of(again) == expected | functions


@given(job=strategies.jobs())
def test_recording_rules(job):
    rules = [
        {"id": "a", "metric_name": "all", "matchers": [], "group_by": [], "external_labels": []},
        {
            "id": "b",
            "metric_name": "by_vehicle",
            "matchers": ['{__profile_type__=~"process_cpu.*|memory.*"}', '{vehicle!=""}'],
            "group_by": ["vehicle", "service_name"],
            "external_labels": [{"name": "team", "value": "perf"}],
        },
        {
            "id": "c",
            "metric_name": "of_function",
            "matchers": ["{}"],
            "group_by": ["pod"],
            "external_labels": [],
            "stacktrace_filter": {"function_name": {"function_name": "main.work", "metric_type": 0}},
        },
    ]
    raw = [strategies.raw_object(model) for model in job]
    merged = slow_series.merge([slow_decoder.decode_object(item.data) for item in raw], "original")
    expected = slow_series.recorded(merged.rows, rules, JOB.instance)
    config = SeriesConfig.model_validate({"dimensions": {"selectors": []}, "recording_rules": rules})
    result = compact(raw, dedup="original")
    assert values_of(derive(result.columns, JOB, config)) == fitting(expected)
