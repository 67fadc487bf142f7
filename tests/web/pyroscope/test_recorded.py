"""Pyroscope's API on the archive: the questions that a real server was asked have the same answers from us."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import open_app
from pyro_assets.explore.pyroscope.messages import querier_pb2
from pyro_assets.explore.pyroscope.querier import METHODS
from pyro_assets.web.app import make_app
from tests.support.browser import served_app
from tests.support.cli_runner import places, run
from tests.support.connect_client import ask_generated
from tests.support.pyroscope_exchanges import (
    Exchange,
    head_of,
    paths_of,
    read_message,
    recorded,
    stacks_of,
    unpack_blocks,
)
from tests.support.web_client import Answer, Client, site_of

DOT = querier_pb2.ProfileFormat.PROFILE_FORMAT_DOT
#: The range that the recorded server's own limit of a day refused; here there is no such limit.
A_YEAR = 144


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, bucket_2026: Path) -> Iterator[Client]:
    """All jobs of the bucket, de-duplicated as the original did it."""
    folder = tmp_path_factory.mktemp("whole")
    result = run(
        "run", "--jobs", bucket_2026 / "jobs.json", "--source-url", bucket_2026, "--dedup", "original", *places(folder)
    )
    assert result.exit_code == 0, result.output
    yield from _client(folder)


@pytest.fixture(scope="module")
def initech(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The blocks of one tenant, as they were served to the recorded server."""
    folder = tmp_path_factory.mktemp("initech")
    source = unpack_blocks(folder / "source")
    result = run("run", "--mode", "observe", "--dedup", "original", "--source-url", source, *places(folder))
    assert result.exit_code == 0, result.output
    yield from _client(folder)


def _client(folder: Path) -> Iterator[Client]:
    options = dict(zip(*[iter(map(str, places(folder)))] * 2, strict=True))
    with open_app(str(folder / "none"), options["--archive-url"], options["--ledger-url"]) as app:
        yield Client(make_app(site_of(app)))


def ask(client: Client, one: Exchange) -> Answer:
    return client.ask(one.method, one.path, one.request, one.request_headers | {"accept-encoding": "identity"})


def of_querier(*, tenants: tuple[str, ...] | None = None) -> list[Any]:
    return [
        pytest.param(one, id=f"{one.number}-{one.name}")
        for one in recorded()
        if "QuerierService" in one.path and (tenants is None or one.tenant in tenants)
    ]


@pytest.mark.parametrize("one", of_querier(tenants=("initech", "nobody")))
def test_a_tenants_questions_have_the_recorded_answers(initech: Client, one: Exchange):
    check(ask(initech, one), one)


@pytest.mark.parametrize("one", of_querier(tenants=("acme", "globex")))
def test_every_question_has_the_recorded_answer(whole: Client, one: Exchange):
    check(ask(whole, one), one)


def check(answer: Answer, one: Exchange) -> None:
    if one.name not in METHODS:
        if one.name == "SelectHeatmap":
            assert (answer.status, answer.json["code"]) == (501, "unimplemented")
            return
        assert (answer.status, answer.body) == (one.status, one.response)
        return
    asked = one.asked(METHODS[one.name][0])
    if one.number == A_YEAR:
        assert (one.status, answer.status) == (400, 200)
        return
    if one.name == "SelectMergeStacktraces" and asked.format == DOT:
        assert (answer.status, answer.json["code"]) == (501, "unimplemented")
        return
    assert answer.status == one.status, answer.text
    assert answer.headers["content-type"] == one.response_headers["content-type"]
    if one.status != 200:
        assert answer.json == json.loads(one.response)
        return
    check_message(read_message(answer_kind(one.name), answer.body, one.is_json), one)


def check_message(got: Any, one: Exchange) -> None:
    asked, want = one.asked(METHODS[one.name][0]), one.answered(answer_kind(one.name))
    if one.name == "SelectMergeProfile":
        check_profile(got, want, is_cut=asked.max_nodes > 0)
    elif one.name == "SelectMergeStacktraces" and want.HasField("pprof"):
        check_profile(got.pprof.profile, want.pprof.profile, is_cut=False)
    elif one.name == "SelectMergeStacktraces" and asked.max_nodes:
        check_cut(got.flamegraph, want.flamegraph, asked.max_nodes)
    else:
        assert got == want


def answer_kind(name: str) -> Any:
    if name == "SelectMergeProfile":
        from pyro_assets.explore.pyroscope.messages.profile_pb2 import Profile

        return Profile
    from pyro_assets.explore.pyroscope.messages import types_pb2

    return getattr(querier_pb2, f"{name}Response", None) or getattr(types_pb2, f"{name}Response")


