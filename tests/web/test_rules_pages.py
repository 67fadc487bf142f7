"""The pages of rules: list, form, checks, preview, saving, history, conflict, import; without a browser."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, sending
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.tick import policy_of
from pyro_assets.rules.config import load_config
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.settings import Settings
from pyro_assets.web.app import make_app
from pyro_assets.web.wire.turns import Turns
from tests.support.exports import GOLDEN, HOUR, NOW_MS, derive, opened, scripted
from tests.support.scripted_server import scripted_server
from tests.support.web_client import Answer, Client, site_of

FILE = """
functions: {"main.fibonacci": "{}", "net/http.(*conn).serve": '{pod="none"}'}
rules:
- {name: filed, functions: [{glob: "runtime.*"}], by: [service_name]}
"""
HOSTILE = '<script>alert("1")</script>\u202e"&\''


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, App]]:
    """The golden jobs, derived with the rules of a file and sent to a receiver."""
    folder = tmp_path_factory.mktemp("rules")
    (folder / "series.yaml").write_text(FILE)
    with (
        scripted_server() as server,
        opened(folder, scripted(server), series=load_config(folder / "series.yaml")) as pipeline,
    ):
        derive(pipeline)
        sending.export(pipeline, [HOUR])
        yield folder, pipeline


@pytest.fixture
def client(world: tuple[Path, App]) -> Client:
    """A browser at a site whose ledger has no rules."""
    folder, pipeline = world
    for known in StoredRules(pipeline.ledger).rules():
        StoredRules(pipeline.ledger).edit_rules(
            [RuleEdit(known.name, None, known.version)], author="t", why="", now_ms=1
        )
    return Client(make_app(site_of(pipeline, config=folder / "series.yaml")))


def save(client: Client, name: str, functions: str = "glob: runtime.*", **more: Any) -> Answer:
    fields = {"name": name, "functions": functions, "enabled": "on", "selector": "{}", "why": "for tests"} | more
    return client.post("/rules/save", fields)


def edited(client: Client, name: str, **more: Any) -> dict[str, Any]:
    """The form of a saved rule as a browser would send it, with changes."""
    page = client.get(f"/rules/edit/{name}")
    names = ("original", "seen_version", "name", "selector")
    return {one: page.field(one) for one in names} | {"enabled": "on", "functions": "glob: runtime.*"} | more


def test_the_list_shows_every_form_with_its_figures(client: Client):
    save(client, "mine", "main.fibonacci", description="x")
    page = client.get("/rules")
    assert page.status == 200
    rows = {
        match[1].replace("<wbr>", ""): match[0]
        for match in re.finditer(r'<tr>\s*<th scope="row".*?<a [^>]*>(.+?)</a>.*?</tr>', page.text, re.S)
    }
    assert list(rows) == ["filed", "mine", "main.fibonacci", "net/http.conn.serve", "dimensions"]
    assert '<span class="badge good">on</span>' in rows["filed"]
    assert "on, no series" in rows["mine"]
    assert "version" in rows["mine"]
    assert "tester" in rows["mine"]
    assert re.search(r'/series\?rule=filed">[1-9][0-9,]*</a>', rows["filed"])
    assert re.search(r"[0-9.]+ (ms|µs|s)</td>", rows["filed"])
    assert re.search(r"[0-9] (ms|s) ago", rows["filed"])
    found = client.get("/rules", {"q": "fibonacci"}).text
    assert ("mine" in found, ">filed<" in found) == (True, False)
    assert "No rule has" in client.get("/rules", {"q": "nothing at all"}).words


def test_a_link_from_explore_fills_the_form(client: Client):
    name = "main.(*T).Run"
    page = client.get("/rules/new", {"function": name, "profile_type": "cpu", "selector": '{pod="a"}', "tenant": "acme",
                                     "match": "self"})  # fmt: skip
    assert "main.(*T).Run</textarea>" in page.text
    assert page.field("selector") == '{pod="a"}'
    assert page.field("name") == "main.T.Run-self"
    assert '<option value="self" selected>' in page.text
    assert "cpu</textarea>" in page.text
    assert "acme</textarea>" in page.text


def test_a_rule_has_a_query_for_its_function(client: Client):
    page = client.get("/rules/show/function:main.fibonacci")
    assert "sum by (function) (sum_over_time(" in page.words
    assert '{function="main.fibonacci"}[5m])) / 300 / 1e9' in page.words


def test_names_keep_their_slashes(client: Client):
    name = "net/http.conn.serve-2"
    assert save(client, name).headers["location"].startswith(f"/rules/show/{name}?saved=")
    seen = int(client.get(f"/rules/edit/{name}").field("seen_version"))
    assert client.get(f"/rules/{name}").headers["location"] == f"/rules/show/{name}"
    assert client.get(f"/rules/compare/{name}").status == 200
    assert client.call("GET", f"/rules/{name}").json["name"] == name
    assert len(client.call("GET", f"/rules/{name}/history").json) == 1
    assert client.post(f"/rules/delete/{name}", {"seen_version": seen, "why": "x"}).status == 303
    assert client.post(f"/rules/restore/{name}", {"version": seen, "seen_version": 0}).status == 303
    assert save(client, "a/history").status == 422


def test_text_can_be_edited_before_there_is_a_name(client: Client):
    fields = {"original": "", "seen_version": "0", "mode": "form", "name": "", "functions": "main.run", "enabled": "on"}
    page = client.post("/rules/check", fields | {"do": "text", "selector": '{pod="a"}'})
    assert 'functions: ["main.run"]' in html.unescape(page.text)
    assert 'selector: "{pod=\\"a\\"}"' in html.unescape(page.text)


def test_a_preview_shows_what_one_was_looking_at(client: Client):
    page = client.get("/rules/new", {"function": "a", "last": "3h", "until": "2026-11-25T09:40", "tenant": "acme"})
    assert page.field("preview_hours") == "4"
    assert '<option value="2026-11-25-09:00" selected>' in page.text


def test_everything_that_is_wrong_is_said_at_once_where_it_is(client: Client):
    page = save(client, "", "regex: (", selector="{a=", max_series="many", keep="by", keep_labels="function")
    assert page.status == 422
    for field, why in (("functions", "line 1: "), ("selector", "character"), ("max_series", "must be a whole number")):
        said = re.search(rf'data-said="{field}">(.*?)</div>', page.text, re.S)
        assert said, field
        assert why in said[1], field
    # What cannot be read hides none of the rest.
    for field, why in (("name", "no name of a rule"), ("keep", "reserved; leave it out")):
        said = re.search(rf'data-said="{field}">(.*?)</div>', page.text, re.S)
        assert said, field
        assert why in said[1], field
    assert page.text.count('aria-invalid="true"') == 5
    # Everything under "More" is in sight where something is wrong with it.
    assert '<details id="more" open>' in page.text
    assert '<details id="more">' in client.get("/rules/new", {"function": "a"}).text
    later = save(client, "bad name!", keep="by", keep_labels="function, pod", labels="tenant=x", metric="9")
    for why in ("no name of a rule", "reserved; leave it out", "reserved; choose another", "no name of a metric"):
        assert why in later.words
    assert client.get("/rules/show/bad name!").status == 404


def test_a_preview_is_shown_before_anything_is_saved(client: Client, world: tuple[Path, App]):
    fields = {"name": "p", "functions": "glob: runtime.*", "enabled": "on", "do": "preview", "preview_last": HOUR}
    page = client.post("/rules/check", fields)
    assert page.status == 200
    assert "exact, all of 3 jobs were read" in page.words
    assert "Functions caught" in page.words
    assert "runtime.gopark" in page.text
    assert page.text.count("<svg") >= 1
    assert StoredRules(world[1].ledger).rules() == []
    assert "glob: runtime.*</textarea>" in page.text
    nothing = client.post("/rules/check", fields | {"preview_last": "2001-01-01-00:00", "preview_hours": "0"})
    assert "there are no hours to look at" in nothing.words.lower()
    assert "'0' is no number from 1 to 168" in nothing.words


def test_a_preview_waits_for_its_turn(world: tuple[Path, App]):
    site = site_of(world[1])
    site.reading = Turns(1, waiting=1, wait_seconds=0.0)
    client = Client(make_app(site))
    fields = {"name": "p", "functions": "glob: runtime.*", "enabled": "on", "do": "preview", "preview_last": HOUR}
    with site.reading.take():
        page = client.post("/rules/check", fields)
        assert (page.status, "others read the archive" in page.words) == (503, True)
    assert "Functions caught" in client.post("/rules/check", fields).words


def test_saving_tells_who_when_what_and_why_and_what_will_happen(client: Client):
    answer = save(client, "web")
    assert (answer.status, answer.headers["location"]) == (
        303,
        "/rules/show/web?saved=" + answer.headers["location"][-1],
    )
    page = client.get(answer.headers["location"])
    assert "keep what they have until you backfill the rule" in page.words
    assert 'href="/backfills?rule=web"' in page.text
    assert "never sent again with other values" in page.words
    assert ("tester" in page.text, "for tests" in page.text) == (True, True)
    form = client.get("/rules/edit/web")
    assert "The rule counts for every job that is derived after saving" in form.words
    assert 'href="/backfills?rule=web"' in form.text
    taken = save(client, "web")
    assert (taken.status, "there is a rule web already" in taken.words) == (422, True)


def test_a_stale_edit_is_refused_and_shows_both(client: Client, world: tuple[Path, App]):
    save(client, "both")
    mine, theirs = edited(client, "both", metric="mine", profile_types="cpu"), edited(client, "both", metric="theirs",
                                                                                   profile_types="cpu")  # fmt: skip
    assert client.post("/rules/save", theirs | {"why": "they were first"}).status == 303
    refused = client.post("/rules/save", mine)
    assert refused.status == 409
    assert re.search(r"<del>.*metric: theirs</del>", refused.text)
    assert re.search(r"<ins>.*metric: mine</ins>", refused.text)
    assert "they were first" in refused.words
    [current] = StoredRules(world[1].ledger).rules()
    assert '"theirs"' in current.body
    # Who has seen both may save over the other's.
    again = client.post("/rules/save", mine | {"seen_version": refused.field("seen_version")})
    assert again.status == 303
    assert '"mine"' in StoredRules(world[1].ledger).rules()[0].body


def test_history_compares_and_restores(client: Client, world: tuple[Path, App]):
    save(client, "old")
    first = StoredRules(world[1].ledger).rules()[0].version
    client.post("/rules/save", edited(client, "old", match="self", why="only itself"))
    page = client.get("/rules/show/old")
    assert "only itself" in page.text
    compared = client.get("/rules/compare/old", {"left": first, "right": first + 1})
    assert re.search(r"<ins>.*match: self</ins>", compared.text)
    assert client.get("/rules/compare/old", {"left": 99}).status == 400
    restored = client.post("/rules/restore/old", {"version": first, "seen_version": first + 1})
    assert restored.status == 303
    assert "self" not in StoredRules(world[1].ledger).rules()[0].body
    assert f"version {first} restored" in client.get("/rules/show/old").text
    assert client.post("/rules/restore/old", {"version": 99, "seen_version": first + 2}).status == 404
    assert client.post("/rules/restore/old", {"version": first, "seen_version": first}).status == 409


def test_switching_off_deleting_and_bringing_back(client: Client, world: tuple[Path, App]):
    save(client, "lamp")
    seen = StoredRules(world[1].ledger).rules()[0].version
    assert client.post("/rules/switch/lamp", {"seen_version": seen}).status == 303
    assert '<span class="badge">off</span>' in client.get("/rules/show/lamp").text
    assert client.post("/rules/switch/lamp", {"seen_version": seen + 1, "enabled": "on"}).status == 303
    without = client.post("/rules/delete/lamp", {"seen_version": seen + 2})
    assert (without.status, "say why" in without.words) == (422, True)
    assert client.post("/rules/delete/lamp", {"seen_version": seen + 1, "why": "x"}).status == 409
    assert client.post("/rules/delete/lamp", {"seen_version": seen + 2, "why": "unused"}).status == 303
    page = client.get("/rules/show/lamp")
    assert ("deleted" in page.words, "unused" in page.words) == (True, True)
    assert client.get("/rules/edit/lamp").status == 404
    assert client.post("/rules/restore/lamp", {"version": seen, "seen_version": 0}).status == 303
    assert [one.name for one in StoredRules(world[1].ledger).rules()] == ["lamp"]


def test_rules_of_the_file_are_shown_and_not_changed(client: Client):
    links = re.findall(r'href="(/rules/show/[^"]+)"', client.get("/rules").text)
    assert len(links) == 4
    for link in links:
        assert client.get(link).status == 200
    for name in ("filed", "main.fibonacci", "function:net/http.(*conn).serve", "dimensions"):
        page = client.get("/rules/show/" + name)
        assert page.status == 200
        assert "in a file" in page.words
        assert "/rules/edit/" not in page.text
    assert client.get("/rules/edit/filed").status == 409
    answer = save(client, "filed")
    assert (answer.status, "the file wins; choose another name" in answer.words) == (422, True)
    copy = client.get("/rules/new", {"copy": "filed"})
    assert copy.field("name") == "filed-copy"
    assert "glob: runtime.*" in copy.text


def test_a_refused_file_is_told_and_the_ledgers_rules_stay(world: tuple[Path, App], tmp_path: Path):
    path = tmp_path / "series.yaml"
    path.write_text("rules: [{name: x, colour: red}]")
    client = Client(make_app(site_of(world[1], config=path)))
    page = client.get("/rules")
    assert page.status == 200
    assert "series.yaml:1: rules[0].colour: unknown field" in page.words
    # Once it is mended, nobody has to start anything again.
    path.write_text("rules: [{name: mended, functions: [a]}]")
    assert ">mended</a>" in client.get("/rules").text


def test_text_mode_has_the_whole_language_and_lines(client: Client, world: tuple[Path, App]):
    text = "rules:\n- name: t\n  functions: [a]\n  normalise: [generics]\n  overflow: explode\n"
    page = client.post("/rules/save", {"mode": "text", "text": text})
    assert page.status == 422
    assert "line 4: normalise unknown field; did you mean normalize?" in page.words
    assert "line 5: overflow" in page.words
    good = text.replace("normalise", "normalize").replace("explode", "error")
    assert client.post("/rules/save", {"mode": "text", "text": good}).status == 303
    as_form = client.get("/rules/edit/t")
    assert '<option value="error" selected>' in as_form.text
    as_text = client.post("/rules/check", edited(client, "t", do="text", overflow="error", normalize="generics"))
    assert "overflow: error" in as_text.text
    back = client.post("/rules/check", {"mode": "text", "text": good, "do": "form"})
    assert '<option value="error" selected>' in back.text
    texts = "rules: [{name: a, functions: [a]}, {name: b, functions: [b]}]"
    two = client.post("/rules/save", {"mode": "text", "text": texts})
    assert (two.status, "holds 2 rules" in two.words) == (422, True)


def test_the_form_holds_what_it_shows(client: Client, world: tuple[Path, App]):
    """A rule with every field comes out of the form as it went in."""
    rule = {
        "name": "full", "description": "d", "functions": ["glob: odd", {"glob": "a.*"}, {"regex": "b|c"}],
        "stack": ["main.main", "...", "x"], "exclude": ["y"], "match": "self", "normalize": ["generics", "lambdas"],
        "selector": '{pod="a"}', "profile_types": ["cpu"], "tenants": ["acme"], "metric": "m", "by": ["pod", "ns"],
        "labels": {"team": "a=b"}, "aggregate": "max", "unit": "seconds", "max_series": 7, "overflow": "error",
        "top_k": 3, "resolved": ["a.b"],
    }  # fmt: skip
    from pyro_assets.web.rules.form import form_of, value_of

    model = Rule.model_validate(rule)
    form = form_of(model)
    assert form is not None
    assert Rule.model_validate(value_of(form)) == model
    assert form_of(Rule.model_validate({"name": "n", "functions": ["two\nlines"]})) is None
    for odd in ({"without": ["two words"]}, {"functions": ["a\rb"]}, {"functions": ["a\0"]}, {"description": "a\nb"}):
        assert form_of(Rule.model_validate({"name": "n", **odd})) is None


def test_hostile_names_are_shown_and_never_run(client: Client, world: tuple[Path, App]):
    page = client.get("/rules/new", {"function": HOSTILE, "selector": HOSTILE, "tenant": HOSTILE, "name": HOSTILE})
    assert page.status == 200
    assert "<script>alert" not in page.text
    answer = save(client, "hostile", f"exact: {HOSTILE}", why=HOSTILE, description=HOSTILE)
    assert answer.status == 303
    for path in ("/rules", "/rules/show/hostile", "/rules/edit/hostile", "/rules/compare/hostile"):
        found = client.get(path)
        assert found.status == 200
        assert "<script>alert" not in found.text
        assert "&lt;script&gt;" in found.text
    linked = client.get("/rules/new", {"function": "two\nlines <b>", "name": "two", "profile_type": "cpu"})
    assert "functions: [&#34;two\\nlines &lt;b&gt;&#34;]" in linked.text
    lines = {"mode": "text", "text": 'rules:\n- name: nl\n  functions: ["a\\nb"]\n'}
    assert client.post("/rules/save", lines).status == 303
    assert '<textarea id="text"' in client.get("/rules/edit/nl").text
    for path in (f"/rules/show/{'x' * 2000}", "/rules/show/%00", "/rules/show/%ff%fe", "/rules/compare/%3Cb%3E"):
        assert client.get(path).status == 404


def test_live_checks_answer_as_json(client: Client):
    fields = {"name": "x", "functions": "regex: (", "enabled": "on"}
    found = client.post("/rules/check", fields, accept="application/json")
    assert list(found.json["problems"]) == ["functions"]
    assert found.json["text"] == ""
    fine = client.post("/rules/check", fields | {"functions": "a", "top_k": "3"}, accept="application/json").json
    assert fine["problems"] == {}
    assert list(fine["warnings"]) == ["top_k"]
    assert fine["text"].startswith("rules:\n- name: x")


RECORDING = """
- id: shop-cpu
  metric_name: profiles_recorded_cpu
  matchers: ['{__profile_type__="process_cpu:cpu:nanoseconds:cpu:nanoseconds"}']
  group_by: [pod]
