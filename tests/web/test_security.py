"""Who may do what: hosts, origins, tokens of forms and people, proxies, read-only mode, headers of every answer."""

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from pyro_assets.app import App
from pyro_assets.errors import LedgerDamaged, LedgerUnavailable, SettingsError
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web.app import PROGRAMS, describe, make_app
from pyro_assets.web.wire.access import Access, hosts_of
from pyro_assets.web.wire.requests import MAX_BODY_BYTES
from pyro_assets.web.wire.security import CSRF_COOKIE, HARMLESS, POLICY, SESSION_COOKIE, Guard, is_the_token
from pyro_assets.web.wire.sessions import SESSION_SECONDS
from tests.support.cli_runner import is_wrong_usage, run
from tests.support.exports import derive, opened
from tests.support.web_client import Client, site_of

TOKEN = "correct horse battery"
PAGES = (
    "/",
    "/explore",
    "/rules",
    "/rules/new",
    "/rules/import",
    "/series",
    "/status",
    "/quarantine",
    "/backfills",
    "/api",
)
FIELDS = {"name": "r", "functions": "a", "enabled": "on"}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("security")) as pipeline:
        derive(pipeline)
        yield pipeline


def client(pipeline: App, address: str = "127.0.0.1", **access: Any) -> Client:
    return Client(make_app(site_of(pipeline, access=Access(default_user="tester", **access))), address=address)


def names(pipeline: App) -> list[str]:
    return [one.name for one in StoredRules(pipeline.ledger).rules()]


def author(pipeline: App, name: str) -> str:
    return StoredRules(pipeline.ledger).rule_history(name)[0].author


@pytest.mark.parametrize("path", [*PAGES, "/login", "/nothing", "/metrics", "/api/v1/rules", "/static/style.css"])
def test_every_answer_has_the_headers_and_no_inline_code(pipeline: App, path: str):
    answer = client(pipeline).get(path)
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"
    assert answer.headers["cache-control"] == ("no-store" if path.startswith("/api/") else "private, no-cache")
    assert "unsafe" not in POLICY
    if answer.headers["content-type"].startswith("text/html"):
        assert not re.search(r"<style|<script(?![^>]*\bsrc=)|\son[a-z]+=|\sstyle=|javascript:", answer.text)


def test_only_known_hosts_are_answered(pipeline: App):
    asking = client(pipeline)
    for host in ("localhost", "127.0.0.1:9119", "[::1]:80", "LOCALHOST:1"):
        assert asking.get("/rules", host=host).status == 200
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "x" * 5000):
        refused = asking.get("/rules", host=host)
        assert (refused.status, "--allowed-host" in refused.text) == (400, True)
    named = client(pipeline, hosts=hosts_of("127.0.0.1", web_url="https://profiles.example:8443/"))
    assert named.get("/rules", host="profiles.example").status == 200
    assert client(pipeline, hosts=()).get("/rules", host="anything").status == 200


def test_another_page_cannot_send_a_form(pipeline: App):
    asking = client(pipeline)
    assert asking.post("/rules/save", FIELDS, origin="http://evil.example").status == 403
    assert asking.post("/rules/save", FIELDS, origin="http://localhost:3000").status == 403
    assert asking.post("/rules/save", FIELDS, origin="null").status == 403
    assert asking.post("/rules/save", FIELDS, sec_fetch_site="cross-site").status == 403
    assert asking.post("/rules/save", FIELDS, sec_fetch_site="same-site").status == 403
    for csrf in ("", "x" * 32, "é"):
        refused = asking.post("/rules/save", {**FIELDS, "csrf": csrf})
        assert (refused.status, "load its page again" in refused.text) == (403, True)
    asking.cookies[CSRF_COOKIE] = ""
    assert asking.post("/rules/save", {**FIELDS, "csrf": ""}).status == 403
    assert "r" not in names(pipeline)
    fine = client(pipeline)
    assert fine.post("/rules/save", FIELDS, sec_fetch_site="same-origin").status == 303
    # Scripts of our own pages send the token as a header.
    token = fine.cookies[CSRF_COOKIE]
    assert fine.post("/rules/check", {**FIELDS, "csrf": ""}, x_csrf_token=token).status == 200
    assert author(pipeline, "r") == "tester"


def test_the_api_takes_a_bearer_or_the_token_of_a_page(pipeline: App):
    asking = client(pipeline)
    path, body = "/api/v1/rules/validate", b'{"text": "rules: []"}'
    assert asking.ask("POST", path, body, {}).status == 403
    assert asking.ask("POST", path, body, {"authorization": "Basic eDp5"}).status == 403
    assert asking.ask("POST", path, body, {"authorization": "Bearer x", "origin": "http://evil.example"}).status == 403
    assert asking.ask("POST", path, body, {"authorization": "Bearer x"}).status == 200
    asking.get("/rules")
    assert asking.ask("POST", path, body, {"x-csrf-token": asking.cookies[CSRF_COOKIE]}).status == 200


