"""Files of receivers: what is legal, what contradicts itself, with line and field; and no secret in any of it."""

import pickle
import traceback
from pathlib import Path

import pytest

from pyro_assets.errors import ConfigError, SecretMissing
from pyro_assets.receivers.file import Receivers, load_receivers, parse_receivers
from pyro_assets.receivers.model import Receiver
from pyro_assets.receivers.secrets import Redactor, SecretRef

CANARY = "canary-5ecret-9f3"

FULL = """
receivers:
  - name: prometheus
    kind: prometheus
    url: http://localhost:9090/api/v1/write
    out_of_order_window: 1d
  - name: cloud
    kind: mimir
    url: https://example.org/api/prom/push
    query_url: https://example.org/api/prom
    tenants: [acme, "team-*"]
    select:
      - '{__name__=~"pyroscope_exported_metrics_process_cpu.*"}'
      - '{service_name="checkout"}'
    basic_auth: {username: "123456", password: {env: CLOUD_TOKEN}}
    headers:
      X-Stage: production
      X-Api-Key: {file: /run/secrets/key}
    tls: {ca_file: /etc/ca.pem, cert_file: /etc/c.pem, key_file: /etc/k.pem}
    org_ids: {acme: "42"}
    labels: {cluster: eu}
    tenant_label: team
    limits:
      samples_per_second: 10000
      request_bytes: 1000000
      request_series: 500
      labels: 20
      label_name_bytes: 100
      label_value_bytes: 1000
      active_series: 100000
    out_of_order_window: 2h30m
    retention: 1y
    start: 2026-11-25-09:00
    timeout: 10s
    retry_for: 1m
  - name: vm
    kind: victoriametrics
    url: http://vm:8428/api/v1/write
    bearer_token: {file: token}
    dedup: true
    tenants: [acme]
"""


def receiver(text: str) -> str:
    """A file of one Mimir with more fields."""
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    return f"- name: r\n  kind: mimir\n  url: https://h/api/v1/push\n{lines}"


def test_everything_at_once():
    receivers = parse_receivers(FULL)
    prometheus, cloud, vm = receivers.receivers
    assert receivers.named("vm") is vm
    assert receivers.named("x") is None
    assert (prometheus.effective_tenant_label, cloud.effective_tenant_label) == ("tenant", "team")
    assert vm.effective_tenant_label is None
    assert cloud.out_of_order_window_ms == 9_000_000
    assert cloud.retention_ms == 365 * 86_400_000
    assert (cloud.timeout_ms, cloud.retry_for_ms) == (10_000, 60_000)
    assert cloud.max_labels == 20
    assert vm.max_labels == 30
    assert prometheus.max_labels is None
    assert [cloud.org_of(tenant) for tenant in ("acme", "team-a")] == ["42", "team-a"]
    assert [cloud.takes_tenant(tenant) for tenant in ("acme", "team-a", "other")] == [True, True, False]
    assert cloud.selectors is not None
    assert prometheus.selectors is None
    assert [one.is_idempotent for one in receivers.receivers] == [True, True, True]
    assert [one.takes_history for one in receivers.receivers] == [True, True, True]
    assert [one.warnings() for one in (prometheus, cloud)] == [[], []]
    assert vm.warnings() == ["credentials are sent over http, which anyone on the way can read; use https"]
    assert {str(ref) for ref in cloud.secret_refs} == {
        "the environment variable CLOUD_TOKEN", "the file /run/secrets/key",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["", "receivers:\n", "receivers: []", "[]", "# nothing\n"])
def test_no_receivers_are_no_error(text: str):
    assert parse_receivers(text) == Receivers()


def test_what_the_promise_lacks_is_a_warning():
    local = "- {name: a, kind: KIND, url: 'http://localhost/api/v1/write', tenants: [a]}"
    for kind, word in (
        ("prometheus", "out_of_order_window"),
        ("mimir", "out_of_order_window"),
        ("victoriametrics", "dedup"),
    ):
        (one,) = parse_receivers(local.replace("KIND", kind)).receivers
        assert not one.is_idempotent
        assert word in " ".join(one.warnings())
    for window, warned in (("59m", True), ("1h", False)):
        text = local.replace("KIND", "prometheus").replace("tenants", f"out_of_order_window: {window}, tenants")
        (one,) = parse_receivers(text).receivers
        assert [("59m is short" in warning) for warning in one.warnings()] == [True] * warned


