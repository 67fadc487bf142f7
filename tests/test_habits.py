"""The files around the code: records of decisions, versions of builds, workflows."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_decisions_are_numbered_and_say_what_was_measured():
    records = sorted((ROOT / "resources" / "docs" / "decisions").glob("*.md"))
    assert [int(path.name[:3]) for path in records] == list(range(1, len(records) + 1))
    for number, path in enumerate(records, 1):
        text = path.read_text()
        assert text.startswith(f"# {number}. ")
        headings = ["Why it had to be decided", "Decision", "Measured", "What would reverse it"]
        assert re.findall(r"^## (.*)$", text, re.MULTILINE) == headings, path.name


def test_builds_install_versions_that_the_project_allows():
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    versions = {canonicalize_name(name): version for name, version in pinned.items()}
    wanted = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]
    for requirement in map(Requirement, wanted):
        if requirement.name != PROJECT["name"]:
            assert versions[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_workflows_call_the_one_script_and_pin_what_they_use():
    workflows = list((ROOT / ".github" / "workflows").glob("*.yaml"))
    assert workflows
    for path in workflows:
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {"contents": "read"}, path.name
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        used = [step["uses"] for step in steps if "uses" in step]
        checkouts = [step["with"] for step in steps if step.get("uses", "").startswith("actions/checkout@")]
        assert all(one["persist-credentials"] is False for one in checkouts), path.name
        assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", one) for one in used), path.name
    ci = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yaml").read_text())
    assert "bash .ci/run" in [step.get("run") for step in ci["jobs"]["test"]["steps"]]


def test_the_release_check_names_the_step_that_fails(tmp_path: Path):
    programs = {"git": "echo 1"} | {f"python3.{minor}": '[ "$1" = -c ]' for minor in range(11, 15)}
    for name, does in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    script = ROOT / ".ci" / "release-check"
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "\n== FAILED: tools\n"
    assert {path.name for path in tmp_path.iterdir()} == programs.keys()


def test_the_glossary_has_twenty_words_each_said_once():
    text = (ROOT / "resources" / "docs" / "concepts.md").read_text()
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    assert len(words) == len(set(words)) == 20


def test_the_version_is_said_in_one_place_and_followed():
    version = PROJECT["version"]
    kubernetes = ROOT / "resources" / "deploy" / "kubernetes"
    values = yaml.safe_load((kubernetes / "values.yaml").read_text())
    assert values["dagsterWebserver"]["image"]["tag"] == version
    written = {path.name for path in (ROOT / "tests" / "archive" / "written").iterdir()}
    assert version in written, "python -m tests.archive.writing FOLDER/VERSION, then move it there"


def test_licences_of_what_is_needed_are_written_down():
    page = (ROOT / "resources" / "docs" / "licences.md").read_text()
    known = set(re.findall(r"^\| ([\w.-]+) \| .+ \|$", page, re.MULTILINE))
    extras = PROJECT["optional-dependencies"]
    for requirement in map(
        Requirement, [*PROJECT["dependencies"], *extras["postgres"], *extras["celery"], *extras["k8s"]]
    ):
        assert canonicalize_name(requirement.name) in {canonicalize_name(name) for name in known}, requirement.name
