"""Reading by time and labels: ends of ranges, hours, the limit of time, what is remembered; points, choices."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.app import App
from pyro_assets.block.reader import read_blocks
from pyro_assets.errors import BadQuery, QueryTooLarge
from pyro_assets.explore.pyroscope import archive
from pyro_assets.explore.pyroscope.archive import ChosenProfiles, ProfileArchive
from pyro_assets.explore.pyroscope.asked import ProfileKind, ProfileQuery, TimeRange, all_of, label_selector
from pyro_assets.explore.pyroscope.labels import label_names, label_sets, label_values, profile_types
from pyro_assets.explore.pyroscope.points import lines
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.storage.keys import hour_start_ms
from pyro_assets.storage.shown import show_bytes
from tests.oracle import decoder as slow_decoder
from tests.oracle.values import Profile
from tests.support.exports import compacted, derive, opened
from tests.support.models import ModelObject
from tests.support.strategies import jobs, raw_object

CPU = ProfileKind.parse("process_cpu:cpu:nanoseconds:cpu:nanoseconds")
EVER = TimeRange(0, 2**50)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archive")


@pytest.fixture(scope="module", params=["jobs", "hours"])
def pipeline(folder: Path, request: pytest.FixtureRequest) -> Iterator[App]:
    """Answers are the same whether an hour is read job by job, or was compacted to blocks of its own."""
    with opened(folder) as made:
        derive(made)
        if request.param == "hours":
            compacted(made)
        yield made


@pytest.fixture(scope="module")
def profiles(pipeline: App, folder: Path) -> list[Profile]:
    """Every profile of acme, read slowly."""
    return [
        profile
        for job in ArchivedJobs(pipeline.ledger).archived_jobs(HourRecords(pipeline.ledger).hours())
        for output in job.outputs
        if output.tenant == "acme"
        for dataset in slow_decoder.decode_object(
            (folder / "archive" / output.key).read_bytes(), ascending=False
        ).datasets
        for profile in dataset.profiles
    ]


class Counting:
    """A bucket that counts what is asked of it."""

    def __init__(self, bucket: Any) -> None:
        self._bucket, self.asked = bucket, 0

    def __getattr__(self, name: str) -> Any:
        self.asked += 1
        return getattr(self._bucket, name)


def archive_of(pipeline: App, bucket: Any = None, **more: Any) -> ProfileArchive:
    ledger = pipeline.ledger
    return ProfileArchive(
        bucket or pipeline.archive, HourRecords(ledger).hours, ArchivedJobs(ledger).explorable, **more
    )


def asked(selector: str = "{}", span: TimeRange = EVER, tenant: str = "acme", kind: ProfileKind = CPU) -> ProfileQuery:
    return ProfileQuery(tenant, kind, label_selector(selector), span)


def times(archive: ProfileArchive, meant: ProfileQuery) -> list[int]:
    return sorted(
        int(time_ns)
        for one in archive.read(meant, names=False)
        for time_ns in one.columns.rows.time_ns.compress(one.rows)
    )


def is_cpu(profile: Profile) -> bool:
    return dict(profile.labels)[b"__profile_type__"] == CPU.text.encode()


def test_both_ends_of_a_range_belong_to_it(pipeline: App, profiles: list[Profile]):
    asking = archive_of(pipeline)
    every = sorted(profile.time_ns for profile in profiles if is_cpu(profile))
    assert times(asking, asked()) == every
    first, last = every[3] // 10**6, every[-4] // 10**6
    expected = [one for one in every if first <= one // 10**6 <= last]
    assert len(expected) < len(every)
    assert times(asking, asked(span=TimeRange(first, last))) == expected
    assert times(asking, asked(span=TimeRange(first, first))) == [one for one in every if one // 10**6 == first]
    assert times(asking, asked(span=TimeRange(last + 10**7, last + 2 * 10**7))) == []
    assert times(asking, asked(tenant="nobody")) == []


def test_a_selector_and_the_suffix_of_a_delta(pipeline: App, profiles: list[Profile]):
    asking = archive_of(pipeline)
    expected = sorted(
        one.time_ns for one in profiles if is_cpu(one) and dict(one.labels)[b"service_name"] == b"checkout"
    )
    assert times(asking, asked('{service_name="checkout"}')) == expected
    assert times(asking, asked('{service_name="checkout"}', kind=ProfileKind.parse(CPU.text + ":delta"))) == expected


def test_series_are_those_with_profiles_in_the_range(pipeline: App, profiles: list[Profile]):
    asking = archive_of(pipeline)
    middle = sorted(profile.time_ns for profile in profiles)[len(profiles) // 2] // 10**6
    for span in (EVER, TimeRange(0, middle), TimeRange(middle, 2**50), TimeRange(middle, middle)):
        # A series counts from its first to its last profile in a job, as the original counts blocks.
        found = set(asking.series("acme", all_of(()), span))
        expected = {one.labels for one in profiles if span.start_ms <= one.time_ns // 10**6 <= span.end_ms}
        assert expected <= found
        if span is EVER:
            assert found == expected
    some = asking.series("acme", all_of(['{service_name="checkout"}', "{pod!=''}"]), EVER)
    assert {dict(labels)[b"service_name"] for labels in some} == {b"checkout"}
    ends = [profile.time_ns // 10**6 for profile in profiles]
    assert asking.ends_ms("acme") == (min(ends), max(ends))
    assert asking.ends_ms("nobody") is None
    # Nobody's hours are not looked at one by one.
    hours: list[str] = []
    jobs = ArchivedJobs(pipeline.ledger)
    ProfileArchive(pipeline.archive, lambda: hours.append("asked") or [], jobs.explorable, knows=jobs.knows).ends_ms(
        "nobody"
    )
    assert hours == []


def test_what_is_known_of_jobs_is_not_read_again(pipeline: App):
    bucket = Counting(pipeline.archive)
    asking = archive_of(pipeline, bucket)
    found = asking.series("acme", all_of(()), EVER)
    before = bucket.asked
    assert before > 0
    assert asking.series("acme", all_of(()), EVER) == found
    assert bucket.asked == before


def test_no_more_is_remembered_than_may_be(pipeline: App, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "_REMEMBERED", 3)
    bucket = Counting(pipeline.archive)
    asking = archive_of(pipeline, bucket)
    found = asking.series("acme", all_of(()), EVER)
    before = bucket.asked
    assert asking.series("acme", all_of(()), EVER) == found
    assert bucket.asked > before


def test_a_question_that_takes_too_long_is_refused(pipeline: App):
    ticks = iter(range(1000))
    asking = archive_of(pipeline, seconds=1.5, clock=lambda: float(next(ticks)))
    with pytest.raises(QueryTooLarge, match=r"more than 1\.5 s; ask for a shorter time range"):
        list(asking.read(asked()))
    asking = archive_of(pipeline, seconds=0.5, clock=lambda: float(next(ticks)))
    with pytest.raises(QueryTooLarge):
        asking.series("acme", all_of(()), EVER)


def test_hours_that_may_hold_profiles_of_a_range():
    start = hour_start_ms("2026-11-25-09:00")
    span = TimeRange(start, start + 60_000)
    hours = [f"2026-11-25-{hour:02}:00" for hour in range(6, 13)]
    # Blocks are made after their profiles were taken.
    assert [one for one in hours if span.has_hour(hour_start_ms(one))] == ["2026-11-25-09:00", "2026-11-25-10:00"]
    with pytest.raises(BadQuery, match="after end time"):
        TimeRange(2, 1)


# --- Made-up profiles -------------------------------------------------------------------------------------------------


def chosen_of(job: list[ModelObject]) -> list[ChosenProfiles]:
    columns = [read_blocks([raw_object(model)], isolate=False).columns for model in job]
    return [ChosenProfiles(one, np.ones(len(one.rows.series), dtype=np.bool_)) for one in columns]


def every_profile(job: list[ModelObject]) -> list[Profile]:
    return [profile for model in job for dataset in model.datasets for profile in dataset.profiles]


@given(jobs(), st.sampled_from([[], ["pod"], ["service_name", "vehicle"], ["nosuch"]]), st.integers(1, 3000))
def test_points_are_sums_up_to_the_end_of_each_step(job: list[ModelObject], by: list[str], step_ms: int):
    span = TimeRange(0, 1_900_000_000_000)
    expected: dict[Any, Counter[int]] = {}
    for profile in every_profile(job):
        labels = {show_bytes(name): show_bytes(value) for name, value in reversed(profile.labels)}
        key = tuple((name, labels[name]) for name in sorted(by) if name in labels)
        time_ms = profile.time_ns // 10**6
        expected.setdefault(key, Counter())[-(-time_ms // step_ms) * step_ms] += profile.total_value
    found = lines(chosen_of(job), span, step_ms, by)
    assert {one.labels: dict(one.points) for one in found} == {
        key: {time_ms: float(value) for time_ms, value in points.items()} for key, points in expected.items()
    }
    assert [one.total for one in found] == sorted((one.total for one in found), reverse=True)
    assert lines(chosen_of(job), span, step_ms, by, limit=1) == found[:1]


@given(jobs())
def test_what_there_is_to_choose_from(job: list[ModelObject]):
    series = list({profile.labels for profile in every_profile(job)})
    pairs = [{(show_bytes(name), show_bytes(value)) for name, value in labels} for labels in series]
    every = {name for one in pairs for name, _ in one}
    assert label_names(series, any_name=True) == sorted(every)
    assert label_names(series, any_name=False) == sorted(name for name in every if name.isascii() and "." not in name)
    assert label_values(series, "pod") == sorted({value for one in pairs for name, value in one if name == "pod"})
    kinds = {value for one in pairs for name, value in one if name == "__profile_type__"}
    assert [one.ID for one in profile_types(series)] == sorted(kinds)
    found = [[(one.name, one.value) for one in own.labels] for own in label_sets(series, [], any_name=True)]
    assert found == sorted(sorted(one) for one in pairs)
    some = label_sets(series, ["pod", "nosuch"], any_name=False)
    assert len(some) == len({tuple(pair for pair in one if pair[0] == "pod") for one in pairs})
