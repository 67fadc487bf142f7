"""Reading only what is wanted gives what reading everything gives, with fewer bytes, and with the same errors."""

import random
from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_assets.block.columns import BlockColumns
from pyro_assets.block.object import parse_object
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.errors import BlockError, ChecksumMismatch, ObjectChanged, ObjectMissing
from pyro_assets.explore.preview import Preview, preview_rule
from pyro_assets.explore.read import ArchivedJob, ArchivedJobs, NarrowReader, Wanted, batches, spread
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.selectors import parse_selector
from pyro_assets.series.derive import derive
from pyro_assets.series.facts import JobInfo
from tests.support import golden_bucket, mutations
from tests.support.cli_runner import places, run
from tests.support.fakes import MemoryBucket

GOLDEN = golden_bucket.committed()
SELECTORS = [
    "{}",
    '{service_name="ride-sharing-app"}',
    '{service_name=~".*a.*"}',
    '{service_name!="checkout"}',
    '{__profile_type__=~"process_cpu:cpu:.*"}',
    '{pod!=""}',
    '{service_name="none"}',
]


class Archive:
    """The real bucket's jobs in memory, and a ledger's answer to what there is."""

    def __init__(self, folder: Path) -> None:
        result = run("run", "--jobs", GOLDEN.root / "jobs.json", "--source-url", GOLDEN.root, *places(folder))
        assert result.exit_code == 0, result.output
        options = dict(zip(*[iter(map(str, places(folder)))] * 2, strict=True))
        ledger = Ledger.open(options["--ledger-url"])
        self.jobs = ArchivedJobs(ledger).archived_jobs(HourRecords(ledger).hours())
        self.services = ArchivedJobs(ledger).archived_services(HourRecords(ledger).hours())
        ledger.close()
        root = folder / "archive"
        self.bucket = MemoryBucket(
            {path.relative_to(root).as_posix(): path.read_bytes() for path in (root / "blocks").rglob("*.bin")}
        )

    def archived_jobs(self, hours: Any) -> list[ArchivedJob]:
        return self.jobs if hours else []


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("selecting"))


def samples_of(columns: BlockColumns | None, wanted: Wanted) -> Counter[Any]:
    """Every wanted sample: labels, time, names on its stack, value."""
    found: Counter[Any] = Counter()
    if columns is None:
        return found
    symbols, rows = columns.symbols, columns.rows
    strings = symbols.strings.to_pylist()

    def stack(node: int) -> tuple[bytes, ...]:
        names: list[bytes] = []
        while wanted.names and symbols.node_parent[node] >= 0:
            location = int(symbols.node_location[node])
            lines = symbols.line_function[symbols.line_start[location] : symbols.line_start[location + 1]]
            names += [strings[symbols.function_name[line]] for line in lines.tolist()]
            node = int(symbols.node_parent[node])
        return tuple(names)

    for row, (begin, end) in enumerate(pairwise(rows.sample_start.tolist())):
        labels = columns.series.labels[int(rows.series[row])]
        if wanted.series([labels]).all():
            at = int(rows.time_ns[row])
            for node, value in zip(rows.stack[begin:end].tolist(), rows.value[begin:end].tolist(), strict=True):
                found[labels, at, stack(node), value] += 1
    return found


@pytest.mark.parametrize("whole_bytes", [0, 1 << 30])
@pytest.mark.parametrize("names", [True, False])
@pytest.mark.parametrize("selector", SELECTORS)
def test_what_is_wanted_is_read(archive: Archive, selector: str, names: bool, whole_bytes: int):
    wanted = Wanted(parse_selector(selector), names=names)
    reader = NarrowReader(archive.bucket, whole_bytes=whole_bytes)
    found = samples_of(reader.read(archive.jobs, wanted).columns, wanted)
    raws = [RawObject(one.key, archive.bucket.objects[one.key]) for job in archive.jobs for one in job.outputs]
    assert found == samples_of(read_blocks(raws).columns, wanted)
    assert bool(found) == (selector != SELECTORS[-1])
    stored = sum(map(len, archive.bucket.objects.values()))
    assert reader.bytes_stored == stored
    assert reader.datasets_read <= reader.datasets == len(read_blocks(raws).columns.datasets)
    if whole_bytes:
        assert reader.bytes_read == stored
    elif not names:
        # Without names at least the symbols, half of every block, stay where they are, but for the end of each block.
        assert reader.bytes_read < 0.8 * stored


