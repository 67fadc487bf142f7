"""Series of real jobs: what the original recorded, exactly, and our own as the slow evaluation has them."""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyro_assets.block.metadata import metadata_from_dict
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.compaction.compact import Compacted, compact
from pyro_assets.export.samples import dress, read_samples
from pyro_assets.receivers.model import Receiver
from pyro_assets.rules.config import DEFAULT_GAUGES, SeriesConfig, parse_config
from pyro_assets.series.derive import derive, instance_hash
from pyro_assets.series.facts import JobInfo
from tests.oracle import decoder as slow_decoder
from tests.oracle import series as slow_series
from tests.support import golden_bucket
from tests.support.series_values import values_of

COMMITTED = golden_bucket.committed()
COMMITTED_CONFIG = parse_config((COMMITTED.root / "rules.json").read_text())
NUMBERS = pytest.mark.parametrize("number", range(len(COMMITTED.jobs)))


def is_gauge(profile_type: str) -> bool:
    return any(fnmatchcase(profile_type.split(":")[1], gauge) for gauge in DEFAULT_GAUGES)


def compacted(bucket: golden_bucket.GoldenBucket, job: list[str]) -> Compacted:
    return compact([RawObject(key, data) for key, data in bucket.sources(job)], dedup="original")


def job_info(bucket: golden_bucket.GoldenBucket, job: list[str], result: Compacted) -> JobInfo:
    first = result.metas[0]
    assert first is not None
    instance = instance_hash(first.shard, first.created_by_index)
    return JobInfo("job-1", bucket.shard(job), bucket.timestamp_ms(job), instance)


