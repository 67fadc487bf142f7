"""What Explore shows of real jobs, against the slow decoder; how much of it is read; what is remembered."""

import itertools
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.archive.hours import compact_hour_blocks
from pyro_assets.errors import ObjectMissing, SelectorError
from pyro_assets.explore.profiles import Choices, Explored, Explorer, Moment, Question, choose_type
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.storage.bucket import open_bucket
from tests.oracle import decoder as slow_decoder
from tests.oracle import rules as slow_rules
from tests.oracle import series as slow_series
from tests.oracle.series import Row
from tests.oracle.values import Profile
from tests.support import golden_bucket
from tests.support.cli_runner import places, run

GOLDEN = golden_bucket.committed()
CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
INUSE = "memory:inuse_space:bytes:space:bytes"


class World:
    """The real bucket's jobs in an archive."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        result = run("run", "--jobs", GOLDEN.root / "jobs.json", "--source-url", GOLDEN.root, *places(folder))
        assert result.exit_code == 0, result.output
        options = dict(zip(*[iter(map(str, places(folder)))] * 2, strict=True))
        self.ledger = Ledger.open(options["--ledger-url"])
        self.hours = tuple(HourRecords(self.ledger).hours())
        self.jobs = ArchivedJobs(self.ledger).archived_jobs(self.hours)
        self.ticks = 0
        self.explorer = Explorer(open_bucket(str(folder / "archive")), self.ledger, self.clock)

    def compact(self) -> None:
        """Makes blocks of its hours."""
        archive = open_bucket(str(self.folder / "archive"), writable=True)
        assert all(compact_hour_blocks(archive, self.ledger, hour, 2**50).is_done for hour in self.hours)

    def clock(self) -> float:
        self.ticks += 1
        return float(self.ticks)

    def question(self, kind: str = CPU, selector: str = "{}", tenant: str = "acme", budget: float = 1e9) -> Question:
        return Question(tenant, kind, self.hours, selector, budget)

    def profiles(self, tenant: str) -> list[tuple[Any, Profile]]:
        """Every profile of a tenant with its job, read slowly from the level-1 blocks."""
        return [
            (job, one)
            for job in self.jobs
            for output in job.outputs
            if output.tenant == tenant
            for dataset in slow_decoder.decode_object(
                (self.folder / "archive" / output.key).read_bytes(), ascending=False
            ).datasets
            for one in dataset.profiles
        ]


@pytest.fixture(scope="module", params=["jobs", "hours"])
def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    """Answers are the same whether hours are read job by job, or were compacted to blocks of their own."""
    made = World(tmp_path_factory.mktemp("exploring"))
    if request.param == "hours":
        made.compact()
    yield made
    made.ledger.close()


def kind_of(profile: Profile) -> str:
    return dict(profile.labels)[b"__profile_type__"].decode()


def check(found: Explored, profiles: list[tuple[Any, Profile]]) -> None:
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    paths: Counter[tuple[str, ...]] = Counter({(): 0})
    moments: Counter[Any] = Counter()
    for job, profile in profiles:
        for one in profile.samples:
            path = tuple(name or "" for name in slow_rules.frames(one.stack))
            moments[job.timestamp_ms, job.shard] += one.value
            for name in set(path) - {""}:
                total[name] += one.value
                own[name] += one.value * (path[-1] == name)
            for length in range(len(path) + 1):
                paths[path[:length]] += one.value
    assert found.total == paths[()]
    assert found.moments == tuple(Moment(*key, value) for key, value in sorted(moments.items()))
    names = found.tree.names
    assert dict(zip(names, found.totals.tolist(), strict=True)) == total
    assert dict(zip(names, found.own.tolist(), strict=True)) == {name: own[name] for name in total}
    assert (found.totals >= found.own).all()
    text: list[tuple[str, ...]] = [()]
    for node in range(1, len(found.tree.parent)):
        text.append((*text[int(found.tree.parent[node])], found.tree.text(node)))
    assert dict(zip(text, found.tree.total.tolist(), strict=True)) == paths
    assert (found.profiles, found.samples) == (len(profiles), sum(len(one.samples) for _, one in profiles))


@pytest.mark.parametrize("tenant", ["acme", "globex", "initech"])
@pytest.mark.parametrize("service", ["", "ride-sharing-app"])
def test_flows_of_every_tenant(world: World, tenant: str, service: str):
    selector = f'{{service_name="{service}"}}' if service else "{}"
    own = world.profiles(tenant)
    kinds = {kind_of(one) for _, one in own}
    assert CPU in kinds
    for kind in sorted(kinds):
        found = world.explorer.explore(world.question(kind, selector, tenant))
        assert found.is_exact
        check(
            found,
            [
                (job, one)
                for job, one in own
                if kind_of(one) == kind and service in ("", dict(one.labels)[b"service_name"].decode())
            ],
        )


def test_of_a_gauge_the_last_profile_of_a_target_and_job_counts(world: World):
    found = world.explorer.explore(world.question(INUSE), ["inuse_*"])
    profiles = [(job, one) for job, one in world.profiles("acme") if kind_of(one) == INUSE]
    # A job of its own is told apart as a tenant of its own.
    rows = [Row(job.id.encode(), dict(one.labels)[b"service_name"], 0, one) for job, one in profiles]
    counts = [is_last for _, is_last in slow_series.profiles(rows)]
    kept = [pair for pair, is_last in zip(profiles, counts, strict=True) if is_last]
    assert found.is_gauge
    assert len(kept) < len(profiles)
    check(found, kept)


def test_without_time_some_jobs_are_read_and_it_says_so(world: World):
    jobs = sum(any(output.tenant == "acme" for output in job.outputs) for job in world.jobs)
    found = world.explorer.explore(world.question(budget=0))
    assert (found.jobs_read, found.jobs, found.is_exact) == (1, jobs, False)
    assert len(found.moments) == 1
    assert 0 < found.bytes_read <= found.bytes_stored


def test_what_can_be_chosen(world: World):
    choices = world.explorer.choices(world.hours)
    own = [dict(one.labels) for _, one in world.profiles("acme")]
    assert choices.tenants == ("acme", "globex", "initech")
    assert choices.services == tuple(sorted({labels[b"service_name"].decode() for labels in own}))
    assert set(choices.profile_types) <= {labels[b"__profile_type__"].decode() for labels in own}
    assert choose_type(list(choices.profile_types)) == CPU
    assert "service_name" in choices.labels
    assert not any(name.startswith("__") for name in choices.labels)
    assert 0 < choices.jobs_looked_at <= len(world.jobs)
    assert world.explorer.choices(world.hours) is choices
    assert world.explorer.choices([]) == Choices((), (), {}, {}, 0)
    assert choose_type([]) == ""


def test_nothing_that_fits(world: World):
    for question in (world.question("no:such:type:at:all"), world.question(selector='{pod="none"}')):
        found = world.explorer.explore(question)
        assert (found.total, found.profiles, found.moments, found.is_exact) == (0, 0, (), True)
    assert world.explorer.explore(world.question(tenant="nobody")).jobs == 0
    with pytest.raises(SelectorError):
        world.explorer.explore(world.question(selector="{a"))


def test_answers_are_remembered_and_forgotten(world: World, tmp_path: Path):
    archive = open_bucket(str(world.folder / "archive"))
    explorer = Explorer(archive, world.ledger)
    first = explorer.explore(world.question())
    assert explorer.explore(world.question()) is first
    # Other gauges are another question.
    assert explorer.explore(world.question(), ["cpu"]).profiles < first.profiles
    for number in range(8):
        explorer.explore(world.question(f"no:{number}:a:b:c"))
    assert explorer.explore(world.question()) is not first
    # What is remembered needs no archive; what is not, does.
    empty = Explorer(open_bucket(str(tmp_path), writable=True), world.ledger)
    with pytest.raises(ObjectMissing):
        empty.explore(world.question())


def test_who_walks_through_an_answer_gets_the_same_one(world: World, monkeypatch: pytest.MonkeyPatch):
    jobs = [job for job in world.jobs if any(one.tenant == "acme" for one in job.outputs)]
    asked = itertools.count(1)  # another job each time somebody asks
    monkeypatch.setattr(ArchivedJobs, "explorable", lambda *_: jobs[: next(asked)])
    seconds = [0.0]
    explorer = Explorer(open_bucket(str(world.folder / "archive")), world.ledger, lambda: seconds[0])
    first = explorer.explore(world.question())
    seconds[0] = 60.0
    assert explorer.explore(world.question(), max_age_seconds=60) is first
    assert next(asked) == 2
    asked = itertools.count(2)
    later = explorer.explore(world.question())
    assert (first.jobs, later.jobs) == (1, 2)
    # With the same jobs an answer is as good as new.
    seconds[0] = 300.0
    assert explorer.explore(world.question()) is later
    seconds[0] = 330.0
    assert explorer.explore(world.question(), max_age_seconds=60) is later
    assert next(asked) == 4


def test_many_threads_get_one_answer(world: World):
    explorer = Explorer(open_bucket(str(world.folder / "archive")), world.ledger)
    totals: list[int] = []
    threads = [
        threading.Thread(target=lambda: totals.append(explorer.explore(world.question()).total)) for _ in range(4)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert totals == [explorer.explore(world.question()).total] * 4
