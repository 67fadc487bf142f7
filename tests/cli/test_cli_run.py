"""`run` does the whole pipeline; with `--jobs` it makes of the real bucket exactly what the original made of it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.planning.listed_hours import ListedHours
from tests.support import golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, places, run
from tests.support.exports import HOUR, expected, got
from tests.support.golden_bucket import GoldenBucket
from tests.support.scripted_server import Reply, Request, scripted_server

GOLDEN = golden_bucket.committed()
FUNCTION = "main.fibonacci"


def config_of(golden: GoldenBucket, folder: Path) -> Path:
    """The original's recording rules, and dimension series of everything."""
    path = folder / "series.json"
    path.write_text(json.dumps({"recording_rules": golden.rules, "functions": {FUNCTION: "{}"}}))
    return path


def recorded_of(folder: Path) -> list[dict[str, Any]]:
    """What `series` prints of the imported rules."""
    result = run("series", "--archive-url", folder / "archive", "--metric", "profiles_recorded_*")
    assert result.exit_code == 0
    return sorted(map(json.loads, result.stdout.splitlines()), key=repr_of)


def repr_of(sample: dict[str, Any]) -> str:
    return json.dumps(sample, sort_keys=True)


def expected_of(golden: GoldenBucket) -> list[dict[str, Any]]:
    lines = (golden.root / "recorded.jsonl").read_text().splitlines()
    return sorted(map(json.loads, lines), key=repr_of)