def forms_of(bucket: golden_bucket.GoldenBucket) -> dict[str, str]:
    """The rules of a bucket in every form in which the original keeps and shows them."""
    rules = json.loads((bucket.root / "rules.json").read_text())
    tenants = sorted({tenant for samples in bucket.recorded.values() for tenant, _, _ in samples})
    camel = {"metric_name": "metricName", "group_by": "groupBy", "external_labels": "externalLabels"}
    camel |= {"stacktrace_filter": "stacktraceFilter", "function_name": "functionName", "metric_type": "metricType"}

    def shown(value: Any) -> Any:
        if isinstance(value, list):
            return [shown(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {camel.get(name, name): "TOTAL" if name == "metric_type" else shown(one) for name, one in value.items()}

    of_tool = [shown(rule) | {"generation": "3", "provisioned": True} for rule in rules]
    limits = {"ingestion_rate_mb": 8, "recording_rules": rules}
    overrides = {"overrides": dict.fromkeys(tenants, limits) | {"idle": None}}
    return {
        "json": json.dumps(rules),
        "yaml": yaml.safe_dump(rules),
        "recording_rules": yaml.safe_dump({"recording_rules": rules}),
        "overrides": json.dumps(overrides),
        "overrides as yaml": "".join(f"{line}\n" for line in _yaml_of(overrides)),
        "list of the tool": json.dumps({"rules": of_tool}),
        "list of the tool, plain names": json.dumps({"rules": rules}),
    }


def _yaml_of(overrides: Any) -> list[str]:
    """YAML without aliases, which PyYAML writes for what is the same object."""
    return yaml.safe_dump(json.loads(json.dumps(overrides))).splitlines()


def compare_with_recorded(bucket: golden_bucket.GoldenBucket, text: str | None = None) -> int:
    """Every recorded sample of every job is derived, with its value, and no other; how many there are."""
    config = parse_config(text or (bucket.root / "rules.json").read_text(), "rules.json")
    count = 0
    for job in bucket.jobs:
        result = compacted(bucket, job)
        info = job_info(bucket, job, result)
        values = values_of(derive(result.columns, info, config), prefix="profiles_recorded_")
        expected = bucket.recorded[info.timestamp_ms]
        assert values == expected
        # The same from the blocks, as a backfill of a rule reads them.
        blocks = [RawObject(f"blocks/0/{b.tenant.decode()}/{b.id}/block.bin", b.data) for b in result.blocks]
        again = derive(read_blocks(blocks, isolate=False).columns, info, config)
        assert values_of(again, prefix="profiles_recorded_") == expected
        count += len(values)
    return count


def test_recorded_samples_of_the_committed_jobs():
    assert compare_with_recorded(COMMITTED) == sum(map(len, COMMITTED.recorded.values())) == 83


FORMS = pytest.mark.parametrize("form", forms_of(COMMITTED))


@FORMS
def test_every_form_of_the_rules_gives_the_recorded_samples(form: str):
    assert compare_with_recorded(COMMITTED, forms_of(COMMITTED)[form]) == 83


@FORMS
def test_every_form_of_the_rules_gives_all_534_samples(bucket_2026: Path, form: str):
    bucket = golden_bucket.GoldenBucket(bucket_2026)
    assert compare_with_recorded(bucket, forms_of(bucket)[form]) == 534


def test_one_rule_as_the_tool_shows_it():
    rules = json.loads(forms_of(COMMITTED)["list of the tool"])["rules"]
    for rule in rules:
        for shown in (rule, {"rule": rule}):
            [one] = parse_config(json.dumps(shown)).recording_rules
            assert one == next(known for known in COMMITTED_CONFIG.recording_rules if known.id == one.id)
    assert len(rules) == len(COMMITTED_CONFIG.recording_rules)


def test_all_534_recorded_samples_of_bucket_2026(bucket_2026: Path):
    assert compare_with_recorded(golden_bucket.GoldenBucket(bucket_2026)) == 534


def test_all_115_recorded_samples_of_large_2026(shared_data: Path):
    assert compare_with_recorded(golden_bucket.GoldenBucket(shared_data / "large-2026")) == 115


def test_all_39_totals_of_segments_2024(shared_data: Path):
    folder = shared_data / "segments-2024"
    metas = json.loads((folder / "metas.json").read_text())
    totals = json.loads((folder / "recorded.json").read_text())
    assert len(totals) == 39
    raw = [
        RawObject(meta["id"], (folder / meta["id"] / "block.bin").read_bytes(), metadata_from_dict(meta))
        for meta in metas
    ]
    functions = sorted({total["function"] for total in totals} - {None})
    rules = [
        {
            "id": f"rule-{number}",
            "metric_name": f"total_{number}",
            "external_labels": [],
        }
        | ({"stacktrace_filter": {"function_name": {"function_name": name, "metric_type": 0}}} if name else {})
        for number, name in enumerate([None, *functions])
    ]
    # One rule per profile type, as a private label cannot be grouped by.
    types = sorted({total["profile_type"] for total in totals})
    rules = [
        rule
        | {
            "id": f"{rule['id']}-{number}",
            "metric_name": f"{rule['metric_name']}_{number}",
            "matchers": [f'{{__profile_type__="{one}"}}'],
            "group_by": ["service_name"],
        }
        for rule in rules
        for number, one in enumerate(types)
    ]
    config = parse_config(json.dumps(rules), "rules.json")
    columns = compact(raw, dedup="original").columns
    values = values_of(derive(columns, JobInfo("job-1", 1, 0, "0"), config), prefix="total_")
    found = {(metric, dict(labels).get("service_name", "")): value for (_, metric, labels), value in values.items()}
    for total in totals:
        number = [None, *functions].index(total["function"])
        metric = f"total_{number}_{types.index(total['profile_type'])}"
        assert found[metric, total["service_name"]] == total["total"]


@NUMBERS
def test_dimension_series_are_as_the_slow_evaluation_has_them(number):
    job = COMMITTED.jobs[number]
    result = compacted(COMMITTED, job)
    merged = slow_series.merge(COMMITTED.decoded_sources(job), "original")
    expected = slow_series.native(merged.rows, COMMITTED.shard(job), is_gauge)
    derived = derive(result.columns, job_info(COMMITTED, job, result), SeriesConfig())
    assert values_of(derived, "dimension") == expected
    assert values_of(derived, "function") == {}


@NUMBERS
def test_function_series_are_as_the_slow_evaluation_has_them(number):
    job = COMMITTED.jobs[number]
    result = compacted(COMMITTED, job)
    merged = slow_series.merge(COMMITTED.decoded_sources(job), "original")
    functions = {
        "main.fibonacci": "{}",
        "main.findNearestVehicle": '{vehicle=~"bike|car"}',
        "runtime.mallocgc": '{service_name!="gateway"}',
        "runtime.goexit": "{}",
        "not.there": "{}",
    }
    config = SeriesConfig(functions=functions)
    expected: dict = {}
    for function, selector in functions.items():
        series = slow_series.native(merged.rows, COMMITTED.shard(job), is_gauge, function=function, selector=selector)
        expected |= {key: value for key, value in series.items() if value}
    derived = derive(result.columns, job_info(COMMITTED, job, result), config)
    assert values_of(derived, "function") == expected
    assert len(expected) > 3


def test_a_label_with_a_dot_keeps_its_name_and_is_sent_with_an_underscore():
    job = next(job for job in COMMITTED.jobs if COMMITTED.shard(job) == 4)
    result = compacted(COMMITTED, job)
    derived = derive(result.columns, job_info(COMMITTED, job, result), SeriesConfig())
    assert "service.version" in {name for _, _, labels in values_of(derived) for name, _ in labels}
    receiver = Receiver(name="r", url="http://localhost/", kind="prometheus")
    sent = dress(read_samples(derived.frames["dimension"]), receiver)
    assert "service_version" in sent.names
    assert not any("." in name for name in sent.names)
    assert len(sent) == len(derived.frames["dimension"])


def test_the_slow_instance_is_ours():
    for job in COMMITTED.jobs:
        block = slow_decoder.decode_object(COMMITTED.read(job[0]))
        assert instance_hash(block.shard, block.created_by_index) == slow_series.instance_of(block)
