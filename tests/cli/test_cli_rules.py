"""`rules` keeps the ledger's rules as files say, tells what is wrong, and forgets nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli_runner import fails, run

RULES = """rules:
- name: net
  description: "what the network costs: all of it"
  functions: [{glob: "net/http.*"}, "main.(*Server).Serve"]
  labels: {team: "on", number: "1e3"}
- name: whole
  by: [service_name]
  aggregate: max
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def ledger(tmp_path: Path) -> list[Any]:
    return ["--ledger-url", tmp_path / "ledger.db"]


def out(*command: Any, status: int = 0) -> str:
    result = run("rules", *command)
    assert result.exit_code == status, result.output
    return result.stdout


def test_apply_is_idempotent_and_a_dry_run_changes_nothing(file: Path, ledger: list[Any]):
    assert (
        out("apply", "-f", file, "--dry-run", *ledger)
        == "create net\ncreate whole\n2 rules would change, 0 unchanged\n"
    )
    assert out("export", *ledger, "--config", "") == "rules: []\n"
    assert out("apply", "-f", file, *ledger, "--why", "first").endswith("2 rules changed, 0 unchanged\n")
    assert out("apply", "-f", file, *ledger) == "0 rules changed, 2 unchanged\n"
    exported = out("export", *ledger, "--config", "")
    file.write_text(exported)
    assert out("apply", "-f", file, *ledger) == "0 rules changed, 2 unchanged\n"
    assert out("diff", "-f", file, *ledger) == ""
    file.write_text(exported.replace("max", "min"))
    assert "-  aggregate: max\n+  aggregate: min\n" in out("diff", "-f", file, *ledger, status=1)
    file.write_text(exported.partition("- name: whole")[0])
    assert "0 rules changed, 1 unchanged" in out("apply", "-f", file, *ledger)
    assert "delete whole\n1 rule changed, 1 unchanged" in out("apply", "-f", file, "--prune", *ledger)


def test_history_delete_and_restore(file: Path, ledger: list[Any]):
    out("apply", "-f", file, *ledger, "--author", "ann", "--why", "first")
    out("delete", "net", *ledger, "--author", "ben", "--why", "too dear")
    fails(run("rules", "show", "net", *ledger, "--config", ""), "there is no rule 'net'")
    fails(run("rules", "delete", "net", *ledger), "does not exist")
    assert "version 3" in out("restore", "net", *ledger)
    history = out("show", "net", "--history", *ledger)
    assert [line.split(",")[0] for line in history.splitlines() if line.startswith("#")] == [
        "# version 3 saved by " + history.split("saved by ")[1].split(",")[0],
        "# version 2 deleted by ben",
        "# version 1 saved by ann",
    ]
    assert "too dear" in history
    fails(run("rules", "restore", "net", "--version", "9", *ledger), "no such version")
    fails(run("rules", "show", "none", "--history", *ledger), "never had")


def test_the_file_wins(file: Path, ledger: list[Any], tmp_path: Path):
    out("apply", "-f", file, *ledger)
    own = tmp_path / "own.yaml"
    own.write_text("rules: [{name: net, functions: [f]}]\nfunctions: {g: '{}'}\n")
    found = {
        (one["name"], one["origin"]): one
        for one in json.loads(out("list", "--json", *ledger, "--config", own))["rules"]
    }
    # On, and without series in the last hour.
    assert found["net", "file"]["state"] == "quiet"
    assert (found["net", "file"]["series"], found["net", "file"]["receivers"]) == (0, [])
    assert found["net", "ledger"]["problem"] == "a rule of the file has this name, and the file wins"
    assert found["whole", "ledger"]["version"] == 1
    assert found["g", "file, other form"]["rule"] == {"name": "g", "functions": ["g"]}
    assert "total of f in {}" in out("list", *ledger, "--config", own)
    assert out("show", "net", *ledger, "--config", own) == "rules:\n- name: net\n  functions: [f]\n"
    assert out("show", "g", *ledger, "--config", own) == "rules:\n- name: g\n  functions: [g]\n"


def test_validate_tells_all(file: Path, tmp_path: Path):
    assert out("validate", file) == f"{file}: 2 rules, all fine\n"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.yaml").write_text(RULES)
    (folder / "b.yml").write_text("rules:\n- name: net\n")
    (folder / "c.json").write_text('{"rules": [\n{"name": "x", "by": ["tenant"]}]}')
    result = run("rules", "validate", folder)
    assert result.exit_code == 1
    assert f"{folder / 'b.yml'}: rules: net: stands in {folder / 'a.yaml'} too" in result.stderr
    assert f"{folder / 'c.json'}:2: rules[0].by[0]: 'tenant' is reserved" in result.stderr


def test_import_of_other_forms(tmp_path: Path, ledger: list[Any]):
    path = tmp_path / "recording.json"
    recorded = {"id": "abc", "metric_name": "cpu_of_f", "group_by": ["pod"]}
    recorded |= {"matchers": ['{__profile_type__="a:cpu:nanoseconds:cpu:nanoseconds"}', '{env="x"}']}
    recorded |= {"external_labels": [{"name": "team", "value": "t"}]}
    recorded |= {"stacktrace_filter": {"function_name": {"function_name": "f", "metric_type": 0}}}
    path.write_text(json.dumps([recorded]))
    text = out("import", path, "--dry-run", *ledger)
    assert text == (
        "rules:\n- name: abc\n  description: recording rule abc\n  functions: [f]\n  combine: true\n"
        '  selector: \'{__profile_type__="a:cpu:nanoseconds:cpu:nanoseconds", env="x"}\'\n'
        "  metric: cpu_of_f\n  by: [pod]\n  labels: {team: t}\n  aggregate: sum\n"
    )
    out("import", path, *ledger)
    assert out("export", *ledger, "--config", "") == text


def test_rules_that_cannot_stand_together_are_refused(file: Path, ledger: list[Any], tmp_path: Path):
    out("apply", "-f", file, *ledger)
    other = tmp_path / "other.yaml"
    other.write_text("rules: [{name: zz, by: [service_name]}]\n")
    fails(run("rules", "apply", "-f", other, *ledger), "rule whole of the ledger would give no series", "same series")
