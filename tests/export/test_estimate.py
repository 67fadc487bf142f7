"""Estimates: distinct series and all samples per hour, of what would be sent."""

from remote_write import NOW_MS, many, row, samples

from pyro_assets.export.estimate import estimate
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.samples import empty_samples

HOUR_MS = 3_600_000


def test_series_count_once_and_samples_each():
    receiver = Receiver(name="r", url="http://h/api/v1/write", kind="mimir", tenants=["acme"])
    jobs = [
        many(5, timestamp_ms=NOW_MS), many(7, timestamp_ms=NOW_MS + 1), many(2, timestamp_ms=NOW_MS - HOUR_MS),
        samples(row("bad.name"), row(tenant="other")), empty_samples(),
    ]  # fmt: skip
    found = estimate(jobs, receiver)
    assert [(hour, one.series, one.samples, one.refused.total) for hour, one in found.items()] == [
        (NOW_MS // HOUR_MS - 1, 2, 2, 0), (NOW_MS // HOUR_MS, 7, 12, 1),
    ]  # fmt: skip
