"""A server that speaks S3's protocol, and empty buckets on it, for tests that need the real thing over HTTP.

Import the fixtures where they are used; each test gets a bucket of its own. Endpoint and credentials come from the
usual variables, as in production.
"""

import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3's protocol, on a free port of its own."""
    pytest.importorskip("moto.server")
    # stderr to a file: a pipe that nobody reads would fill up and stop the server.
    log = Path(os.environ.get("TMPDIR", "/tmp")) / f"moto-{uuid.uuid4().hex}.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while not (port := re.search(r"Running on http://127\.0\.0\.1:(\d+)", log.read_text())):
            if server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"moto's server did not start: {log.read_text()}")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port[1]}"
    finally:
        server.terminate()
        server.wait(30)
        log.unlink()


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket of S3; endpoint and credentials come from the usual variables."""
    import boto3
    import s3fs

    # A file system that was made for another server would be used again: in production the variables do not change.
    s3fs.S3FileSystem.clear_instance_cache()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3_endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    name = f"b{uuid.uuid4().hex}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    return f"s3://{name}/some/prefix"


@pytest.fixture(params=["obstore", "s3fs"])
def s3_client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both clients by turns: an option that obstore lacks leaves buckets of S3 to s3fs."""
    if request.param == "s3fs":
        use_s3fs(monkeypatch)
    return str(request.param)


def use_s3fs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Buckets of S3 are s3fs's from now on."""
    import fsspec

    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"user_agent_extra": "tests"}})
