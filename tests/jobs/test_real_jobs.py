"""Whole jobs with the real engine: bucket-2026 to the last digit, checks that find what was made wrong, and S3."""

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pyro_assets.app import App, open_app
from pyro_assets.block.object import parse_object
from pyro_assets.compaction.compact import Compacted, compact
from pyro_assets.jobs.derive import Engine
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import hour_of, parse_block_key
from tests.support import fakes, strategies
from tests.support.golden_bucket import COMMITTED, GoldenBucket
from tests.support.ledgers import LEASE_MS, ledger_file
from tests.support.s3_server import s3, s3_endpoint

__all__ = ["s3", "s3_endpoint"]

TIME_MS = 1_700_000_000_000
HOUR = hour_of(TIME_MS)


@dataclass
class RealWorld:
    """Buckets in memory, the real engine (or one that errs), a clock."""

    folder: Path
    engine: Engine

    def __post_init__(self) -> None:
        # Buckets in memory do not travel to the process that a job of a killed worker gets where there is a limit.
        self.settings = Settings(start_date="2020-01-01-00:00", job_seconds=0)
        self.source = fakes.MemoryBucket(url="memory://source")
        self.archive = fakes.MemoryBucket(url="memory://archive")
        self.clock = fakes.Clock(TIME_MS + 60_000)
        self.ledger = Ledger.open(ledger_file(self.folder / "ledger.db"))

    def pipeline(self) -> App:
        return App(
            self.source,
            self.archive,
            self.ledger,
            self.settings,
            SeriesConfig(),
            engine=self.engine,
            clock=self.clock,
        )

    def put(self, *objects: strategies.ModelObject) -> None:
        for model in objects:
            raw = strategies.raw_object(model)
            self.source.objects[raw.object_key] = bytes(raw.data)

    def process(self) -> App:
        """Everything that is there, once."""
        pipeline = self.pipeline()
        ticks.tick(pipeline)
        report = runs.run(pipeline, [HOUR], run_id="run")[HOUR]
        assert report.run.errors == []
        return pipeline


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., RealWorld]]:
    made: list[RealWorld] = []

    def make_world(**engine: Any) -> RealWorld:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(RealWorld(folder, Engine(**engine)))
        return made[-1]

    yield make_world
    for world in made:
        world.ledger.close()


def sources() -> list[strategies.ModelObject]:
    """Three objects of one shard, one of them pushed twice, in part with profiles of equal time."""
    first = strategies.plain_object(0)
    again = replace(first, ulid=strategies.ulid(TIME_MS + 300, 77))
    other = strategies.plain_object(2, service=b"gateway", value=-11)
    return [first, again, other]


# --- Real data --------------------------------------------------------------------------------------------------


def recorded_of(parquet: Sequence[bytes]) -> dict[Any, float]:
    samples = {}
    for data in parquet:
        for row in pq.read_table(io.BytesIO(data)).to_pylist():
            labels = tuple(sorted((label["name"], label["value"]) for label in row["labels"]))
            if row["metric"].startswith("profiles_recorded"):
                samples[row["timestamp_ms"], (row["tenant"], row["metric"], labels)] = row["value"]
    return samples


def series_files(archive: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(archive.glob("series/**/*.parquet"))]


@pytest.fixture(params=["committed", "whole"])
def golden(request: pytest.FixtureRequest) -> GoldenBucket:
    if request.param == "committed":
        return GoldenBucket(COMMITTED)
    return GoldenBucket(request.getfixturevalue("bucket_2026"))


def config_of(golden: GoldenBucket) -> SeriesConfig:
    return parse_config(json.dumps({"recording_rules": golden.rules}), "rules.json")


def wanted_of(golden: GoldenBucket) -> dict[Any, float]:
    return {(time, key): value for time, samples in golden.recorded.items() for key, value in samples.items()}


