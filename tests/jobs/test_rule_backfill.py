"""The backfill of one rule: the series that it would have had all along, and nothing else moves."""

import shutil
from pathlib import Path

import pytest

from pyro_assets.app import App
from pyro_assets.errors import SettingsError
from pyro_assets.jobs.counts import Progress
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.operations import runs, sending, ticks, upkeep
from pyro_assets.operations.runs import SERIES_STEPS
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.in_force import merge_rules
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.series.files import parquet_to_series
from pyro_assets.storage.keys import series_key
from tests.support import fakes
from tests.support.exports import HOUR, derive, got, opened, scripted
from tests.support.rule_places import FILE, GOLDEN, Place
from tests.support.scripted_server import scripted_server

RULE = Rule(name="main", functions=[Pattern(glob="main.*")], by=["service_name"])
OTHER = Rule(name="other", functions=[Pattern(glob="runtime.*")], match="self", by=[])
WHOLE = Rule(name="whole", by=["service_name"], metric="own", profile_types=["cpu"])


@pytest.mark.parametrize("mode", ["own", "observe"])
def test_live_and_backfilled_are_the_same(tmp_path: Path, mode: str) -> None:
    live, late = Place(tmp_path / "live", mode), Place(tmp_path / "late", mode)
    live.save(RULE, OTHER, WHOLE)
    live.live()
    late.save(OTHER)
    late.live()
    others = late.rows()
    # The other rule is edited, and the segments are gone: neither matters.
    late.save(OTHER.model_copy(update={"match": "total"}), RULE, WHOLE)
    late.source.objects.clear()
    report = late.backfill("main")
    assert late.rows("main") == live.rows("main")
    assert any(rows for _, rows in live.rows("main"))
    without = [(key, [row for row in rows if row["rule"] != "main"]) for key, rows in late.rows()]
    assert without == others
    jobs = report.jobs_by_state["derived"]
    assert (report.run.derived, report.run.compacted, report.run.failed) == (jobs, 0, 0)
    assert report.rules is not None
    assert [(one.rule, one.done, one.total) for one in report.rules.backfill] == [("main", jobs, jobs)]
    # Rules of whole profiles are in the other file; with them, all is as if it had been so for ever.
    late.save(OTHER)
    late.backfill("whole")
    assert late.rows() == live.rows()
    # Nothing is done twice, whatever another rule became.
    files = late.files()
    late.save(OTHER.model_copy(update={"match": "total"}))
    assert late.backfill("main", "whole").run.nothing_to_do
    assert live.backfill("main", "whole").run.nothing_to_do
    assert late.files() == files


@pytest.mark.parametrize("mode", ["own", "observe"])
def test_the_ledger_is_rebuilt_and_the_backfill_is_known(tmp_path: Path, mode: str) -> None:
    live, late = Place(tmp_path / "live", mode), Place(tmp_path / "late", mode)
    live.save(RULE, WHOLE)
    live.live()
    late.live()
    late.save(RULE, WHOLE)
    late.backfill("main")
    late.lose_ledger()
    live.lose_ledger()
    assert late.backfill("main").run.nothing_to_do
    assert live.backfill("main", "whole").run.nothing_to_do
    assert late.backfill("whole").run.derived > 0
    assert late.rows() == live.rows()


