"""Derived frames as dictionaries, to be compared with what was recorded or slowly evaluated."""

from pyro_assets.series.derive import Derived
from tests.support.golden_bucket import SeriesKey


def values_of(derived: Derived, *kinds: str, prefix: str = "") -> dict[SeriesKey, int]:
    """Series of some kinds (all by default) whose metric starts with a prefix -> exact value.

    Fails when a series stands twice, its labels are not sorted, or its two values differ.
    """
    values: dict[SeriesKey, int] = {}
    for kind in kinds or tuple(derived.frames):
        for row in derived.frames[kind].iter_rows(named=True):
            if not row["metric"].startswith(prefix):
                continue
            labels = tuple((label["name"], label["value"]) for label in row["labels"])
            assert list(labels) == sorted(labels), labels
            assert "__name__" not in dict(labels)
            key = (row["tenant"], row["metric"], labels)
            assert key not in values, f"{key} stands twice"
            assert row["value"] == float(row["value_int"])
            values[key] = row["value_int"]
    return values