def test_a_row_knows_its_job(archive: Archive):
    batch = NarrowReader(archive.bucket).read(archive.jobs, Wanted())
    rows = Counter(batch.job_of_row().tolist())
    assert [rows[number] for number in range(len(archive.jobs))] == [
        sum(output.profiles for output in job.outputs) for job in archive.jobs
    ]
    assert len(NarrowReader(archive.bucket).read([], Wanted()).job_of_row()) == 0


def test_profile_types_and_tenants(archive: Archive):
    wanted = Wanted(profile_types=["cpu"], tenants=["acme"])
    batch = NarrowReader(archive.bucket, whole_bytes=0).read(archive.jobs, wanted)
    assert batch.columns is not None
    assert {one.tenant for one in batch.columns.datasets} == {b"acme"}
    kinds = {profile_type(labels[0]) for labels in samples_of(batch.columns, wanted)}
    assert kinds == {b"process_cpu:cpu:nanoseconds:cpu:nanoseconds"}


@pytest.mark.parametrize("section", ["profiles", "tsdb", "symbols", "metadata"])
def test_damage_is_found_in_what_is_read(archive: Archive, section: str):
    output = archive.jobs[0].outputs[0]
    data = bytearray(archive.bucket.objects[output.key])
    meta = parse_object(bytes(data), output.key)
    profiles, tsdb, symbols = meta.datasets[0].toc
    at = {"profiles": (profiles + tsdb) // 2, "tsdb": tsdb + 40, "symbols": symbols + 30, "metadata": len(data) - 40}[
        section
    ]
    data[at] ^= 0x10
    damaged = MemoryBucket({output.key: bytes(data)})
    job = replace(archive.jobs[0], outputs=(output,))
    with pytest.raises(BlockError) as narrow:
        NarrowReader(damaged, whole_bytes=0).read([job], Wanted())
    with pytest.raises(BlockError) as whole:
        read_blocks([RawObject(output.key, bytes(data))], isolate=False)
    assert str(narrow.value) == str(whole.value)
    with pytest.raises(ChecksumMismatch, match="the committed object"):
        NarrowReader(damaged).read([job], Wanted())
    if section == "symbols":
        assert NarrowReader(damaged, whole_bytes=0).read([job], Wanted(names=False)).columns is not None


@pytest.mark.parametrize("seed", range(4))
def test_mutants_raise_what_is_known_or_read_as_a_whole_read_does(archive: Archive, seed: int):
    output = archive.jobs[0].outputs[0]
    good = archive.bucket.objects[output.key]
    layouts = [
        mutations.layout(good, number)
        for number, one in enumerate(mutations.metadata_of(good)["datasets"])
        if one["format"] == 0
    ]
    outcomes: Counter[str] = Counter()
    for number in range(60):
        kind, mutant = mutations.random_mutation(good, random.Random(f"{seed}/{number}"), layouts)
        job = replace(archive.jobs[0], outputs=(replace(output, size_bytes=len(mutant)),))
        bucket = MemoryBucket({output.key: mutant})
        try:
            whole = read_blocks([RawObject(output.key, mutant)], isolate=False).columns
        except BlockError:
            whole = None
        for names in (True, False):
            try:
                found = NarrowReader(bucket, whole_bytes=0).read([job], Wanted(names=names)).columns
            except BlockError:
                assert whole is None, kind
                outcomes["refused"] += 1
                continue
            outcomes["read"] += 1
            # What a whole read refuses may have been in what was not looked at here.
            if whole is not None and found is not None:
                # Datasets keep the block's order here; there they are sorted.
                assert sorted(found.rows.value.tolist()) == sorted(whole.rows.value.tolist())
                assert sorted(found.rows.time_ns.tolist()) == sorted(whole.rows.time_ns.tolist())
    assert min(outcomes["refused"], outcomes["read"]) > 10