def test_an_interrupted_backfill_goes_on(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.live()
    place.save(RULE)

    def stop(progress: Progress) -> None:
        if progress.done == 2:
            raise fakes.Killed

    with pytest.raises(fakes.Killed):
        place.backfill("main", progress=stop)
    done = runs.hour_report(place.pipeline(), HOUR)
    jobs = done.jobs_by_state["derived"]
    assert done.rules is not None
    report = place.backfill("main")
    assert report.run.derived == jobs - 2
    assert report.rules is not None
    assert [(one.done, one.total) for one in report.rules.backfill] == [(jobs, jobs)]
    # Another version of the rule is another rule.
    place.save(RULE.model_copy(update={"match": "self"}))
    assert place.backfill("main").run.derived == jobs
    place.save(RULE)
    assert place.backfill("main").run.derived == jobs
    place.save(RULE.model_copy(update={"description": "in other words"}))
    assert place.backfill("main").run.nothing_to_do


def test_killed_anywhere_and_begun_again(tmp_path: Path) -> None:
    live = Place(tmp_path / "live")
    live.save(RULE, WHOLE)
    live.live()
    late = Place(tmp_path / "late")
    late.live()
    late.save(RULE, WHOLE)
    kept = dict(late.archive.objects)
    late.ledger.close()
    for at in range(0, 40, 3):
        folder = tmp_path / str(at)
        shutil.copytree(tmp_path / "late", folder)
        place = Place(folder)
        place.archive.objects = dict(kept)
        calls = at

        def die(method: str, _key: str) -> None:
            nonlocal calls
            calls -= method in ("replace", "create")
            if calls < 0:
                raise fakes.Killed

        if at % 2:
            place.ledger.kill_at = at
        else:
            place.archive.before = die
        try:
            place.backfill("main", "whole")
        except fakes.Killed:
            place.ledger.kill_at, place.archive.before = None, None
            place.clock.forward(120)  # the lease of the dead ends
            place.backfill("main", "whole")
        assert place.rows() == live.rows()
        place.archive.before = None
        assert place.backfill("main", "whole").run.nothing_to_do
        place.ledger.close()


def test_several_processes_backfill_as_one_does(tmp_path: Path) -> None:
    one, more = Place(tmp_path / "one"), Place(tmp_path / "more")
    for place in (one, more):
        place.live()
        place.save(RULE)
    one.backfill("main")
    # Processes need real folders.
    for key, data in (more.archive.objects | more.source.objects).items():
        path = tmp_path / "disk" / ("source" if key in more.source.objects else "archive") / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    from pyro_assets.storage.bucket import open_bucket

    rules = merge_rules(FILE, StoredRules(more.ledger).rules())
    pipeline = App(
        open_bucket(str(tmp_path / "disk/source")),
        open_bucket(str(tmp_path / "disk/archive"), True),
        more.ledger,
        more.settings.model_copy(
            update={"job_memory_mib": 1 << 30}
        ),  # a limit makes every job be computed in a process of its own
        rules.config,
        clock=more.clock,
    )
    report = runs.run(pipeline, [HOUR], SERIES_STEPS, run_id="backfill", rules=["main"])[HOUR]
    assert (report.run.failed, report.run.derived) == (0, 3)
    for key, data in one.files().items():
        assert (tmp_path / "disk/archive" / key).read_bytes() == data


def test_a_series_of_another_rule_stays_that_rules(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(OTHER)
    place.live()
    before = place.rows("other")
    # By name it would come first, had it been there all along.
    twin = OTHER.model_copy(update={"name": "a", "functions": [Pattern(regex="runtime\\..*"), Pattern(exact="none")]})
    place.save(twin)
    report = place.backfill("a")
    assert place.rows("other") == before
    assert not any(rows for _, rows in place.rows("a"))
    assert report.facts["conflicting_series (a)"] == sum(len(rows) for _, rows in before)
    assert any(example.startswith("rule a gives ") for example in report.examples)
    assert place.backfill("a").run.nothing_to_do


def test_of_rules_of_file_and_ledger_that_give_one_series_the_second_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    # Not the same rule, so that no look at the rules alone finds it.
    twin = OTHER.model_copy(update={"name": "twin", "functions": [Pattern(regex="runtime[.].*")]})
    place.save(twin)
    pipeline = place.pipeline(FILE.model_copy(update={"rules": [OTHER]}))
    ticks.tick(pipeline)
    report = runs.run(pipeline, [HOUR], run_id="live")[HOUR]
    ours = sum(len(rows) for _, rows in place.rows("other"))
    assert (report.facts["conflicting_series"], sum(len(rows) for _, rows in place.rows("twin"))) == (ours, 0)
    assert ours > 0
    assert any(example.startswith("rule twin gives ") for example in report.examples)
    assert report.rules is not None
    assert (report.rules.from_ledger, report.rules.left_out) == (1, ())


def test_a_rule_is_put_among_series_that_were_merged(tmp_path: Path) -> None:
    live, late = Place(tmp_path / "live"), Place(tmp_path / "late")
    live.save(RULE, WHOLE)
    live.live()
    late.live()
    late.clock.forward(3 * 3600)
    assert upkeep.merge_series(late.pipeline()).hours
    late.save(RULE, WHOLE)
    assert late.backfill("main", "whole").run.derived == 3
    reader = SeriesFiles(late.archive)
    for job_id in DueJobs(late.ledger).committed_jobs(HOUR):
        for file in JobRecords(late.ledger).look_up(job_id)[0].files:
            key, place = series_key(file.kind, HOUR, job_id), FileRecords(late.ledger).placed_file(job_id, file.kind)
            assert place is not None
            assert parquet_to_series(reader.own_file(place)).equals(parquet_to_series(live.archive.objects[key]))
    assert late.backfill("main", "whole").run.nothing_to_do
    # Merged again, they are in one file again.
    late.clock.forward(3 * 3600)
    assert upkeep.merge_series(late.pipeline()).hours
    assert late.backfill("main", "whole").run.nothing_to_do


def test_what_cannot_be_backfilled_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(RULE, WHOLE.model_copy(update={"enabled": False}))
    place.live()
    for name in ("none", "whole"):
        with pytest.raises(SettingsError, match=f"no rule '{name}' is in force"):
            place.backfill(name)
    with pytest.raises(SettingsError, match="select the asset function_series"):
        runs.run(place.pipeline(), [HOUR], frozenset({"dimension_series"}), run_id="x", rules=["main"])
    # Short forms and recording rules have ids too.
    assert place.backfill("function:runtime.mallocgc", GOLDEN.rules[0]["id"], "dimensions").run.nothing_to_do


def test_jobs_that_are_not_derived_are_left_to_their_own_run(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(RULE)
    ticks.tick(place.pipeline())
    assert place.backfill("main").run.nothing_to_do
    runs.run(place.pipeline(), [HOUR], frozenset({"l1_blocks"}), run_id="compact")
    assert place.backfill("main").run.nothing_to_do


def test_receivers_get_the_new_rules_samples_alone(tmp_path: Path) -> None:
    before = FILE.model_copy(update={"rules": [OTHER]})
    after = FILE.model_copy(update={"rules": [OTHER.model_copy(update={"match": "total"}), RULE]})
    with scripted_server() as server, scripted_server() as late_server:
        # The second receiver begins after these hours: it gets nothing of them unless it is asked for.
        receivers = [scripted(server), scripted(late_server, "late", start="2026-11-25-12:00")]
        with opened(tmp_path, *receivers, series=before) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR], names=["r"])
        sent = got(server)
        server.requests.clear()
        with opened(tmp_path, *receivers, series=after) as pipeline:
            report = runs.run(pipeline, [HOUR], SERIES_STEPS, run_id="backfill", rules=["main"])[HOUR]
            assert report.run.derived == 3
            done = sending.exporter(pipeline, [HOUR], explicit=False).finish()
            assert (done["r"].jobs, done["r"].changed, done["r"].refused.total()) == (3, 0, 0)
            assert done["late"].jobs == 0
            assert not late_server.requests
            requests = len(server.requests)
            assert sending.exporter(pipeline, [HOUR], explicit=False).finish()["r"].jobs == 0
            assert len(server.requests) == requests
        fresh = got(server)
        assert fresh
        assert not set(fresh) & set(sent)
        assert {dict(labels)["function"].partition(".")[0] for labels in fresh} == {"main"}


def test_what_the_ledger_cannot_mean_breaks_nothing(tmp_path: Path) -> None:
    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    bodies = {"a": '{"name": "a", "by": ["tenant"]}', "b": "no json", "c": '{"name": "c"}', "d": '{"name": "d"}'}
    StoredRules(ledger).edit_rules(
        [RuleEdit(name, body, 0) for name, body in bodies.items()], author="x", why="", now_ms=1
    )
    merged = merge_rules(SeriesConfig(), StoredRules(ledger).rules())
    ledger.close()
    assert [(one.name, bool(one.problem)) for one in merged.known] == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", True),
    ]
    assert [rule.name for rule in merged.config.rules] == ["c"]
    assert "must give the same series" in merged.known[3].problem


def test_the_files_rule_wins(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(RULE)
    own = FILE.model_copy(update={"rules": [RULE.model_copy(update={"match": "self"})]})
    merged = merge_rules(own, StoredRules(place.ledger).rules())
    assert [(one.origin, bool(one.problem)) for one in merged.known] == [("file", False), ("ledger", True)]
    assert merged.config.hash == own.hash
    report = merged.report()
    assert (report.from_file, report.from_ledger) == (1 + 1 + len(GOLDEN.rules), 0)
    assert report.left_out == (("main", "a rule of the file has this name, and the file wins"),)