def test_real_jobs_give_the_recorded_samples_and_pass_the_check(golden: GoldenBucket, tmp_path: Path) -> None:
    settings = Settings(dedup="original")
    where = (str(golden.root), str(tmp_path / "archive"), str(tmp_path / "ledger.db"))
    with open_app(*where, settings=settings, config=config_of(golden)) as pipeline:
        reports = runs.run_exact(pipeline, golden.jobs, run_id="run")
        assert [report.run.errors for report in reports.values()] == [[] for _ in reports]
        assert sum(report.run.derived for report in reports.values()) == len(golden.jobs)
        assert recorded_of(series_files(tmp_path / "archive")) == wanted_of(golden)
        for hour in HourRecords(pipeline.ledger).hours():
            check = runs.verify_hour(pipeline, hour)
            assert (check.equal, check.unverifiable, check.left) == (True, 0, 0)
            assert check.totals > 0
            assert runs.verify_hour(pipeline, hour).checked == 0
        # A backfill of the same rules from the archive's blocks gives the same bytes.
        before = series_files(tmp_path / "archive")
        steps: Any = frozenset({"dimension_series", "function_series"})
        reports = runs.run(pipeline, HourRecords(pipeline.ledger).hours(), steps, run_id="backfill")
        assert sum(report.run.derived for report in reports.values()) == len(golden.jobs)
        assert series_files(tmp_path / "archive") == before


def all_series(archive: Path) -> list[Any]:
    """Every stored sample but for the id of its job, in one order."""
    rows = [row for data in series_files(archive) for row in pq.read_table(io.BytesIO(data)).to_pylist()]
    return sorted(json.dumps({name: value for name, value in row.items() if name != "job"}) for row in rows)


def test_observe_mode_gives_the_series_of_own_mode(golden: GoldenBucket, tmp_path: Path) -> None:
    blocks = [key for job in golden.jobs for key in golden.level1_keys(job)]
    functions = {"main.findNearestVehicle": "{}", "runtime.mallocgc": '{service_name!="gateway"}'}
    config = parse_config(json.dumps({"recording_rules": golden.rules, "functions": functions}), "rules.json")
    settings = Settings(dedup="original")
    where = (str(golden.root), str(tmp_path / "own"), str(tmp_path / "own.db"))
    with open_app(*where, settings=settings, config=config) as pipeline:
        runs.run_exact(pipeline, golden.jobs, run_id="run")
    settings = Settings(compaction="observe", dedup="original")
    where = (str(golden.root), str(tmp_path / "archive"), str(tmp_path / "ledger.db"))
    with open_app(*where, settings=settings, config=config) as pipeline:
        ticks.tick(pipeline)
        reports = runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")
        assert sum(report.run.derived for report in reports.values()) == len(blocks) > len(golden.jobs)
        # Values, labels (the recording instance too), times: of all kinds of series.
        assert all_series(tmp_path / "archive") == all_series(tmp_path / "own")
        assert recorded_of(series_files(tmp_path / "archive")) == wanted_of(golden)
        for key in blocks:
            assert (tmp_path / "archive" / key).read_bytes() == golden.read(key)
        assert all(runs.verify_hour(pipeline, hour).equal for hour in HourRecords(pipeline.ledger).hours())


def test_every_real_segment_names_its_creator_at_the_same_place(golden: GoldenBucket, shared_data: Path) -> None:
    # What observe mode relies on, since level-1 blocks do not say it.
    large = GoldenBucket(shared_data / "large-2026")
    keys = [(bucket, key) for bucket in (golden, large) for job in bucket.jobs for key in job]
    metas = [parse_object(bucket.read(key), key) for bucket, key in keys]
    assert {meta.created_by_index for meta in metas} == {1}


# --- Checks -----------------------------------------------------------------------------------------------------


def test_duplicates_are_counted_and_forgiven(make: Callable[..., RealWorld]) -> None:
    world = make()
    world.put(*sources(), strategies.rich_object())
    pipeline = world.process()
    check = runs.verify_hour(pipeline, HOUR)
    assert [str(difference) for difference in check.differences] == []
    assert (check.checked, check.unverifiable, check.equal) == (2, 0, True)
    assert runs.hour_report(pipeline, HOUR).duplicates == 1
    assert runs.verify_hour(pipeline, HOUR).before == 2
    assert runs.verify_hour(pipeline, HOUR, again=True).checked == 2
    assert json.dumps(check.to_dict())


