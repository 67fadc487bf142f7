"""`export`, `receivers` and `reconcile` as a person uses them, against scripted receivers."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import fails, is_wrong_usage, places, run
from tests.support.exports import GOLDEN, HOUR, config, derive, expected, got, opened
from tests.support.scripted_server import Reply, scripted_server


@pytest.fixture
def place(tmp_path: Path) -> Path:
    with opened(tmp_path, series=config()) as pipeline:
        derive(pipeline)
    return tmp_path


def file_of(folder: Path, url: str, **more: Any) -> Path:
    path = folder / "receivers.yaml"
    one = {"name": "local", "kind": "prometheus", "url": f"{url}/api/v1/write", "out_of_order_window": "3650d"} | more
    path.write_text(json.dumps({"receivers": [one]}))
    return path


def options(folder: Path, url: str, **more: Any) -> list[Any]:
    return ["--source-url", GOLDEN.root, *places(folder), "--receivers", file_of(folder, url, **more)]


HOURS = ["--from", "2026-11-25T09", "--to", "2026-11-25T10"]


def test_hours_are_sent_once(place: Path):
    with scripted_server() as server:
        result = run("export", *options(place, server.url), *HOURS, "--json")
        assert result.exit_code == 0, result.output
        done = json.loads(result.stdout)["local"]
        assert (done["jobs"], done["samples"]) == (3, sum(map(len, expected(place).values())))
        assert got(server) == expected(place)
        again = run("export", *options(place, server.url), "--from", HOUR)
        assert again.exit_code == 0
        assert "nothing to send" in again.stdout
        assert got(server) == expected(place)


def test_what_is_before_the_start_is_not_sent_by_itself(place: Path):
    with scripted_server() as server:
        assert "nothing to send" in run("export", *options(place, server.url)).stdout
        assert server.requests == []


def test_an_estimate_sends_nothing(place: Path):
    with scripted_server() as server:
        result = run("export", *options(place, server.url), "--estimate", "--json")
        (hour,) = json.loads(result.stdout)
        assert hour["hour"] == HOUR
        assert hour["samples"] == sum(map(len, expected(place).values()))
        assert hour["series"] == len(expected(place))
        assert server.requests == []


def test_files_of_history(place: Path):
    result = run(
        "export", "--source-url", GOLDEN.root, *places(place), *HOURS, "--format", "openmetrics", "--out", place / "om"
    )
    assert result.exit_code == 0, result.output
    text = (place / "om" / "2026-11-25.om").read_text()
    assert text.endswith("# EOF\n")
    assert sum(not line.startswith("#") for line in text.splitlines()) == sum(map(len, expected(place).values()))


def test_what_is_too_old_is_offered_as_files(place: Path):
    with scripted_server() as server:
        where = options(place, server.url, out_of_order_window=None, retention="1ms")
        result = run("export", *where, *HOURS)
        fails(result, "too_old")
        assert "pyro-assets export --receiver local --format openmetrics" in result.stdout
        assert server.requests == []
        # It could be known before; and where the receiver takes them by now, a person may send them.
        (hour,) = json.loads(run("export", *where, *HOURS, "--estimate", "--json").stdout)
        refused = sum(map(len, expected(place).values()))
        assert (hour["samples"], hour["refused"]) == (0, refused)
        later = options(place, server.url)
        idle = run("export", *later, *HOURS)
        assert f"local refused {refused:,} samples of these hours before" in idle.stdout
        assert "pyro-assets export --again --receiver local" in idle.stdout
        assert server.requests == []
        assert run("export", "--again", "--receiver", "local", *later, *HOURS).exit_code == 0
        assert server.requests


def test_trouble_is_a_sentence(place: Path):
    with scripted_server(default=Reply(404, b"remote write receiver not enabled")) as server:
        fails(run("export", *options(place, server.url), *HOURS), "local")
    fails(run("export", "--source-url", GOLDEN.root, *places(place), *HOURS), "no receiver is configured")
    is_wrong_usage(run("export", "--format", "openmetrics"), "--out")
    is_wrong_usage(run("export", "--from", "2026-11-25T10", "--to", "2026-11-25T09"), "before")


def test_list_pause_and_resume(place: Path):
    with scripted_server() as server:
        where = options(place, server.url)
        (one,) = json.loads(run("receivers", "list", *where, "--json").stdout)
        assert (one["receiver"], one["state"]) == ("local", "ready")
        assert "local is paused" in run("receivers", "pause", *where, "local").stdout
        assert "paused already" in run("receivers", "pause", *where, "local").stdout
        assert "paused" in run("receivers", "list", *where).stdout
        assert "paused" in run("export", *where, *HOURS).stdout
        assert server.requests == []
        assert "local is resumed" in run("receivers", "resume", *where, "local").stdout
        assert run("receivers", "resume", *where, "local").stdout == "local was not paused\n"
        fails(run("receivers", "pause", *where, "other"), "no receiver 'other'")


def test_check_says_whether_it_would_take_samples(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    with scripted_server() as server:
        result = run("receivers", "check", "--receivers", file_of(place, server.url), "--json")
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)[0]["accepts"]
        assert not any(request.series for request in server.requests if request.method == "POST")
    with scripted_server(default=401) as server:
        fails(run("receivers", "check", "--receivers", file_of(place, server.url)), "local would not take samples")


def test_reconcile_says_what_is_missing(place: Path):
    answers = {"status": "success", "data": {"resultType": "matrix", "result": []}}

    def answer(request: Any) -> Reply:
        names = "label/__name__/values" in request.path
        body = {"status": "success", "data": []} if names else answers
        return Reply(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    with scripted_server(default=answer) as server:
        result = run("reconcile", *options(place, server.url), "--receiver", "local", *HOURS, "--json")
        assert result.exit_code == 1
        found = json.loads(result.stdout)
        assert found["missing"] == found["compared"] == sum(map(len, expected(place).values()))
        assert found["running_hour"] is None
        begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        until = ["--from", begin.isoformat(), "--to", (begin + timedelta(hours=2)).isoformat()]
        running = run("reconcile", *options(place, server.url), "--receiver", "local", *until)
        assert "is still running: what is derived and not sent yet counts as missing" in running.stdout
        sent = run("reconcile", *options(place, server.url), "--receiver", "local", *HOURS, "--only-sent", "--json")
        assert sent.exit_code == 0, sent.output
    is_wrong_usage(run("reconcile", "--receiver", "local"), "--from")


def test_what_a_receiver_lost_is_sent_again(place: Path):
    with scripted_server() as server:
        where = options(place, server.url)
        assert run("export", *where, *HOURS).exit_code == 0
        server.requests.clear()
        result = run("export", *where, "--again", "--receiver", "local", *HOURS)
        assert result.exit_code == 0, result.output
        assert "once more what it has acknowledged" in result.output
        assert "Warning" not in result.output
        assert got(server) == expected(place)
        plain = options(place, server.url, out_of_order_window=None)
        assert "may be refused" in run("export", *plain, "--again", "--receiver", "local", *HOURS).output
        is_wrong_usage(run("export", *where, "--again", *HOURS), "--receiver")
        is_wrong_usage(run("export", *where, "--again", "--receiver", "local"), "--from")


def test_a_tenants_trouble_is_shown_and_one_tenant_is_paused(place: Path):
    bad = next(iter({dict(labels)["tenant"] for labels in expected(place)}))

    def limited(request: Any) -> Reply:
        return Reply(429, b"over") if request.headers["X-Scope-OrgID"] == bad else Reply()

    with scripted_server(default=limited) as server:
        where = options(place, server.url, retry_for="0s")
        fails(run("export", *where, *HOURS), f"tenant {bad!r}")
        listed = run("receivers", "list", *where).stdout
        assert "ready" in listed
        assert f"local: tenant {bad!r}: receiver local" in listed
        fails(run("receivers", "check", *where[4:]), "local would not take samples")
        checked = json.loads(run("receivers", "check", *where[4:], "--json").stdout.partition("\nError")[0])
        assert "status 429" in checked[0]["tenants"][bad]
        assert list(checked[0]["tenants"].values()).count("") == len(checked[0]["tenants"]) - 1 > 0
        assert f"local, tenant {bad!r}, is paused" in run("receivers", "pause", *where, "local", "--tenant", bad).stdout
        assert f"local: tenant {bad!r}: paused" in run("receivers", "list", *where).stdout
        assert "is resumed" in run("receivers", "resume", *where, "local", "--tenant", bad).stdout
