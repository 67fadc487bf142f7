"""Two lanes, and kill -9 at random moments: run, code server, daemon, all three together; all is done once."""

from pathlib import Path

import pytest

from pyro_assets.demo import services
from pyro_assets.settings import Settings
from tests.soak.killer import KINDS
from tests.soak.soak import soak

pytestmark = pytest.mark.service


def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path):
    if services.prometheus_program() is None:
        pytest.skip("no prometheus on the path")
    # Two lanes, so that the queue's limit for each of them is tried too; short stays, so that there are many runs.
    settings = {"PYRO_ASSETS_LANES": "2", "PYRO_ASSETS_LIVE_BUDGET_SECONDS": "15"}
    figures = soak(tmp_path / "soak", 50, kill_every_seconds=(5.0, 8.0), rate=1.0, settings=settings)
    assert figures.differences == []
    assert figures.segments > 100
    assert figures.samples == figures.series > 0
    # Every kind of kill took place, that of everything at once included.
    assert set(figures.kills) == {"+".join(names) for names in KINDS}
    # Without a hand, and as soon as the leases of the dead are over: servers start, then a run.
    assert figures.drain_seconds < Settings().lease_ms / 1000 + 4 * figures.start_seconds
    assert figures.lag["exported"]["jobs"] == figures.jobs
    assert set(figures.lanes) >= {"live-0", "live-1"}