def test_cookies_are_kept_from_scripts_and_other_sites(pipeline: App):
    [cookie] = client(pipeline).get("/rules").cookies
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie


def test_with_a_token_people_sign_in(pipeline: App):
    asking = client(pipeline, token=TOKEN)
    for path in PAGES:
        answer = asking.get(path)
        assert answer.status == 303
        assert answer.headers["location"].startswith("/login?next=")
    assert asking.post("/rules/save", FIELDS).status == 401
    assert asking.get("/metrics").status == 200
    assert asking.get("/static/style.css").status == 200
    login = asking.get("/login?next=/rules%3Fq%3Da")
    wrong = asking.post("/login", {"token": TOKEN + "x", "next": "/rules"})
    assert (wrong.status, "this is not the token" in wrong.text) == (401, True)
    right = asking.post("/login", {"token": TOKEN, "next": login.field("next")})
    assert (right.status, right.headers["location"]) == (303, "/rules?q=a")
    assert "HttpOnly" in right.cookies[0]
    assert TOKEN not in right.cookies[0]
    assert "tester" in asking.get("/rules").words
    assert asking.post("/login", {"token": TOKEN, "next": "//evil.example/"}).headers["location"] == "/"
    assert asking.post("/logout").status == 303
    asking.cookies.pop(SESSION_COOKIE)
    assert asking.get("/rules").status == 303


def test_with_a_token_programs_send_it(pipeline: App):
    asking = client(pipeline, token=TOKEN)
    assert asking.call("GET", "/rules").status == 401
    assert asking.call("GET", "/rules", authorization=f"Bearer {TOKEN}").status == 200
    assert asking.call("GET", "/rules", authorization=f"bearer {TOKEN}").status == 200
    assert asking.call("GET", "/rules", authorization=f"Bearer {TOKEN} ").status == 401
    made = asking.call("PUT", "/rules/t", {"functions": ["t"]}, authorization=f"Bearer {TOKEN}", if_match='"0"')
    assert (made.status, made.json["author"]) == (201, "tester")


def test_a_session_ends_and_cannot_be_made(pipeline: App):
    site = site_of(pipeline, access=Access(default_user="tester", token=TOKEN))
    asking, now = Client(make_app(site)), time.monotonic()
    for cookie in ("", "x", "9" * 300, site.sessions.begin(now - SESSION_SECONDS - 1)):
        asking.cookies[SESSION_COOKIE] = cookie
        assert asking.get("/rules").status == 303
    asking.cookies[SESSION_COOKIE] = site.sessions.begin(now)
    assert asking.get("/rules").status == 200


def test_signing_out_ends_the_session_for_everybody_who_has_its_cookie(pipeline: App):
    asking = client(pipeline, token=TOKEN)
    asking.post("/login", {"token": TOKEN})
    stolen = asking.cookies[SESSION_COOKIE]
    assert asking.get("/rules").status == 200
    assert asking.post("/logout").status == 303
    asking.cookies[SESSION_COOKIE] = stolen
    assert asking.get("/rules").status == 303


def test_wrong_tokens_are_looked_at_ever_more_slowly(pipeline: App):
    app = make_app(site_of(pipeline, access=Access(token=TOKEN, hosts=())))
    asking, other = Client(app, address="10.0.0.1"), Client(app, address="10.0.0.2")
    answers = [asking.call("GET", "/rules", authorization=f"Bearer {TOKEN}x") for _ in range(12)]
    assert [one.status for one in answers[:6]] == [401] * 6
    assert {one.status for one in answers[6:]} == {429}
    assert int(answers[-1].headers["retry-after"]) >= 1
    # Neither the right token nor the form gets around it; others are not touched.
    assert asking.call("GET", "/rules", authorization=f"Bearer {TOKEN}").status == 429
    assert asking.post("/login", {"token": TOKEN}).status == 429
    assert asking.get("/login").status == 200
    assert other.call("GET", "/rules", authorization=f"Bearer {TOKEN}").status == 200
    assert other.post("/login", {"token": "wrong"}).status == 401


