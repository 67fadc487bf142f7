"""The rules that make jobs of sources, as a table of cases."""

import pytest

from pyro_assets.planning.policy import Policy, Waiting, cut, job_id

NOW_MS = 1_000_000
POLICY = Policy(max_blocks=3, max_bytes=100, max_age_ms=5_000)


def waiting(*sources: tuple[int, int] | int, seen_ms: int = NOW_MS) -> list[Waiting]:
    """Sources of (seconds before now, bytes), or of one byte."""
    pairs = [source if isinstance(source, tuple) else (source, 1) for source in sources]
    return [Waiting(i, f"k{i}", NOW_MS - age * 1000, seen_ms, size) for i, (age, size) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("sources", "more", "expected"),
    [
        pytest.param([], False, [], id="nothing"),
        pytest.param([4, 3], False, [], id="too few and too young"),
        pytest.param([4, 3, 2], False, [3], id="enough sources"),
        pytest.param([5], False, [1], id="old enough"),
        pytest.param([900, 800, 700, 600, 500], False, [3, 2], id="a backlog at once"),
        pytest.param([900, 800, 700, 600, 500], True, [3], id="the rest waits for the next slice"),
        pytest.param([(1, 60), (1, 40)], False, [2], id="enough bytes"),
        pytest.param([(1, 60), (1, 41)], False, [1], id="too many bytes for one job; the rest is young"),
        pytest.param([(9, 60), (1, 41)], False, [1], id="the rest is judged by its own oldest source"),
        pytest.param([(9, 60), (8, 41)], False, [1, 1], id="the rest is old enough too"),
        pytest.param([(1, 500), (1, 1)], False, [1], id="a source larger than a job"),
        pytest.param([-9], False, [], id="from the future"),
    ],
)
def test_cut(sources: list[tuple[int, int] | int], more: bool, expected: list[int]) -> None:
    jobs = cut(waiting(*sources), POLICY, NOW_MS, more=more)
    assert [len(job) for job in jobs] == expected
    assert [source.id for job in jobs for source in job] == list(range(sum(expected)))


def test_a_clock_that_runs_ahead_delays_nothing() -> None:
    assert cut(waiting(-60, seen_ms=NOW_MS - 4999), POLICY, NOW_MS) == []
    assert len(cut(waiting(-60, seen_ms=NOW_MS - 5000), POLICY, NOW_MS)) == 1


def test_id_depends_on_sources_order_mode_and_dedup() -> None:
    ids = {job_id("own", "exact", "ab"), job_id("own", "exact", "ba"), job_id("observe", "exact", "ab")}
    ids |= {job_id("own", "original", "ab"), job_id("own", "exact", "a")}
    assert len(ids) == 5
    assert all(len(identity) == 32 for identity in ids)
    assert job_id("own", "exact", ["a", "b"]) in ids


def test_range() -> None:
    policy = Policy(start_ms=100, future_ms=10)
    assert [policy.in_range(time, 1000) for time in (99, 100, 1010, 1011)] == [False, True, True, False]