@pytest.mark.parametrize("whole_bytes", [0, 1 << 30])
def test_what_is_gone_or_shorter_is_named(archive: Archive, whole_bytes: int):
    job = archive.jobs[0]
    key = job.outputs[0].key
    for objects, error in ({}, ObjectMissing), ({key: archive.bucket.objects[key][:-9]}, ObjectChanged):
        with pytest.raises(error, match=key):
            NarrowReader(MemoryBucket(objects), whole_bytes=whole_bytes).read([job], Wanted())


def test_jobs_are_spread_and_read_in_growing_batches(archive: Archive):
    small = [replace(archive.jobs[0], id=str(number)) for number in range(300)]
    order = spread(small)
    assert sorted(order, key=lambda job: int(job.id)) == small
    for count in (3, 10, 100):
        numbers = np.sort([int(job.id) for job in order[:count]])
        assert np.diff(numbers).max() <= 3.5 * 300 / count
    sizes = [len(part) for part in batches(small)]
    assert sum(sizes) == 300
    assert sizes[:4] == [1, 1, 1, 1]
    assert 64 <= max(sizes) <= 128
    large = [replace(job, outputs=tuple(replace(one, size_bytes=7 << 20) for one in job.outputs[:1])) for job in small]
    assert max(len(part) for part in batches(large)) == 3


def test_the_ledger_knows_tenants_and_services(archive: Archive):
    assert archive.services == sorted(
        {(d.tenant.decode(), d.name.decode()) for key, data in archive.bucket.objects.items()
         for d in parse_object(data, key).datasets if d.format == 0}
    )  # fmt: skip


PATTERNS: list[Any] = [{"glob": "runtime.*"}, {"regex": ".*[mM]ain.*"}, "runtime.mallocgc", {"glob": "*"}, "nothing"]


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {"name": "r", "selector": draw(st.sampled_from(SELECTORS))}
    rule["by"] = draw(st.sampled_from([None, [], ["pod", "service_name"]]))
    rule["profile_types"] = draw(st.sampled_from([[], ["cpu"], ["inuse_*", "goroutine"]]))
    rule["max_series"] = draw(st.sampled_from([1, 20, 100_000]))
    rule["overflow"] = draw(st.sampled_from(["error", "drop_rule", "keep_largest"]))
    rule["aggregate"] = draw(st.sampled_from([None, "sum", "last", "max", "mean", "count"]))
    if draw(st.booleans()):
        rule["functions"] = draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique_by=str))
        rule["match"] = draw(st.sampled_from(["total", "self"]))
        rule["combine"] = draw(st.booleans())
        if rule["match"] == "self" and not rule["combine"] and rule["aggregate"] in (None, "sum", "last"):
            rule["other"] = draw(st.booleans())
        if rule["combine"] and draw(st.booleans()):
            rule["exclude"] = [{"glob": "main.*"}]
    return rule


def expected(archive: Archive, rule: Any) -> dict[str, Any]:
    """The rule on every job alone, read whole."""
    config = SeriesConfig.model_validate({"dimensions": {"selectors": []}, "rules": [rule]})
    series: dict[Any, float] = {}
    points: dict[Any, float] = defaultdict(float)
    samples = most = refused = 0
    for job in archive.jobs:
        raws = [RawObject(one.key, archive.bucket.objects[one.key]) for one in job.outputs]
        info = JobInfo(job.id, job.shard, job.timestamp_ms, job.instance)
        derived = derive(read_blocks(raws).columns, info, config)
        frames = derived.frames
        refused += derived.facts.refused_rules
        tenants: Counter[str] = Counter()
        for row in (row for frame in frames.values() for row in frame.iter_rows(named=True)):
            key = (row["tenant"], row["metric"], tuple((one["name"], one["value"]) for one in row["labels"]))
            series[key] = max(series.get(key, row["value"]), row["value"])
            points[row["timestamp_ms"], row["metric"]] += row["value"]
            tenants[row["tenant"]] += 1
            samples += 1
        most = max(most, *tenants.values(), 0)
    return {"series": series, "points": points, "samples": samples, "most": most, "refused": refused}