def test_guesses_that_were_begun_at_once_wait_too(pipeline: App):
    site = site_of(pipeline, access=Access(token=TOKEN, hosts=()))
    scope = {"client": ("10.0.0.1", 1)}
    assert is_the_token(site.access, site.guesses, scope, TOKEN)
    for _ in range(12):
        site.guesses.was_wrong("10.0.0.1", time.monotonic())
    # Its body came after the others were found wrong: it is not looked at.
    assert not is_the_token(site.access, site.guesses, scope, TOKEN)
    assert is_the_token(site.access, site.guesses, {"client": ("10.0.0.2", 1)}, TOKEN)


def test_short_tokens_are_refused():
    with pytest.raises(SettingsError, match="at least 16"):
        Access(token="hunter2")
    assert Access(token="x" * 16).token


def test_signing_in_takes_little_and_only_a_plain_form(pipeline: App):
    asking = client(pipeline, token=TOKEN)
    asking.get("/login")
    # No parser of multipart sees these: they carry no fields, or are refused by their size before.
    for part, status in ((b"((((" * 50, 403), (b"(" * (1 << 20), 413)):
        body = b"--B\r\nContent-Disposition: " + part + b"\r\n\r\nx\r\n--B--\r\n"
        head = {"content_type": "multipart/form-data; boundary=B", "origin": "http://localhost"}
        assert asking.ask("POST", "/login", body, head).status == status
    head = {"content_type": "application/x-www-form-urlencoded", "origin": "http://localhost"}
    assert asking.ask("POST", "/login", b"&".join([b"a=1"] * 1500), head).status == 400


def test_a_body_that_does_not_come_is_not_waited_for(pipeline: App):
    site = site_of(pipeline)
    guard = Guard(make_app(site), site.access, site.sessions, site.guesses, body_seconds=0.01)
    answer = Client(guard, silent=True).ask("POST", "/rules/check", b"", {})  # type: ignore[arg-type]
    assert (answer.status, "did not arrive" in answer.text) == (408, True)


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "null", "http://localhost@evil.example", "é"])
def test_an_origin_that_does_not_parse_is_another_page(pipeline: App, origin: str):
    assert client(pipeline).post("/rules/check", FIELDS, origin=origin).status == 403


def test_a_proxy_names_the_user(pipeline: App):
    access: dict[str, Any] = {"trusted_header": "X-Forwarded-User", "proxies": ("10.1.0.0/16",), "hosts": ()}
    proxied = client(pipeline, "10.1.2.3", **access)
    assert proxied.get("/rules").status == 401
    assert "anna" in proxied.get("/rules", x_forwarded_user="anna").text
    fields = {"name": "proxied", "functions": "p", "enabled": "on"}
    assert proxied.post("/rules/save", fields, x_forwarded_user="anna <b>").status == 303
    assert author(pipeline, "proxied") == "anna <b>"
    assert "anna &lt;b&gt;" in proxied.get("/rules/show/proxied", x_forwarded_user="x").text
    for address in ("10.2.0.1", "127.0.0.1", "::1", "nonsense"):
        refused = client(pipeline, address, **access).get("/rules", x_forwarded_user="anna")
        assert (refused.status, "sign in at the proxy" in refused.text) == (401, True)
    # A header of a proxy says nothing where none is configured.
    assert "berta" not in client(pipeline).get("/rules", x_forwarded_user="berta").text
    both = client(pipeline, "10.9.9.9", token=TOKEN, **access)
    assert both.call("GET", "/rules", authorization=f"Bearer {TOKEN}").status == 200
    with pytest.raises(SettingsError, match="no address or network"):
        Access(proxies=("somewhere",))


def test_read_only_shows_everything_and_changes_nothing(pipeline: App):
    asking = client(pipeline, read_only=True)
    before = StoredRules(pipeline.ledger).rules()
    for path in PAGES:
        answer = asking.get(path)
        assert answer.status == 200
        assert "read-only" in answer.text
    for path in ("/rules/save", "/rules/switch/r", "/rules/delete/r", "/rules/restore/r", "/rules/import", "/anything"):
        assert asking.post(path, FIELDS | {"why": "x", "seen_version": 1}).status == 403
    for method, path in (("PUT", "/rules/r"), ("DELETE", "/rules/r?why=x"), ("POST", "/rules/import")):
        refused = asking.call(method, path, {"text": ""}, if_match='"1"')
        assert (refused.status, "read-only" in refused.json["error"]) == (403, True)
    assert StoredRules(pipeline.ledger).rules() == before
    assert asking.post("/rules/check", FIELDS).status == 200
    assert "/rules/save" not in asking.get("/rules/new").text
    assert asking.call("POST", "/rules/validate", {"text": "rules: []"}).status == 200


