"""A pipeline in memory for tests of its faces: says what it is told to, remembers what it was asked.

It holds to the functions of `pyro_assets.operations` and to those parts of the ledger that its faces ask; behaviour
belongs to the real one.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from pyro_assets.app import App
from pyro_assets.archive.hours import HourCompaction
from pyro_assets.archive.merge import MergeReport
from pyro_assets.archive.retain import Keep, RetentionReport
from pyro_assets.archive.scrub import Damage, ScrubReport
from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.errors import PyroAssetsError
from pyro_assets.export.exporter import ExportCounts
from pyro_assets.jobs.beats import Beat, Beats
from pyro_assets.jobs.counts import Progress, RunCounts, VerifyReport
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.lag import figures_of
from pyro_assets.monitoring.now import Alert
from pyro_assets.monitoring.reports import HourReport, Lag
from pyro_assets.operations import decide, runs, sending, ticks, upkeep
from pyro_assets.operations.decide import LeftOut
from pyro_assets.operations.runs import STEPS, Step
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import Policy
from pyro_assets.planning.report import TickReport
from pyro_assets.planning.sweep import RescanReport
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.settings import Settings

_numbers = itertools.count()
_FAKES: dict[str, "FakePipeline"] = {}


@dataclass
class FakePipeline:
    """The pipeline: `hours_known` is what hours look like, `ticks` what the next ticks find (the last one repeats)."""

    hours_known: dict[str, HourReport] = field(default_factory=dict)
    ticks: list[TickReport | PyroAssetsError] = field(default_factory=list)
    failing: dict[str, str] = field(default_factory=dict)
    verified: dict[str, VerifyReport] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    counts: dict[str, ExportCounts] = field(default_factory=dict)
    heard: dict[str, Beat] = field(default_factory=dict)
    words: dict[str, str] = field(default_factory=dict)
    upkeep: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    merged: MergeReport = field(default_factory=MergeReport)
    retained: RetentionReport = field(default_factory=RetentionReport)
    problem: str = ""
    missing: LeftOut = field(default_factory=LeftOut)
    listed: list[list[str]] = field(default_factory=list)
    seen: RescanReport = field(default_factory=lambda: RescanReport(finished=True))
    swept: RescanReport = field(default_factory=RescanReport)
    compacted: dict[str, HourCompaction] = field(default_factory=dict)
    scrubbed: ScrubReport = field(default_factory=ScrubReport)
    wrong: list[Alert] = field(default_factory=list)
    looked: list[tuple[list[str], object]] = field(default_factory=list)
    since: list[int | None] = field(default_factory=list)
    settings: Settings = field(default_factory=Settings)
    opened: int = 0
    closed: int = 0

    def warnings(self) -> list[str]:
        return []

    def tick(self, now_ms: int | None = None, since_ms: int | None = None) -> TickReport:
        self.since.append(since_ms)
        tick = self.ticks.pop(0) if len(self.ticks) > 1 else self.ticks[0]
        if isinstance(tick, PyroAssetsError):
            raise tick
        return tick

    def run(
        self,
        hours: Sequence[str],
        steps: frozenset[Step] = STEPS,
        *,
        run_id: str,
        rules: Sequence[str] = (),
        lane: object = None,
        asked: bool = False,
        deadline_monotonic: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, HourReport]:
        self.asked.append(
            {"hours": list(hours), "steps": set(steps), "run_id": run_id, "lane": lane, "deadline": deadline_monotonic}
        )
        if rules:
            self.asked[-1]["rules"] = list(rules)
        reports = {}
        for hour in hours:
            before = self.hour_report(hour)
            done = RunCounts(compacted=before.undone_jobs, derived=before.undone_jobs, seconds=0.5)
            if hour in self.failing and before.undone_jobs:
                done = RunCounts(compacted=before.undone_jobs, failed=1, errors=[self.failing[hour]])
            elif before.undone_jobs:
                self.hours_known[hour] = replace(before, pending=0, undone_jobs=0)
            if progress:
                progress(Progress(1, len(hours), "job", hour))
            reports[hour] = replace(self.hour_report(hour), run=done)
        return reports

    def merge_series(self, **how: Any) -> MergeReport:
        self.upkeep.append(("merge", how))
        return self.merged

    def hours_without_blocks(self) -> list[str]:
        return [hour for hour, report in self.compacted.items() if not report.is_done]

    def compact_hours(self, hours: Sequence[str], **how: Any) -> dict[str, HourCompaction]:
        self.upkeep.append(("compact", {"hours": list(hours)}))
        return {hour: self.compacted[hour] for hour in hours if hour in self.compacted}

    def retain(self, keep: Keep, *, apply: bool, **how: Any) -> RetentionReport:
        self.upkeep.append(("retain", {"keep": keep, "apply": apply}))
        return self.retained

    def scrub(self, **how: Any) -> ScrubReport:
        self.upkeep.append(("scrub", how))
        return self.scrubbed

    def damaged(self) -> list[Damage]:
        return self.scrubbed.damaged

    def sweep(self, max_keys: int) -> RescanReport:
        self.upkeep.append(("sweep", {"max_keys": max_keys}))
        return self.swept

    def list_hours(self, hours: Sequence[str], *, deadline_monotonic: float | None = None) -> RescanReport:
        self.listed.append(list(hours))
        if self.seen.finished:
            for hour in hours:
                self.hours_known[hour] = replace(self.hour_report(hour), listed_ms=1)
        return self.seen

    def left_out(self) -> LeftOut:
        return self.missing

    def source_problem(self) -> str:
        return self.problem

    def exporter(self, hours: Sequence[str], **how: Any) -> "FakeExporter":
        return FakeExporter(self, list(hours), how)

    def receivers(self) -> tuple[()]:
        return ()

    def look(self, hours: Sequence[str], lane: object = None) -> int:
        self.looked.append((list(hours), lane))
        return 0

    def plan_aged(self, now_ms: int, policy: Policy) -> int:
        return 0

    @contextmanager
    def turn(self, lane: object, run_id: str) -> Iterator["FakePipeline"]:
        yield self

    @property
    def is_over(self) -> bool:
        """Whether another run has taken the turn."""
        return False

    def leave(self) -> None:
        pass

    def alerts(self, now_ms: int) -> list[Alert]:
        return self.wrong

    def clock(self) -> int:
        return 0

    @property
    def ledger(self) -> "FakePipeline":
        """Itself, whose methods answer for parts of a ledger."""
        return self

    def beat(self, run_id: str, now_ms: int) -> None:
        self.heard[run_id] = Beat(0, "elsewhere/1/1")

    def end_beats(self, run_id: str) -> None:
        self.heard.pop(run_id, None)

    def last_words(self, run_id: str) -> str:
        return self.words.get(run_id, "")

    def beats(self) -> dict[str, Beat]:
        return dict(self.heard)

    def due_hours(
        self, now_ms: int, kinds: Collection[str], lane: object = None, since_hour: str = ""
    ) -> dict[str, int]:
        return {hour: report.undone_jobs for hour, report in self.hours_known.items() if report.undone_jobs}

    def hours(self) -> list[str]:
        return sorted(self.hours_known)

    def hour_report(self, hour: str) -> HourReport:
        return self.hours_known.get(hour, HourReport(hour))

    def verify_hour(self, hour: str, *, deadline_monotonic: float | None = None, again: bool = False) -> VerifyReport:
        return self.verified.get(hour, VerifyReport(hour, checked=1, totals=3))

    def __enter__(self) -> "FakePipeline":
        self.opened += 1
        return self

    def __exit__(self, *exception: object) -> None:
        self.closed += 1


@dataclass
class FakeExporter:
    """Sends nothing; `sent` of its pipeline lists for which hours it was asked, and `counts` is what it came to."""

    pipeline: FakePipeline
    hours: list[str]
    how: dict[str, Any]

    def finish(self, seconds: float | None = None, idle_seconds: float | None = None) -> dict[str, ExportCounts]:
        self.pipeline.sent.append({"hours": self.hours, **self.how})
        return self.stop()

    def stop(self) -> dict[str, ExportCounts]:
        return self.pipeline.counts


class FakePipelineResource(PipelineResource):
    """Opens the fake that is registered under its source's URL (Dagster copies resources, so it cannot hold one)."""

    def open(self, *, series: bool = False) -> App:
        return _FAKES[self.source_url]  # type: ignore[return-value]