def test_an_overflow_of_one_tenant_costs_its_own_series_and_is_named(make: Callable[..., RealWorld]) -> None:
    world = make()
    evil = [strategies.plain_object(number, value=2**62) for number in range(2)]
    evil = [replace(one, datasets=(replace(one.datasets[0], tenant=b"evil"),)) for one in evil]
    world.put(*evil, strategies.plain_object(2, value=77), strategies.plain_object(3, service=b"gateway"))
    report = runs.hour_report(world.process(), HOUR)
    assert report.series == {"dimension": 2, "function": 0}
    assert report.facts["overflowing_series"] == 1
    [example] = report.examples
    assert example.startswith("rule dimensions gives pyroscope_exported_metrics_process_cpu")
    assert example.endswith("`pyro-assets inspect` (tenant 'evil')")
    assert report.jobs_by_state == {"derived": 1}


def loses_a_source(objects: Sequence[Any], dedup: Any) -> Compacted:
    done = compact(objects[:-1], dedup=dedup)
    done.metas.append(done.metas[0])
    return done


def doubles_a_profile(objects: Sequence[Any], dedup: Any) -> Compacted:
    (first,) = strategies.plain_object(0).datasets
    profile = first.profiles[0]._replace(time_ns=first.profiles[0].time_ns + 1)
    more = replace(strategies.plain_object(0), datasets=(replace(first, profiles=(*first.profiles, profile)),))
    return compact([strategies.raw_object(more), *objects[1:]], dedup=dedup)


def changes_a_value(objects: Sequence[Any], dedup: Any) -> Compacted:
    return compact([*objects[:2], strategies.raw_object(sources_with(value=-12))], dedup=dedup)


def claims_another_total(objects: Sequence[Any], dedup: Any) -> Compacted:
    # The sum that profiles claim is right, what their samples say is not.
    (dataset,) = sources_with(value=-12).datasets
    lying = replace(sources_with(value=-12), datasets=(replace(dataset, profiles=(lie(dataset.profiles[0]),)),))
    return compact([*objects[:2], strategies.raw_object(lying)], dedup=dedup)


def lie(profile: Any) -> Any:
    return profile._replace(total_value=-11)


def sources_with(value: int) -> strategies.ModelObject:
    return strategies.plain_object(2, service=b"gateway", value=value)


def miscounts_duplicates(objects: Sequence[Any], dedup: Any) -> Compacted:
    done = compact(objects, dedup=dedup)
    done.duplicates += 1
    return done


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (loses_a_source, "total of the samples' values"),
        (doubles_a_profile, "profiles that no source has"),
        (changes_a_value, "total of the samples' values"),
        (claims_another_total, "total of the samples' values"),
        (miscounts_duplicates, "duplicates"),
    ],
)
def test_a_compaction_that_errs_is_found(make: Callable[..., RealWorld], wrong: Any, what: str) -> None:
    world = make(compact=wrong)
    world.put(*sources())
    check = runs.verify_hour(world.process(), HOUR)
    assert not check.equal
    assert what in {difference.what for difference in check.differences}, check.differences
    # It stays unverified, so that the next check says so again.
    assert runs.verify_hour(world.pipeline(), HOUR).checked == 1


def test_sources_that_were_deleted_since_are_told(make: Callable[..., RealWorld]) -> None:
    world = make()
    world.put(*sources())
    pipeline = world.process()
    world.source.objects.clear()
    check = runs.verify_hour(pipeline, HOUR)
    assert (check.equal, check.checked, check.unverifiable) == (True, 1, 1)


def test_a_level_1_object_that_rots_is_found(make: Callable[..., RealWorld]) -> None:
    world = make()
    world.put(*sources())
    pipeline = world.process()
    (key,) = [key for key in world.archive.objects if key.startswith("blocks/")]
    for damage in (lambda data: data[:-1], lambda data: data[:50] + b"\xff" + data[51:]):
        good = world.archive.objects[key]
        world.archive.objects[key] = damage(good)
        check = runs.verify_hour(pipeline, HOUR, again=True)
        assert "cannot be read back" in check.differences[0].what
        world.archive.objects[key] = good
    assert runs.verify_hour(pipeline, HOUR, again=True).equal


