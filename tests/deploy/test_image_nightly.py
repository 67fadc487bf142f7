"""The image: built on a base that debootstrap makes, since no registry of images is asked; then its four roles.

Containers have their own file system here and nothing else of their own (isolation by chroot): a read-only root and the
stack as a whole are the workflow's, see `.github/workflows/deploy.yaml`.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.deploy_roles import RESOURCES, ROLES, Roles
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.nightly
ROOT = RESOURCES.parent
BASE, IMAGE = "localhost/pyro-assets-base", "localhost/pyro-assets-test"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def buildah(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["buildah", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    for program in ("buildah", "debootstrap"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} not found; install Debian's buildah and debootstrap")
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    root = tmp_path_factory.mktemp("base") / "root"
    subprocess.run(
        ["debootstrap", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", root],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    base = buildah("from", "scratch").strip()
    tar = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "--exclude=./dev/*", "--exclude=./proc/*", "-cf", tar, "."], check=True)
    buildah("add", "--quiet", base, tar, "/")
    tar.unlink()
    buildah("commit", "--quiet", base, BASE)
    buildah("rm", base)
    shutil.rmtree(root)
    buildah(
        "build", "--isolation=chroot", "--format=docker", "--pull=never", f"--build-arg=BASE={BASE}",
        # A machine's own certificates, should it reach the registry by a proxy.
        f"--volume={CERTIFICATES.parent}:{CERTIFICATES.parent}:ro", f"--build-arg=PIP_CERT={CERTIFICATES}",
        f"--tag={IMAGE}", f"--file={RESOURCES / 'deploy' / 'Dockerfile'}",
        f"--ignorefile={RESOURCES / 'deploy' / 'Dockerfile.dockerignore'}", ROOT,
    )  # fmt: skip
    made = buildah("from", "--pull=never", IMAGE).strip()
    yield made
    buildah("rm", made)
    buildah("rmi", IMAGE, BASE)


def test_the_image_says_who_runs_it_and_how_it_is(container: str):
    config = json.loads(buildah("inspect", "--type=image", IMAGE))["Docker"]["config"]
    assert config["User"] == "1000:1000"
    assert config["Healthcheck"]["Test"] == ["CMD", "role", "healthy"]
    assert config["Entrypoint"] == ["role"]
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_nobody_may_write_to_what_it_is_made_of(container: str):
    for path in ("/opt/pyro-assets", "/usr/local/bin", "/"):
        done = subprocess.run(
            ["buildah", "run", "--isolation=chroot", container, "--", "touch", f"{path}/x"],
            capture_output=True,
            text=True,
        )
        assert "Permission denied" in done.stderr, path


def test_its_roles_make_series(container: str, tmp_path: Path, postgres: PostgresServer):
    roles = Roles(tmp_path, postgres, os.environ["PATH"], container)
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 1000, 1000)
    try:
        roles.start(*ROLES)
        roles.generate(6)
        roles.wait_for_series(0)
    finally:
        roles.lose()
