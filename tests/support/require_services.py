"""A pytest plugin for `make test-services`: where servers are required, a skipped test is a failed one.

Loaded with `-p require_services`; it belongs to no other run.
"""

import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn "skipped" into "failed" when PYRO_ASSETS_REQUIRE_SERVICES is set."""
    report = yield
    if report.skipped and os.environ.get("PYRO_ASSETS_REQUIRE_SERVICES") and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: may not be skipped here ({reason})"
    return report