@pytest.mark.parametrize(
    ("text", "line", "field", "why"),
    [
        ("nme: x", 4, "nme", "did you mean name?"),
        ("limits: {lables: 3}", 4, "limits.lables", "did you mean labels?"),
        ("basic_auth: {user: a, password: {env: A}}", 4, "basic_auth.user", "did you mean username?"),
        ("limits:\n  labels: 0", 5, "limits.labels", "must be at least 1"),
        ("limits: {labels: '3'}", 4, "limits.labels", "must be a whole number, not text"),
        ("limits: {samples_per_second: .inf}", 4, "limits.samples_per_second", ""),
        ("limits: {request_bytes: 100}", 4, "limits.request_bytes", "4096"),
        ("out_of_order_window: soon", 4, "out_of_order_window", "no duration"),
        ("out_of_order_window: 1", 4, "out_of_order_window", "no duration"),
        ("start: yesterday", 4, "start", "an hour (UTC)"),
        ("tenants: []", 4, "tenants", "at least 1"),
        ("select: ['{a=b}']", 4, "select[0]", "expected a value in quotes"),
        ("tls: {key_file: a}", 4, "tls.key_file", "without cert_file"),
        ("tls: {insecure_skip_verify: true, ca_file: a}", 4, "tls.insecure_skip_verify", "one of the two"),
        ("basic_auth: {username: a, password: {env: A}}\nbearer_token: {env: B}", 5, "bearer_token", "one of the two"),
        ("basic_auth: {username: 'a:b', password: {env: A}}", 4, "basic_auth.username", "colon"),
        ("bearer_token: {env: B}\nheaders: {authorization: {env: A}}", 5, "headers.authorization", "one of the two"),
        ("headers: {Content-Encoding: gzip}", 4, 'headers["Content-Encoding"]', "part of the protocol"),
        ("headers: {X-Scope-OrgID: a}", 4, 'headers["X-Scope-OrgID"]', "org_id"),
        ("headers: {'a b': c}", 4, 'headers["a b"]', "no name of a header"),
        ("headers: {X-A: b, x-a: c}", 4, 'headers["x-a"]', "same header"),
        ('headers: {X-A: "b\\nc"}', 4, 'headers["X-A"]', "visible ASCII"),
        ("bearer_token: {env: A, file: b}", 4, "bearer_token", "name one place"),
        ("bearer_token: {env: 'A B'}", 4, "bearer_token.env", "no name of an environment variable"),
        ("org_id: all", 4, "org_id", "would become one"),
        ("org_id: all\ntenants: [a, b]", 4, "org_id", "would become one"),
        ("org_id: all\ntenant_label: null", 4, "org_id", "would become one"),
        ("org_id: a\norg_ids: {b: c}\ntenant_label: t", 5, "org_ids", "one of the two"),
        ("org_ids: {a: x, b: x}", 4, "org_ids.b", "share an X-Scope-OrgID"),
        ("tenants: [a, b]\norg_ids: {a: b}", 5, "org_ids.a", "share an X-Scope-OrgID"),
        ("tenants: [a]\norg_ids: {b: x}", 5, "org_ids.b", "not among"),
        ('org_id: "a\\tb"\ntenant_label: t', 4, "org_id", "visible ASCII"),
        ("labels: {function: f}", 4, "labels.function", "already"),
        ("labels: {pyroscope_shard: f}", 4, "labels.pyroscope_shard", "already"),
        ("labels: {profiles_rule_id: f}", 4, "labels.profiles_rule_id", "already"),
        ("labels: {__name__: f}", 4, "labels.__name__", "no name of a label"),
        ("labels: {a: ''}", 4, "labels.a", "must not be empty"),
        ("labels: {team: x}\ntenant_label: team", 4, "labels.team", "label of the tenant too"),
        ("tenant_label: 'a.b'", 4, "tenant_label", "no name of a label"),
        ("labels: {a: b}\nlimits: {labels: 2}", 4, "labels", "no room"),
        ("out_of_order_window: 2d\nretention: 1d", 4, "out_of_order_window", "longer than the retention"),
        ("retention: 0s", 4, "retention", "longer than 0"),
        ("dedup: true", 4, "dedup", "VictoriaMetrics"),
        ("kind: prometheus", 4, "kind", "stands twice"),
        ("name: r2", 4, "name", "stands twice"),
    ],
)
def test_a_problem_names_line_and_field(text: str, line: int, field: str, why: str):
    with pytest.raises(ConfigError) as raised:
        parse_receivers(receiver(text), "r.yaml")
    problems = {(problem.line, problem.what): problem.why for problem in raised.value.problems}
    place = f"receivers[0].{field}" if (line, f"receivers[0].{field}") in problems else f"[0].{field}"
    assert why in problems[line, place]


