"""The benchmark runs, on the committed data, and its clocks find every function that they are set on."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_it_measures_the_committed_jobs(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--seconds", "0.1", "--json"],
        cwd=ROOT,
        env=os.environ | {"PYRO_ASSETS_TEST_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (result,) = map(json.loads, done.stdout.splitlines())
    assert (result["name"], result["jobs"], result["objects"]) == ("bucket-2026", 3, 54)
    stages = result["stages_ms"]
    assert not [stage for stage in stages if stage.startswith("?")]
    assert min(stages.values()) > 0
    assert {"read symbols", "merge rows", "write tsdb", "series", "the rest"} <= set(stages)
    assert set(result["functions_ms"]) == set(result["rules_ms"]) == {"0", "1", "25", "200"}
    assert 0 < result["together_cpu_ms"] < result["cpu_ms"]
    assert result["peak_mib"] < 450
