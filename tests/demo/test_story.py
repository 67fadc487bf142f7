"""What the story chooses to show."""

from pyro_assets.demo.story import derived, selection
from pyro_assets.monitoring.reports import HourReport


def row(tenant: str, metric: str, timestamp_ms: int, value: float = 1.0) -> dict:
    return {
        "tenant": tenant,
        "metric": f"pyroscope_exported_metrics_{metric}",
        "timestamp_ms": timestamp_ms,
        "value": value,
    }


def test_tenants_and_kinds_take_turns_newest_first():
    rows = [
        *(row("acme", f"m{number}", number) for number in range(9)),
        row("globex", "functions_m", 1),
        row("globex", "m", 2),
        row("acme", "m8", 99),
        row("globex", "zero", 100, 0.0),
    ]
    shown = [
        (item["tenant"], item["metric"].removeprefix("pyroscope_exported_metrics_")) for item in selection(rows, 4)
    ]
    assert shown == [("acme", "m8"), ("globex", "m"), ("globex", "functions_m"), ("acme", "m7")]
    assert selection(rows, 1)[0]["timestamp_ms"] == 99
    assert selection([], 4) == []


def test_derived_counts_what_is_further_too():
    assert derived(HourReport("h", jobs_by_state={"derived": 2, "exported": 3, "planned": 9})) == 5