def caught(archive: Archive, rule: dict[str, Any]) -> dict[Any, int]:
    """What each function has of each profile type, over all jobs, without what else the rule says of its series."""
    kept = {name: rule[name] for name in ("selector", "profile_types", "functions", "match", "exclude") if name in rule}
    config = SeriesConfig.model_validate(
        {"dimensions": {"selectors": []}, "rules": [kept | {"name": "r", "by": [], "max_series": 100_000}]}
    )
    totals: Counter[Any] = Counter()
    for job in archive.jobs if "functions" in rule else ():
        raws = [RawObject(one.key, archive.bucket.objects[one.key]) for one in job.outputs]
        columns = read_blocks(raws).columns
        for row in derive(columns, JobInfo(job.id, 1, 0, ""), config).frames["function"].iter_rows(named=True):
            [name] = [one["value"] for one in row["labels"] if one["name"] == "function"]
            totals[row["tenant"], row["metric"], name] += row["value_int"]
    return dict(totals)


def previewed(archive: Archive, rule: dict[str, Any], **how: Any) -> Preview:
    parsed = SeriesConfig.model_validate({"rules": [rule]}).rules[0]
    ledger: Any = None  # asked for the jobs of hours only
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ArchivedJobs, "archived_jobs", lambda _self, hours: archive.archived_jobs(hours))
        return preview_rule(archive.bucket, ledger, parsed, SeriesConfig(), ["some"], **how)


@settings(deadline=None, max_examples=25)
@given(rule=rules(), whole_bytes=st.sampled_from([0, 1 << 30]))
def test_a_preview_is_what_each_job_gives(archive: Archive, rule: dict[str, Any], whole_bytes: int):
    known = expected(archive, rule)
    found = previewed(archive, rule, whole_bytes=whole_bytes)
    assert found.is_exact
    assert (found.series, found.samples, found.most_series) == (len(known["series"]), known["samples"], known["most"])
    first = [(*key, value) for key, value in sorted(known["series"].items())][:20]
    assert [(one.tenant, one.metric, one.labels, one.value) for one in found.first] == first
    assert [one.value for one in found.largest] == sorted(known["series"].values(), reverse=True)[:20]
    assert {(at, metric): value for at, metric, value in found.points} == pytest.approx(known["points"])
    assert any("series in one job" in one for one in found.warnings) == bool(known["refused"])
    assert {(one.tenant, one.metric, one.function): one.total for one in found.functions} == caught(archive, rule)


def test_many_jobs_together_are_what_they_are_alone(archive: Archive):
    """The same jobs twelve times over, so that they are read and evaluated in batches."""
    rule = {"name": "r", "functions": [{"glob": "runtime.*"}], "profile_types": ["cpu", "inuse_space"]}
    many: Any = Archive.__new__(Archive)
    many.bucket = archive.bucket
    many.jobs = [
        replace(job, id=f"{number}", timestamp_ms=job.timestamp_ms + number, shard=number % 3)
        for number in range(12)
        for job in archive.jobs
    ]
    found, known = previewed(many, rule), expected(many, rule)
    assert (found.series, found.samples) == (len(known["series"]), known["samples"])
    assert {(at, metric): value for at, metric, value in found.points} == pytest.approx(known["points"])
    once = previewed(archive, rule)
    assert [(one.function, one.total) for one in found.functions] == [
        (one.function, 12 * one.total) for one in once.functions
    ]
    assert found.shares == [replace(one, total=12 * one.total, whole=12 * one.whole) for one in once.shares]
    # A limit in some jobs: the others still count, and the reason is told once.
    limited = previewed(many, rule | {"max_series": 30, "overflow": "error"})
    known = expected(many, rule | {"max_series": 30, "overflow": "error"})
    assert (limited.samples, known["refused"] > 1) == (known["samples"], True)
    assert len([one for one in limited.warnings if "series in one job" in one]) <= known["refused"] / 12


def test_shares_of_profile_types(archive: Archive):
    every = {"name": "r", "functions": [{"glob": "*"}], "profile_types": ["cpu"]}
    total, own = previewed(archive, every), previewed(archive, every | {"match": "self"})
    assert total.shares
    for whole, one in zip(total.shares, own.shares, strict=True):
        assert whole.share is not None
        assert one.share is not None
        assert 0 < one.share <= whole.share <= 1
        assert one.total == sum(f.total for f in own.functions if f.tenant == one.tenant)
    plain = previewed(archive, {"name": "r", "profile_types": ["cpu"]})
    assert {one.share for one in plain.shares} == {1.0}
    assert [one.whole for one in plain.shares] == [one.whole for one in total.shares]