"""


OVERRIDES = """
overrides:
  acme:
    ingestion_rate_mb: 4
    recording_rules:
    - {id: of-a-tenant, metric_name: m, matchers: ['{__profile_type__=~"process_cpu:cpu:.*"}']}
"""


@pytest.mark.parametrize(
    ("text", "name"), [(OVERRIDES, "of-a-tenant"), ('functions: {"foo": "{}"}', "foo"), (RECORDING, "shop-cpu")]
)
def test_other_forms_are_imported_as_rules(client: Client, world: tuple[Path, App], text: str, name: str):
    shown = client.post("/rules/import/check", {"text": text})
    assert shown.status == 200
    assert f"- name: {name}" in shown.text
    assert StoredRules(world[1].ledger).rules() == []
    saved = client.post("/rules/import", {"text": text, "why": "moved"})
    assert (saved.status, saved.headers["location"]) == (303, "/rules?done=imported-1")
    [stored] = StoredRules(world[1].ledger).rules()
    assert (stored.name, stored.why, stored.author) == (name, "moved", "tester")
    assert "it is there as it is" in client.post("/rules/import/check", {"text": text}).words


def test_an_import_is_all_or_nothing(client: Client, world: tuple[Path, App]):
    text = "rules:\n- {name: good, functions: [a]}\n- {name: filed, functions: [b]}\n"
    refused = client.post("/rules/import", {"text": text})
    assert (refused.status, "filed" in refused.words) == (422, True)
    broken = client.post(
        "/rules/import", {"text": "rules:\n- {name: good, functions: [a]}\n- {name: bad, metric: 9}\n"}
    )
    assert (broken.status, "the text:3: rules[1].metric" in broken.words) == (422, True)
    assert StoredRules(world[1].ledger).rules() == []
    assert client.post("/rules/import/check", {"text": "gauges: [x]"}).status == 422


def test_the_language_is_explained_with_its_examples(client: Client):
    page = client.get("/rules/language")
    reference = (Path(__file__).parents[2] / "pyro_assets" / "rules" / "RULES.md").read_text()
    assert page.text.count("<pre") == reference.count("```") // 2
    assert page.text.count("<h2>") == reference.count("\n## ")
    assert "functions_cpu{function=db.Query, pyroscope_shard=3} 50000000000" in page.words
    assert "`" not in page.words.replace("```", "")


def test_the_largest_functions_are_found_and_stored_with_the_rule(client: Client, world: tuple[Path, App]):
    fields = {"name": "top", "functions": "glob: *", "match": "self", "enabled": "on", "profile_types": "cpu",
              "preview_last": HOUR, "top_k": "3", "resolved": "too\nmany\nnames\nhere"}  # fmt: skip
    page = client.post("/rules/check", fields | {"do": "resolve"})
    assert "3 functions were found in 3 of 3 jobs" in page.words
    found = re.search(r'<textarea id="resolved".*?>(.*?)</textarea>', page.text, re.DOTALL)
    assert found
    names = found[1].split("\n")
    assert len(names) == 3
    assert client.post("/rules/save", fields | {"resolved": "\n".join(names)}).status == 303
    assert '"top_k": 3' in StoredRules(world[1].ledger).rules()[0].body
    without = client.post("/rules/check", fields | {"do": "resolve", "top_k": ""})
    assert "say how many functions" in without.words


def test_series_that_were_left_out_are_counted_and_shown(tmp_path: Path):
    rules = [
        {"name": "first", "functions": [{"glob": "runtime.*"}], "by": []},
        {"name": "second", "functions": [{"glob": "runtime.m*"}], "by": []},
        {"name": "wide", "functions": [{"glob": "*"}], "max_series": 1},
    ]
    path = tmp_path / "series.json"
    path.write_text(json.dumps({"rules": rules}))
    with opened(tmp_path, series=load_config(path)) as pipeline:
        derive(pipeline)
        facts = runs.hour_report(pipeline, HOUR).facts
        page = Client(make_app(site_of(pipeline, config=path))).get("/rules")
    for name, why in (
        ("conflicting_series", "another rule gives them already"),
        ("dropped_series", "more than max_series"),
    ):
        assert facts[name] > 0
        assert f"hour 2026-11-25 09:00: {facts[name]:,} series were left out because" in page.words
        assert why in page.words


def test_a_preview_looks_at_the_running_hour_where_those_that_are_over_hold_nothing(tmp_path: Path):
    fields = {"name": "p", "functions": "glob: runtime.*", "enabled": "on", "do": "preview"}
    (tmp_path / "planned").mkdir()
    with opened(tmp_path / "planned", now_ms=NOW_MS - 1_500_000) as pipeline:
        client = Client(make_app(site_of(pipeline)))
        assert "nothing is in the archive" in client.post("/rules/check", fields).words
        Planner(pipeline.ledger).plan_exact(
            [[runs.found(pipeline, key) for key in GOLDEN.jobs[0]]], 1, policy_of(Settings())
        )
        assert "No job of 1 hour (2026-11-25 09:00 UTC)" in client.post("/rules/check", fields).words
    with opened(tmp_path, now_ms=NOW_MS - 1_500_000) as pipeline:
        derive(pipeline)
        assert HourRecords(pipeline.ledger).hours() == [HOUR]
        assert "Functions caught" in Client(make_app(site_of(pipeline))).post("/rules/check", fields).words