def test_a_check_that_has_no_time_left_says_so(make: Callable[..., RealWorld]) -> None:
    world = make()
    world.put(*sources())
    pipeline = world.process()
    check = runs.verify_hour(pipeline, HOUR, deadline_monotonic=0.0)
    assert (check.checked, check.left, check.equal) == (0, 1, True)


def test_a_job_without_outputs_is_equal(make: Callable[..., RealWorld]) -> None:
    world = make()
    world.put(*sources())
    for key in world.source.objects:
        world.source.objects[key] = world.source.objects[key][:-3]
    pipeline = world.process()
    check = runs.verify_hour(pipeline, HOUR)
    assert (check.equal, check.checked) == (True, 1)
    assert runs.hour_report(pipeline, HOUR).set_aside_total == 3


# --- S3 ---------------------------------------------------------------------------------------------------------


@pytest.mark.service
def test_the_same_archive_on_s3(s3: str, tmp_path: Path) -> None:
    golden = GoldenBucket(COMMITTED)
    source = open_bucket(f"{s3}/source", True)
    for key in sorted({key for job in golden.jobs for key in job}):
        source.create(key, golden.read(key))
    ledgers = {name: str(tmp_path / f"{name}.db") for name in ("s3", "local")}
    places = {
        "s3": (f"{s3}/source", f"{s3}/archive"),
        "local": (str(golden.root), str(tmp_path / "archive")),
    }
    for name, (source_url, archive_url) in places.items():
        config = config_of(golden)
        with open_app(source_url, archive_url, ledgers[name], config=config) as pipeline:
            assert ticks.tick(pipeline).failures == ()
            reports = runs.run(pipeline, HourRecords(pipeline.ledger).hours(), run_id="run")
            assert [report.run.errors for report in reports.values()] == [[] for _ in reports]
            assert all(runs.verify_hour(pipeline, hour).equal for hour in HourRecords(pipeline.ledger).hours())
    archives = [open_bucket(places[name][1]) for name in ("s3", "local")]
    listings = [archive.list_after("", limit=10_000) for archive in archives]
    assert listings[0] == listings[1]
    assert all(archives[0].read(item.key) == archives[1].read(item.key) for item in listings[0])


# --- Faults -----------------------------------------------------------------------------------------------------


def test_a_broken_neighbour_changes_nothing(make: Callable[..., RealWorld]) -> None:
    clean, world = make(), make()
    clean.put(*sources()[:2])
    clean.process()
    world.put(*sources())
    key = sources()[2].key
    world.source.objects[key] = b"\0" * 100
    report = runs.hour_report(world.process(), HOUR)
    assert [(item.key, item.state) for item in report.set_aside] == [(key, "set_aside")]
    assert _only(world, "blocks/") == _only(clean, "blocks/")


def test_killed_at_every_call_with_real_blocks(make: Callable[..., RealWorld]) -> None:
    clean = make()
    clean.put(*sources(), strategies.rich_object())
    clean.process()
    for number in range(len(clean.archive.calls)):
        world = make()
        world.put(*sources(), strategies.rich_object())
        calls = iter(range(1000))

        def die(method: str, key: str, calls: Iterator[int] = calls, number: int = number) -> None:
            if next(calls) == number:
                raise fakes.Killed(key)

        world.archive.before = die
        with pytest.raises(fakes.Killed):
            world.process()
        world.archive.before = None
        world.clock.forward(LEASE_MS / 1000)
        world.process()
        assert world.archive.objects == clean.archive.objects


def _only(world: RealWorld, prefix: str) -> dict[str, bytes]:
    return {key: data for key, data in world.archive.objects.items() if key.startswith(prefix)}


def test_keys_of_models_are_those_of_the_bucket() -> None:
    assert parse_block_key(sources()[1].key).created_ms == TIME_MS + 300
