"""Load is a pure function of time, stays in bounds and has days, spikes and restarts."""

import pytest

from pyro_assets.generator.load import HOUR_MS, MINUTE_MS, endpoint_mix, load, restart, rng, spike

NOON_MS = 1_795_608_000_000


def test_the_same_moment_has_the_same_load():
    assert load(3, "checkout", NOON_MS) == load(3, "checkout", NOON_MS)
    assert load(3, "checkout", NOON_MS) != load(4, "checkout", NOON_MS)
    # Stands here so that other random numbers do not go unnoticed: past segments would change.
    assert rng(1, "a").randrange(1_000_000) == 721_550


def test_load_stays_in_bounds_and_is_lower_at_night():
    def hours(hour: int) -> float:
        return sum(load(1, "search", NOON_MS + (hour - 12) * HOUR_MS + m * MINUTE_MS) for m in range(60)) / 60

    values = [load(1, "search", NOON_MS + m * MINUTE_MS) for m in range(1440)]
    assert 0.1 < min(values) < max(values) < 5
    assert hours(3) < 0.7 * hours(15)


def test_spikes_come_and_go():
    values = [spike(1, "gateway", NOON_MS + s * 5_000) for s in range(2_000)]
    assert max(values) > 1.8
    assert 0.5 < values.count(1.0) / len(values) < 0.98


def test_endpoints_share_the_traffic():
    mix = endpoint_mix(1, "checkout", 3, NOON_MS)
    assert sum(mix) == pytest.approx(3)
    assert min(mix) > 0
    assert endpoint_mix(1, "scheduler", 0, NOON_MS) == []


def test_a_pod_runs_since_its_last_restart():
    seen = [restart(1, "acme/checkout-0", NOON_MS + m * MINUTE_MS) for m in range(300)]
    for minute, (session, started_ms) in enumerate(seen):
        assert started_ms <= NOON_MS + minute * MINUTE_MS
        assert restart(1, "acme/checkout-0", started_ms) == (session, started_ms)
        assert restart(1, "acme/checkout-0", started_ms - 1)[0] == session - 1
    assert len({session for session, _ in seen}) > 3
