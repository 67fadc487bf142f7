"""kill -9 at random moments: run, code server, daemon, and all three together; then everything is done once."""

from pathlib import Path

import pytest

from pyro_assets.demo import services
from pyro_assets.pipeline.settings import Settings
from tests.soak.killer import KINDS
from tests.soak.soak import soak

pytestmark = pytest.mark.service

#: From the end of a lease to a committed job: a tick, the start of a run, the job; on a machine that is busy.
_MARGIN_SECONDS = 60.0


def test_nothing_is_lost_or_doubled_by_kills_at_random_moments(tmp_path: Path):
    if services.prometheus_program() is None:
        pytest.skip("no prometheus on the path")
    figures = soak(tmp_path / "soak", 50, kill_every_seconds=(5.0, 8.0), rate=1.0)
    assert figures.differences == []
    assert figures.segments > 100
    assert figures.samples == figures.series > 0
    # Every kind of kill took place, that of everything at once included.
    assert set(figures.kills) == {"+".join(names) for names in KINDS}
    # Without a hand, and as soon as the leases of the dead are over.
    assert figures.lag["exported"]["max"] < Settings().lease_ms / 1000 + _MARGIN_SECONDS
    assert figures.lag["exported"]["jobs"] == figures.jobs