def check_profile(got: Any, want: Any, *, is_cut: bool) -> None:
    assert head_of(got) == head_of(want)
    if is_cut:
        # The server cuts every block's tree before it adds them up, so that more stacks stay.
        assert stacks_of(got).total() == stacks_of(want).total()
        assert len(got.sample) <= len(want.sample)
    else:
        assert stacks_of(got) == stacks_of(want)


def check_cut(got: Any, want: Any, max_nodes: int) -> None:
    """Ours is cut once, so what stays has all that it has; the server's lost some of it block by block."""
    assert got.total == want.total
    ours, theirs = (paths_of(list(one.names), [list(level.values) for level in one.levels]) for one in (got, want))
    level = [sum(total for path, (total, _) in one.items() if len(path) == 2) for one in (ours, theirs)]
    assert level[0] == level[1]
    for path, (total, own) in ours.items():
        if path in theirs and "other" not in path:
            assert total >= theirs[path][0]
            assert own >= theirs[path][1]
    named = [total for path, (total, _) in ours.items() if len(path) > 1 and path[-1] != "other"]
    assert len(named) >= min(max_nodes, len(named))
    assert sum(total > min(named) for total in named) < max_nodes


@pytest.mark.service
@pytest.mark.parametrize("of", ["initech", "whole"])
def test_the_clients_of_grafana_get_the_recorded_answers(request: pytest.FixtureRequest, of: str):
    """What Grafana's data source and profilecli are made of, beside a real server: compressed, in both codecs."""
    tenants = {"initech": ("initech", "nobody"), "whole": ("acme", "globex")}[of]
    asked = [one for one in recorded() if one.name in METHODS and one.tenant in tenants and one.number != A_YEAR]
    asked = [one for one in asked if not is_drawing(one)]
    client: Client = request.getfixturevalue(of)
    with served_app(client.app) as address:
        answers = ask_generated(address, asked)
    assert {"initech": {True}, "whole": {True, False}}[of] == {one.is_json for one in asked}
    for one, answer in zip(asked, answers, strict=True):
        if one.status == 200:
            check_message(read_message(answer_kind(one.name), answer.message, is_json=False), one)
        else:
            assert answer.code == json.loads(one.response)["code"], one.number


def is_drawing(one: Exchange) -> bool:
    return one.name == "SelectMergeStacktraces" and one.asked(METHODS[one.name][0]).format == DOT


def test_the_rules_of_the_form_are_ours_in_the_recorded_sequence(initech: Client):
    """Ids are ours, so answers are compared with the recorded ids put in their places."""
    ids: dict[str, str] = {}
    for one in recorded():
        if "RecordingRulesService" not in one.path or one.number in LATER:
            continue
        answer = ask_with(initech, one, ids)
        assert answer.status == one.status, (one.number, answer.text)
        if not one.is_json:
            continue
        theirs = json.loads(one.response)
        if one.name == "UpsertRecordingRule" and one.status == 200:
            ids.setdefault(theirs["rule"]["id"], answer.json["rule"]["id"])
        expected = json.dumps(theirs)
        for old, new in ids.items():
            expected = expected.replace(old, new)
        assert plain(answer.json) == plain(json.loads(expected)), one.number


#: The command-line client's: messages, whose ids are of another sequence.
LATER = range(184, 190)


def ask_with(client: Client, one: Exchange, ids: dict[str, str]) -> Answer:
    body = one.request
    for old, new in ids.items():
        body = body.replace(old.encode(), new.encode())
    return client.ask(one.method, one.path, body, one.request_headers | {"accept-encoding": "identity"})


def plain(value: Any) -> Any:
    """Rules by name: in which order a list has them is nobody's promise."""
    if "rules" in value:
        return sorted(value["rules"], key=lambda rule: str(rule["metricName"]))
    return value


def test_render_draws_what_the_recorded_server_drew(whole: Client):
    found = [one for one in recorded() if one.path.startswith("/pyroscope/render")]
    assert len(found) == 3
    for one in found:
        answer = ask(whole, one)
        assert answer.status == one.status
        got, want = answer.json, json.loads(one.response)
        if "max-nodes" in one.path:
            flames = [side.pop("flamebearer") for side in (got, want)]
            assert flames[0]["numTicks"] == flames[1]["numTicks"]
        assert got == want
        assert re.match("application/json", answer.headers["content-type"])