def test_no_route_changes_anything_in_read_only_mode(pipeline: App):
    """Every route with every method: what is not known to be harmless is refused, whatever its path looks like."""
    app = make_app(site_of(pipeline, access=Access(default_user="tester", read_only=True)))
    asking, before = Client(app), (StoredRules(pipeline.ledger).rules(), HourRecords(pipeline.ledger).hours())
    values = ("preview", "validate", "import", "check", "login", "dimensions")
    paths = {re.sub(r"\{[^}]*\}", value, one.path) for one in app.routes if isinstance(one, Route) for value in values}
    assert len(paths) > 60
    for path in sorted(paths):
        for method in ("POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"):
            if (method, path) not in HARMLESS | PROGRAMS.reading:
                answer = asking.ask(method, path, b"{}", {"authorization": "Bearer x", "if_match": '"0"'})
                is_refused = (answer.status, "read-only" in answer.text) == (403, True)
                assert is_refused or path in ("/healthz", "/metrics"), (method, path)
                assert is_refused or answer.status == 405, (method, path)
    assert (StoredRules(pipeline.ledger).rules(), HourRecords(pipeline.ledger).hours()) == before


def test_rules_cannot_be_called_as_parts_of_addresses(pipeline: App):
    asking = client(pipeline)
    for name in ("preview", "validate", "import", "new"):
        made = asking.call("PUT", f"/rules/{name}", {"functions": ["a"]}, if_match='"0"')
        assert (made.status, made.json["problems"][0]["field"]) == (422, "name")
        text = f"rules: [{{name: {name}, functions: [a]}}]"
        assert asking.call("POST", "/rules/import", {"text": text}).status == 422
    assert not {"preview", "validate", "import", "new"} & set(names(pipeline))


def test_names_cannot_turn_the_text_of_a_page(pipeline: App):
    evil = "a\u202egpj.exe"
    answer = client(pipeline).post("/rules/check", FIELDS | {"name": "b", "functions": evil, "do": "preview"})
    shown = re.sub(r"<textarea.*?</textarea>|<[^>]*>", "", answer.text, flags=re.DOTALL)
    assert ("\u202e" in shown, "\\u202egpj" in shown) == (False, True)
    assert evil in answer.text  # in the field that is sent again


def test_too_much_is_refused(pipeline: App):
    asking = client(pipeline)
    assert asking.post("/rules/check", {"text": "x" * MAX_BODY_BYTES}).status == 413


def test_what_nobody_foresaw_tells_nothing(pipeline: App):
    class Broken:
        def __init__(self, error: Exception) -> None:
            self.error = error

        def standings(self, _: int) -> Any:
            raise self.error

    site = site_of(pipeline)
    site.watch = Broken(LedgerUnavailable("the ledger is away; start its database"))  # type: ignore[assignment]
    away = Client(make_app(site)).get("/rules")
    assert (away.status, "the ledger is away; start its database" in away.text) == (503, True)
    assert Client(make_app(site)).call("GET", "/rules").json == {"error": "the ledger is away; start its database"}
    site.watch = Broken(LedgerDamaged("run `pyro-assets rebuild-ledger`"))  # type: ignore[assignment]
    assert Client(make_app(site)).get("/rules").status == 503
    site.watch = Broken(ValueError("password=hunter2"))  # type: ignore[assignment]
    app = make_app(site)

    async def serve(*request: Any) -> None:
        with pytest.raises(ValueError, match="hunter2"):  # for the server's log
            await app(*request)

    for path, cache in (("/rules", "private, no-cache"), ("/api/v1/rules", "no-store")):
        answer = Client(serve).get(path)  # type: ignore[arg-type]
        assert (answer.status, "hunter2" in answer.text) == (500, False)
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == cache
    assert "hunter2" not in describe(ValueError("password=hunter2"))[1]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--host", "0.0.0.0"], "lets others in than this machine"),
        (["--token", "hunter22"], "never the token itself"),
        (["--token", "env:"], "write env:NAME or file:PATH"),
    ],
)
def test_the_command_refuses_what_is_not_safe(arguments: list[str], why: str):
    is_wrong_usage(run("web", *arguments), why)


def test_a_token_that_is_not_there_stops_the_command(tmp_path: Any):
    for place in ("env:PYRO_TEST_NO_SUCH_TOKEN", f"file:{tmp_path / 'none'}"):
        result = run("web", "--token", place)
        assert result.exit_code != 0
        assert place.partition(":")[2] in result.output


def test_before_signing_in_nothing_is_told(pipeline: App):
    page = client(pipeline, token=TOKEN).get("/login")
    assert "tester" not in page.words
    assert not re.findall(r'href="/(?:rules|status|quarantine)', page.text)
    assert "tester" in client(pipeline).get("/login").words
