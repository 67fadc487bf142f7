"""The files of `resources/deploy` agree with one another, with Dagster's settings, and with what reads them.

Not tried here, for want of Docker and of the chart: `docker compose up` and `helm template`. The workflow deploy does.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values
from kubernetes.client import ApiClient

from pyro_assets.receivers.file import load_receivers
from pyro_assets.resources.environment import Environment
from pyro_assets.rules.config import load_config
from pyro_assets.settings import variable

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "resources" / "deploy"
ROLES = {"code", "webserver", "daemon", "pages"}


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


DAGSTER: dict[str, Any] = read("../dagster.yaml")


#: A code server with a run, each of which says by a file that it was asked to end.
SERVER = """\
#!/bin/sh
sh -c 'trap "touch run-asked; exit" TERM; echo > run; while :; do sleep 0.05; done' &
trap 'touch server-asked; wait; exit 3' TERM
while :; do sleep 0.05; done
"""


def test_a_code_server_that_is_asked_to_end_lets_its_runs_end(tmp_path: Path):
    (tmp_path / "dagster").write_text(SERVER)
    (tmp_path / "dagster").chmod(0o755)
    os.mkfifo(tmp_path / "run")
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "DAGSTER_HOME": str(tmp_path), "CODE_PORT": "1"}
    with subprocess.Popen([DEPLOY / "role", "code"], cwd=tmp_path, env=environment, start_new_session=True) as role:
        try:
            (tmp_path / "run").read_text()
            role.terminate()
            assert role.wait(20) == 3
        finally:
            if role.poll() is None:
                os.killpg(role.pid, signal.SIGKILL)
    assert (tmp_path / "server-asked").exists()
    assert (tmp_path / "run-asked").exists()


def test_compose_starts_the_four_roles_of_the_image_with_settings_that_exist():
    services = read("compose.yaml")["services"]
    assert services.keys() == ROLES | {"postgres"}
    known = {variable(name) for name in Environment.model_fields}
    script = (DEPLOY / "role").read_text()
    for name in ROLES:
        role = services[name]
        assert role["command"].split()[0] == name
        assert f"    {name})" in script
        assert role["read_only"]
        assert {one for one in role["environment"] if one.startswith("PYRO_ASSETS_")} <= known
        assert role["environment"]["PYRO_ASSETS_LEDGER_URL"].endswith("/ledger")
    # Whoever reaches these pages may change rules: so they stay on this machine.
    assert services["pages"]["ports"] == ["127.0.0.1:9119:9119"]
    own = {name for name in dotenv_values(DEPLOY / ".env") if name.startswith("PYRO_ASSETS_")}
    assert own <= known


def test_the_stack_names_files_that_are_there_and_versions_of_images():
    stack = read("stack.yaml")
    for name, service in (read("compose.yaml")["services"] | stack["services"]).items():
        assert "build" in service or re.search(r":[\w.]*\d|PYRO_ASSETS_IMAGE", service["image"]), name
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            if source.startswith(".") and source != "./data":
                assert (DEPLOY / source).is_file(), source
    assert {name for name, service in stack["services"].items() if "build" in service} == ROLES
    assert (ROOT / stack["services"]["code"]["build"]["dockerfile"]).is_file()


def test_rules_and_receivers_of_the_stack_are_accepted():
    assert load_config(DEPLOY / "rules.yaml").rules
    (receiver,) = load_receivers(str(DEPLOY / "receivers.yaml")).receivers
    window = read("prometheus.yaml")["storage"]["tsdb"]["out_of_order_time_window"]
    assert receiver.out_of_order_window_ms == 86_400_000
    assert window == "1d"


@pytest.mark.service
def test_prometheus_takes_its_configuration(tmp_path: Path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool not found; install Debian's prometheus")
    (tmp_path / "prometheus.yaml").write_bytes((DEPLOY / "prometheus.yaml").read_bytes())
    (tmp_path / "alerts.yaml").write_bytes((DEPLOY.parent / "observability" / "alerts.yaml").read_bytes())
    done = subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yaml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_gets_dagsters_settings():
    values = read("kubernetes/values.yaml")
    daemon = values["dagsterDaemon"]
    coordinator = daemon["runCoordinator"]["config"]["customRunCoordinator"]
    assert coordinator == DAGSTER["run_coordinator"]
    monitoring, own = daemon["runMonitoring"], DAGSTER["run_monitoring"]
    assert monitoring["maxRuntimeSeconds"] == own["max_runtime_seconds"]
    assert monitoring["pollIntervalSeconds"] == own["poll_interval_seconds"]
    assert daemon["runRetries"]["maxRetries"] == DAGSTER["run_retries"]["max_retries"]
    for kind in ("sensor", "schedule"):
        assert values["retention"][kind]["purgeAfterDays"] == DAGSTER["retention"][kind]["purge_after_days"]
    images = [values["dagsterWebserver"]["image"], daemon["image"]]
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    assert images == [deployment["image"]] * 2
    assert deployment["dagsterApiGrpcArgs"][-2:] == ["-m", "pyro_assets.definitions"]
    image = values["dagsterWebserver"]["image"]
    pages = next(yaml.safe_load_all((DEPLOY / "kubernetes" / "pages.yaml").read_text()))
    (container,) = pages["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"


def test_the_manifest_of_the_pages_has_fields_that_kubernetes_knows():
    client = ApiClient()
    documents = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "pages.yaml").read_text()))
    assert [one["kind"] for one in documents] == ["Deployment", "Service"]
    for document in documents:
        model = client._ApiClient__deserialize(document, f"V1{document['kind']}")
        # What the model does not know is lost on the way.
        assert client.sanitize_for_serialization(model) == document


def test_runs_in_kubernetes_have_fields_that_dagster_knows():
    """Those of hosted Dagster, and of the chart, whose own schema is not tried here."""
    absent = {"reason": "comes with the dev extra", "exc_type": ImportError}
    cloud = pytest.importorskip("dagster_cloud_cli.config.models", **absent)
    context = pytest.importorskip("dagster_k8s.container_context", **absent).K8sContainerContext
    (location,) = cloud.load_dagster_cloud_yaml((DEPLOY / "dagster_cloud.yaml").read_text()).locations
    hosted = context.create_from_config(location.container_context).run_k8s_config
    launcher = read("kubernetes/values.yaml")["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    own = {"container_config": launcher["containerConfig"], "job_spec_config": launcher["jobSpecConfig"]}
    ours = context.create_from_config({"k8s": {"run_k8s_config": own}}).run_k8s_config
    assert ours.container_config["resources"] == hosted.container_config["resources"]
    assert ours.job_spec_config == {"ttl_seconds_after_finished": 600}


def test_readme_is_short_and_names_what_is_there():
    text = (DEPLOY / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 15
    for name in re.findall(r"`(kubernetes/\S+?|\w+\.yaml)`", text):
        assert (DEPLOY / name).is_file(), name


def test_a_workflow_runs_what_cannot_run_here():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "deploy.yaml").read_text())
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    up = next(line.strip() for line in (DEPLOY / "README.md").read_text().splitlines() if "docker compose up" in line)
    assert any(command.startswith(up.split("&& ")[1]) for command in commands)
    version = re.search(r"--version (\S+)", (DEPLOY / "kubernetes" / "values.yaml").read_text())
    assert version is not None
    for overlay in ("-f values.yaml >", "-f values.yaml -f branch.yaml"):
        assert any(f"--version {version[1]} {overlay}" in command for command in commands)
