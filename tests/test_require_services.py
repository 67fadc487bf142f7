"""The plugin of `make test-services`: what may be skipped elsewhere fails there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.parametrize(("required", "status"), [("1", 1), ("", 0)])
def test_a_skipped_test_fails_where_servers_are_required(tmp_path: Path, required: str, status: int):
    (tmp_path / "test_x.py").write_text("import pytest\ndef test_x(): pytest.skip('no server here')\n")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.support.require_services",
            "-p",
            "no:cacheprovider",
            str(tmp_path),
        ],
        env={**os.environ, "PYTHONPATH": str(TESTS.parent), "PYRO_ASSETS_REQUIRE_SERVICES": required},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == status, result.stdout
    assert ("may not be skipped here" in result.stdout) is bool(status)