def check_jobs_of(golden: GoldenBucket, folder: Path) -> None:
    result = run(
        "run", "--jobs", golden.root / "jobs.json", "--source-url", golden.root, *places(folder), "--json",
        "--dedup", "original", "--config", config_of(golden, folder),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    jobs = sum(hour["run"]["derived"] for hour in report["hours"].values())
    assert jobs == len(golden.jobs)
    assert report["planned_jobs"] == 0
    assert recorded_of(folder) == expected_of(golden)
    commits = [json.loads(path.read_bytes()) for path in (folder / "archive" / "commits").rglob("*.json")]
    assert sorted([source["key"] for source in commit["sources"]] for commit in commits) == sorted(golden.jobs)


def test_exactly_these_jobs(tmp_path: Path):
    check_jobs_of(GOLDEN, tmp_path)
    again = run(
        "run", "--jobs", GOLDEN.root / "jobs.json", "--source-url", GOLDEN.root, *places(tmp_path), "--json",
        "--dedup", "original", "--config", config_of(GOLDEN, tmp_path),
    )  # fmt: skip
    assert again.exit_code == 0
    assert sum(hour["run"]["derived"] for hour in json.loads(again.stdout)["hours"].values()) == 0


def test_all_jobs_of_the_real_bucket(bucket_2026: Path, tmp_path: Path):
    """All 534 samples that the original recorded."""
    check_jobs_of(GoldenBucket(bucket_2026), tmp_path)


def test_everything_that_is_due(tmp_path: Path):
    result = run("run", "--source-url", GOLDEN.root, *places(tmp_path), "--json", "--dedup", "exact")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    segments = sum(1 for _ in (GOLDEN.root / "segments").rglob("block.bin"))
    assert sum(hour["segments"] for hour in report["hours"].values()) == segments
    assert report["planned_jobs"] == sum(hour["run"]["derived"] for hour in report["hours"].values()) > 0
    assert all(hour["pending"] == 0 for hour in report["hours"].values())


def test_people_get_a_table_and_a_second_run_has_nothing_to_do(tmp_path: Path):
    first = run("run", "--source-url", GOLDEN.root, *places(tmp_path))
    assert first.exit_code == 0, first.output
    assert "hour (UTC)" in first.stdout
    assert "jobs derived in" in first.stdout
    second = run("run", "--source-url", GOLDEN.root, *places(tmp_path))
    assert second.exit_code == 0
    assert f"nothing to do in {GOLDEN.root}" in second.stdout


def test_hours_that_are_over_are_listed_as_a_whole_and_complete(tmp_path: Path):
    assert run("run", "--source-url", GOLDEN.root, *places(tmp_path)).exit_code == 0
    with closing(Ledger.open(str(tmp_path / "ledger.db"))) as ledger:
        assert ListedHours(ledger).listed_hours() == set(HourRecords(ledger).hours()) != set()


def test_a_prefix_without_segments_and_blocks_is_no_success(tmp_path: Path):
    (tmp_path / "bucket" / "phlaredb").mkdir(parents=True)
    result = run("run", "--source-url", tmp_path / "bucket", *places(tmp_path))
    fails(result, "has neither segments/ nor blocks/ (only phlaredb/)")


def test_observe_takes_the_originals_blocks(tmp_path: Path):
    result = run("run", "--source-url", GOLDEN.root, *places(tmp_path), "--json", "--mode", "observe")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    blocks = [path.relative_to(GOLDEN.root) for path in (GOLDEN.root / "blocks").rglob("block.bin")]
    assert sum(hour["run"]["derived"] for hour in report["hours"].values()) == len(blocks)
    # The archive outlives the source, so it has copies.
    assert all((tmp_path / "archive" / path).read_bytes() == (GOLDEN.root / path).read_bytes() for path in blocks)


def test_urls_come_from_the_environment(tmp_path: Path):
    env = {
        "PYRO_ASSETS_SOURCE_URL": str(GOLDEN.root),
        "PYRO_ASSETS_ARCHIVE_URL": str(tmp_path / "a"),
        "PYRO_ASSETS_LEDGER_URL": f"sqlite:///{tmp_path / 'l.db'}",
    }
    assert run("run", env=env).exit_code == 0
    assert (tmp_path / "a" / "commits").is_dir()


def test_a_source_that_is_broken_is_set_aside_and_named(tmp_path: Path):
    key = GOLDEN.jobs[0][0]
    for one in GOLDEN.jobs[0]:
        target = tmp_path / "bucket" / one
        target.parent.mkdir(parents=True)
        data = GOLDEN.read(one)
        target.write_bytes(data[:-5] if one == key else data)
    where = ["run", "--source-url", tmp_path / "bucket", *places(tmp_path)]
    result = run(*where)
    assert f"set_aside: {key}: " in result.stdout
    fails(result, f"1 sources of {HOUR} are in no output, the first: {key}: set_aside: ")
    # Where there is nothing to do, nobody is told again.
    assert run(*where).exit_code == 0


def test_a_source_that_somebody_acknowledged_fails_no_later_run_of_its_hour(tmp_path: Path):
    broken, job = GOLDEN.jobs[0][0], GOLDEN.jobs[1]
    for one in (broken, *job):
        target = tmp_path / "bucket" / one
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(GOLDEN.read(one)[: 100 if one == broken else None])
    lists = tmp_path / "first.json", tmp_path / "second.json"
    for path, keys in zip(lists, ([broken], job), strict=True):
        path.write_text(json.dumps([keys]))
    where = ["--source-url", tmp_path / "bucket", *places(tmp_path)]
    fails(run("run", "--jobs", lists[0], *where), f"1 sources of {HOUR} are in no output")
    assert run("quarantine", "forget", broken, *places(tmp_path)).exit_code == 0
    later = run("run", "--jobs", lists[1], *where)
    assert (later.exit_code, HOUR in later.stdout) == (0, True), later.output


def test_a_failed_job_that_waits_for_its_next_attempt_is_said(tmp_path: Path):
    where = ["run", "--source-url", tmp_path / "bucket", *places(tmp_path)]
    for one in GOLDEN.jobs[0]:
        target = tmp_path / "bucket" / one
        target.parent.mkdir(parents=True)
        target.write_bytes(GOLDEN.read(one))
    # A folder in the place of the series makes the derivation fail, whose files cannot be written then.
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive" / "series").write_bytes(b"no folder")
    assert run(*where).exit_code == 1
    again = run(*where, "--json")
    (sentence,) = json.loads(again.stdout)["left_out"]
    assert f"of {HOUR} waits for its next attempt: " in sentence
    fails(again, "waits for its next attempt: ")


def test_what_the_exit_status_means_stands_in_the_help():
    text = " ".join(run("run", "--help").stdout.split())
    for word in ("waits for its next attempt", "set aside or lost", "did not get everything"):
        assert word in text


@pytest.mark.parametrize("content", ["{", "{}", "[[]]", "[[1]]", '["segments/1"]'])
def test_a_file_of_jobs_that_is_none(tmp_path: Path, content: str):
    (tmp_path / "jobs.json").write_text(content)
    fails(run("run", "--jobs", tmp_path / "jobs.json", "--source-url", GOLDEN.root, *places(tmp_path)), "jobs.json")


def test_jobs_with_sources_that_do_not_exist_or_are_no_blocks(tmp_path: Path):
    for key in ("segments/4/anonymous/01M891VPM4XX31MPMZXPGM0RM0/block.bin", "readme.txt"):
        (tmp_path / "jobs.json").write_text(json.dumps([[key]]))
        options = ["--jobs", tmp_path / "jobs.json", "--source-url", GOLDEN.root, *places(tmp_path)]
        fails(run("run", *options), key)


def test_a_source_folder_that_does_not_exist(tmp_path: Path):
    fails(run("run", "--source-url", tmp_path / "nowhere", *places(tmp_path)), "nowhere", "does not exist")


def test_source_and_archive_must_differ(tmp_path: Path):
    result = run("run", "--source-url", tmp_path / "archive", *places(tmp_path))
    fails(result, "archive")


def test_a_broken_configuration_is_refused_with_file_and_line(tmp_path: Path):
    (tmp_path / "series.yaml").write_text("functions:\n  foo: '{service_name='\n")
    result = run("run", "--config", tmp_path / "series.yaml", "--source-url", GOLDEN.root, *places(tmp_path))
    fails(result, "series.yaml:2")
    fails(run("run", "--config", tmp_path / "none.yaml", "--source-url", GOLDEN.root, *places(tmp_path)), "none.yaml")


def receivers_file(folder: Path, url: str, **more: Any) -> Path:
    one = {"name": "local", "kind": "prometheus", "url": f"{url}/api/v1/write", "out_of_order_window": "3650d"} | more
    path = folder / "receivers.yaml"
    path.write_text(json.dumps({"receivers": [one]}))
    return path


def test_what_was_derived_is_sent_where_receivers_are_configured(tmp_path: Path):
    where = ["run", "--source-url", GOLDEN.root, *places(tmp_path)]
    with scripted_server() as server:
        file = receivers_file(tmp_path, server.url, start=HOUR)
        first = run(*where, "--receivers", file, "--json")
        assert first.exit_code == 0, first.output
        done = json.loads(first.stdout)["receivers"]["local"]
        samples = sum(map(len, expected(tmp_path).values()))
        assert (done["samples"], done["error"], done["refused"]) == (samples, "", {})
        assert got(server) == expected(tmp_path)
        # The variable names the file too; what is there is not sent again.
        requests = len(server.requests)
        again = run(*where, env={"PYRO_ASSETS_RECEIVERS": str(file)})
        assert again.exit_code == 0, again.output
        assert "local: nothing to send" in again.stdout
        assert len(server.requests) == requests
    without = run(*where, "--json")
    assert json.loads(without.stdout)["receivers"] == {}


def test_a_receiver_that_is_down_does_not_undo_the_run_but_is_said(tmp_path: Path):
    where = ["run", "--source-url", GOLDEN.root, *places(tmp_path)]
    with scripted_server(default=404) as server:
        result = run(*where, "--receivers", receivers_file(tmp_path, server.url, start=HOUR))
        fails(result, "local", "404")
        assert "jobs derived in" in result.stdout
        assert expected(tmp_path)
        server.default = 204
        assert run(*where, "--receivers", tmp_path / "receivers.yaml").exit_code == 0
        assert {labels: sorted(set(values)) for labels, values in got(server).items()} == expected(tmp_path)


def refuses_a_service(request: Request) -> Reply:
    """Like a receiver without a window: a request with a series of this service is refused as a whole."""
    bad = any(dict(labels).get("service_name") == "billing" for labels, _, _ in request.series)
    return Reply(400, b"out of order sample") if bad else Reply()


@pytest.mark.parametrize("command", ["run", "export"])
def test_json_of_refused_samples_says_why_and_whose(tmp_path: Path, command: str):
    where = ["--source-url", GOLDEN.root, *places(tmp_path)]
    if command == "export":
        assert run("run", *where).exit_code == 0
    with scripted_server(default=refuses_a_service) as server:
        file = receivers_file(tmp_path, server.url, start=HOUR)
        result = run(command, *where, "--receivers", file, "--json")
    (tenant,) = {dict(labels)["tenant"] for labels in expected(tmp_path) if ("service_name", "billing") in labels}
    fails(result, "refused", f"tenant {tenant!r}")
    document = json.loads(result.stdout)
    done = (document["receivers"] if command == "run" else document)["local"]
    refused = sum(("service_name", "billing") in labels for labels in expected(tmp_path))
    assert refused > 5
    assert done["refused"] == {"out_of_order": refused}
    assert done["tenants"] == {tenant: {"out_of_order": refused}}
    assert done["samples"] == sum(map(len, expected(tmp_path).values())) - refused


def test_a_mistake_in_the_file_of_receivers_is_told_before_the_work(tmp_path: Path):
    file = receivers_file(tmp_path, "http://localhost", kind="other")
    fails(run("run", "--source-url", GOLDEN.root, *places(tmp_path), "--receivers", file), "receivers.yaml")
    assert not (tmp_path / "archive" / "commits").exists()


def test_wrong_usage(tmp_path: Path):
    is_wrong_usage(run("run", "--mode", "both"), "--mode")
    is_wrong_usage(run("run", "--jobs", tmp_path / "none.json"), "--jobs")
    is_wrong_usage(run("run", "segments"), "unexpected extra argument")


def test_one_rule_for_past_hours(tmp_path: Path):
    where = ["--source-url", GOLDEN.root, *places(tmp_path), "--config", ""]
    assert run("run", *where).exit_code == 0
    rules = tmp_path / "rules.yaml"
    rules.write_text('rules:\n- {name: main, functions: [{glob: "main.*"}], by: []}\n')
    ledger = places(tmp_path)[2:]
    assert ledger[0] == "--ledger-url"
    assert run("rules", "apply", "-f", rules, *ledger).exit_code == 0
    document = json.loads(run("run", *where, "--json", "--rule", "main", "--from", HOUR).stdout)
    report = document["hours"][HOUR]
    assert report["summary"] == "derived 3 jobs"
    assert [(one["rule"], one["done"], one["total"]) for one in report["rules"]["backfill"]] == [("main", 3, 3)]
    of_rule = run("series", "--archive-url", tmp_path / "archive", "--rule", "main").stdout.splitlines()
    counts = document["rules"]["main"]
    assert (counts["samples"], counts["jobs_done"], counts["jobs"]) == (len(of_rule), 3, 3)
    assert 0 < counts["series"] <= counts["samples"]
    said = run("run", *where, "--rule", "main").stdout
    assert f"rule main: {len(of_rule):,} samples of {counts['series']:,} series in these hours; 3 of 3 jobs" in said
    result = run("series", "--archive-url", tmp_path / "archive", "--metric", "*_functions_*")
    assert {line["labels"]["function"].partition(".")[0] for line in map(json.loads, result.stdout.splitlines())} == {
        "main"
    }
    assert (
        "nothing to do" in json.loads(run("run", *where, "--json", "--rule", "main").stdout)["hours"][HOUR]["summary"]
    )
    assert not json.loads(run("run", *where, "--json", "--rule", "main", "--to", HOUR).stdout)["hours"]
    fails(run("run", *where, "--rule", "none"), "no rule 'none' is in force")
    is_wrong_usage(run("run", *where, "--from", HOUR), "belong to --rule")
    is_wrong_usage(run("run", *where, "--rule", "main", "--jobs", GOLDEN.root / "jobs.json"), "choose one")