def test_several_tenants_need_a_label_where_the_receiver_knows_none():
    for kind in ("prometheus", "victoriametrics", "generic"):
        text = f"- {{name: a, kind: {kind}, url: 'http://h/api/v1/write', tenant_label: null}}"
        with pytest.raises(ConfigError, match="would become one"):
            parse_receivers(text)
        assert parse_receivers(text.replace("null", "tenant")).receivers
        assert parse_receivers(text.replace("tenant_label: null", "tenants: [a]")).receivers
    assert parse_receivers("- {name: a, kind: mimir, url: 'http://h/api/v1/push'}").receivers


@pytest.mark.parametrize(
    "url",
    ["localhost:9090", "ftp://h/x", "http://", "http://h:99999/x", "http://h/a b", "http://h/#x", "http://[::1/x", ""],
)
def test_a_bad_url_is_refused(url: str):
    with pytest.raises(ConfigError, match=r"receivers\[0\]\.url|url"):
        parse_receivers(f"- name: a\n  url: '{url}'")


def test_names_are_unique_and_all_problems_are_told():
    text = "- {name: a, kind: mimir, url: 'http://h/p'}\n- {name: a, kind: mimir, url: 'http://h/p', dedup: true}"
    with pytest.raises(ConfigError) as raised:
        parse_receivers(text)
    assert [problem.line for problem in raised.value.problems] == [2, 2]
    assert "is called 'a' already" in str(raised.value)


def test_a_file_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_receivers(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9 " + CANARY.encode())
    with pytest.raises(ConfigError, match="not UTF-8") as raised:
        load_receivers(tmp_path / "latin.yaml")
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    (tmp_path / "good.yaml").write_text(FULL)
    assert len(load_receivers(tmp_path / "good.yaml").receivers) == 3


@pytest.mark.parametrize(
    "text",
    [
        f"bearer_token: {CANARY}",
        f"bearer_token: [{CANARY}]",
        f"bearer_token: {{env: '{CANARY}!'}}",
        f"bearer_token: {{evn: A, value: {CANARY}}}",
        f"basic_auth: {{username: a, password: {CANARY}}}",
        f"basic_auth: {CANARY}",
        f"headers: {{Authorization: Bearer {CANARY}}}",
        f"headers: {{X-Api-Token: {CANARY}}}",
        f'headers: {{X-A: "{CANARY}\\n"}}',
        f"headers: {CANARY}",
        f"query_url: http://user:{CANARY}@h/",
        f"query_url: http://h/?api_key={CANARY}",
        f"query_url: http://h:{CANARY}/",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(text: str):
    with pytest.raises(ConfigError) as raised:
        parse_receivers(receiver(text), "r.yaml")
    shown = "".join(traceback.format_exception(raised.value)) + repr(raised.value)
    assert CANARY not in shown.replace("\n", "")
    assert raised.value.problems[0].line == 4


def test_a_receiver_never_holds_its_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "secret").write_text(f"{CANARY}\n")
    monkeypatch.setenv("TOKEN", CANARY)
    text = receiver(f"basic_auth: {{username: {{env: TOKEN}}, password: {{file: {tmp_path}/secret}}}}")
    (one,) = parse_receivers(text).receivers
    environ = {"TOKEN": CANARY}
    assert [ref.resolve(environ) for ref in one.secret_refs] == [CANARY, CANARY]
    for shown in (repr(one), str(one), one.model_dump_json(), str(one.model_dump()), repr(pickle.dumps(one))):
        assert CANARY not in shown
    assert one == Receiver.model_validate(
        one.model_dump(by_alias=True, mode="json")
        | {"out_of_order_window": None, "retention": None, "timeout": "30s", "retry_for": "300s"}
    )


def test_a_secret_that_is_not_there_names_its_place(tmp_path: Path):
    with pytest.raises(SecretMissing, match="receiver r: the environment variable TOKEN is empty or not set"):
        SecretRef(env="TOKEN").resolve({}, "r")
    with pytest.raises(SecretMissing, match=r"the file .*absent cannot be read: No such file"):
        SecretRef(file=str(tmp_path / "absent")).resolve({}, "r")
    (tmp_path / "binary").write_bytes(CANARY.encode() + b"\xff")
    with pytest.raises(SecretMissing, match="not UTF-8") as raised:
        SecretRef(file=str(tmp_path / "binary")).resolve({})
    assert CANARY not in "".join(traceback.format_exception(raised.value))
    for bad in (f"{CANARY}\nX-Injected: 1", f" {CANARY}", f"{CANARY}é"):
        with pytest.raises(SecretMissing, match="cannot carry") as raised:
            SecretRef(env="TOKEN").resolve({"TOKEN": bad})
        assert CANARY not in "".join(traceback.format_exception(raised.value))


def test_a_redactor_removes_what_it_has_seen():
    redactor = Redactor([CANARY])
    redactor.add("ab")
    assert redactor.redact(f"x{CANARY}y abc") == "x***y abc"
    assert CANARY not in repr(redactor)