def resources_with(fake: FakePipeline, **settings: Any) -> dict[str, Any]:
    """What `build_defs` takes, around a fake."""
    url = f"fake://{next(_numbers)}"
    _FAKES[url] = fake
    keep = {name: settings.pop(name) for name in tuple(settings) if name in RetentionResource.model_fields}
    # No staying for work that becomes due later: nothing does in a fake.
    settings.setdefault("live_budget_seconds", 0.0)
    pipeline = FakePipelineResource(
        source_url=url, archive_url="fake://archive", ledger_url="fake://ledger", **settings
    )
    return {"pipeline": pipeline, "retention": RetentionResource(**{"keep_runs_minutes": 60.0} | keep)}


def hour_of_work(hour: str, jobs: int = 2, *, done: bool = False) -> HourReport:
    """An hour with some jobs, planned or derived."""
    return HourReport(
        hour,
        segments=20 * jobs,
        shards=2,
        jobs_by_state={"derived" if done else "planned": jobs},
        blocks=3 * jobs if done else 0,
        bytes_in=20_000 * jobs,
        bytes_out=9_000 * jobs,
        profiles=100 * jobs,
        samples=1_000 * jobs,
        series={"dimension": 40 * jobs, "function": 4 * jobs},
        job_seconds=0.25 * jobs,
        lag=Lag(jobs, 6.0, 9.0, 11.0),
        lags={"compacted": figures_of([(4_000, jobs)]), "derived": figures_of([(6_000, jobs), (9_000, 1)])},
        pending=0 if done else 20 * jobs,
        undone_jobs=0 if done else jobs,
        listed_ms=1,
    )


def _or_fake(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(first: Any, *args: Any, **how: Any) -> Any:
        asked = first.ledger if isinstance(first, Queries) else first
        if isinstance(asked, FakePipeline):
            return getattr(asked, function.__name__)(*args, **how)
        return function(first, *args, **how)

    return call


# Faces call functions, and methods of parts of a ledger, with what they were given: a fake is asked for its method of
# the same name.
_METHODS: tuple[tuple[type[Queries], str], ...] = (
    (Beats, "beat"),
    (Beats, "end_beats"),
    (Beats, "beats"),
    (DueJobs, "due_hours"),
    (HourRecords, "hours"),
    (Planner, "plan_aged"),
    (QuarantineRecords, "last_words"),
    (ScrubRecords, "damaged"),
)
for _part, _name in _METHODS:
    setattr(_part, _name, _or_fake(getattr(_part, _name)))
for _module in (decide, runs, sending, ticks, upkeep):
    for _name, _function in inspect.getmembers(_module, inspect.isfunction):
        if _function.__module__ == _module.__name__ and not _name.startswith("_"):
            setattr(_module, _name, _or_fake(_function))
