"""Which hours the live lane takes: what the sensor remembers, and how hours become runs."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.defs.due import REPORT_MS, Landed, Watch, describe
from pyro_assets.planning.report import HourArrivals
from pyro_assets.planning.spans import spans
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

NOON = "2026-11-25-12:00"
EARLIER = "2026-11-25-08:00"


def test_history_waits_and_everything_since_the_first_tick_is_live():
    watch = Watch.from_cursor(None, NOON)
    assert watch.takes(NOON)
    assert watch.takes("2026-11-26-00:00")
    assert not watch.takes(EARLIER)


def test_a_cursor_survives_and_a_broken_one_begins_anew():
    watch = Watch(NOON, (EARLIER,), Landed({NOON: HourArrivals(1, 2, 1, 3, 4)}, 5))
    assert Watch.from_cursor(watch.to_cursor(), "2027-01-01-00:00") == watch
    fresh = Watch(NOON).to_cursor()
    for broken in (
        "",
        "{}",
        "[1]",
        "null",
        "no json",
        fresh.replace('"not reported yet": {}', '"not reported yet": {"a": 1}'),
        fresh[:-3],
    ):
        assert Watch.from_cursor(broken, NOON) == Watch(NOON)


@pytest.mark.parametrize(
    ("arrivals", "began", "late"),
    [
        ([NOON], True, ()),
        ([EARLIER], False, ()),
        ([EARLIER], True, (EARLIER,)),
        ([EARLIER, NOON], True, (EARLIER,)),
    ],
)
def test_late_uploads_of_an_hour_that_began_are_live(arrivals, began, late):
    assert Watch(NOON).after(arrivals, 1, lambda _: began).late == late


def test_a_late_hour_stays_while_jobs_are_unfinished_and_leaves_afterwards():
    watch = Watch(NOON, (EARLIER,))
    assert watch.after([], 1, lambda _: True).late == (EARLIER,)
    assert watch.after([], 0, lambda _: True).late == ()


def test_only_hours_with_arrivals_are_asked_about():
    def never(hour: str) -> bool:
        raise AssertionError(hour)

    Watch(NOON).after([NOON], 3, never)


@given(st.sets(st.integers(0, 40)))
def test_spans_cover_exactly_the_hours_and_are_maximal(numbers: set[int]):
    hours = {hour_of(number * HOUR_MS) for number in numbers}
    found = spans(hours)
    covered = [
        hour_of(ms) for first, last in found for ms in range(hour_start_ms(first), hour_start_ms(last) + 1, HOUR_MS)
    ]
    assert sorted(covered) == sorted(hours)
    assert found == sorted(found, reverse=True)
    for (later, _), (_, earlier) in pairwise(found):
        assert hour_start_ms(later) - hour_start_ms(earlier) > HOUR_MS


def test_hours_in_words():
    assert describe([NOON]) == NOON
    assert "2 hours from" in describe([EARLIER, NOON])


def test_arrivals_add_up_until_they_are_reported():
    landed = Landed(reported_ms=1_000).plus({NOON: HourArrivals(1, 20, 1, 900, 950)})
    landed = landed.plus({NOON: HourArrivals(2, 30, 2, 800, 990), EARLIER: HourArrivals(1, 1, 1, 1, 1)})
    assert landed.hours[NOON] == HourArrivals(3, 50, 2, 800, 990)
    assert not landed.is_due(1_000 + REPORT_MS - 1)
    assert landed.is_due(1_000 + REPORT_MS)
    assert not Landed().is_due(2**50)
