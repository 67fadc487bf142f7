"""Reports as Dagster metadata: what people see of an hour, with units in the names.

Add a line when a report has a field that a person needs; computing belongs to `monitoring`. Numbers stay numbers, so
that the UI plots them over partitions.
"""

from collections.abc import Mapping
from typing import Final, Literal

import dagster as dg

from pyro_assets.defs.exports import EXPORTED, export_metadata
from pyro_assets.jobs.counts import VerifyReport
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.planning.report import HourArrivals

Metadata = Mapping[str, dg.MetadataValue]
AssetName = Literal["l1_blocks", "dimension_series", "function_series"]

_SERIES_KIND: Final[Mapping[str, str]] = {"dimension_series": "dimension", "function_series": "function"}
_SHOWN: Final = 50

_SERVICE_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("tenant", "string"),
        dg.TableColumn("service", "string"),
        dg.TableColumn("samples", "int"),
        dg.TableColumn("unsymbolised", "int", description="the innermost frame has no function"),
        dg.TableColumn("unsymbolised_percent", "float"),
    ]
)
_SET_ASIDE_COLUMNS: Final = dg.TableSchema(
    [dg.TableColumn("key", "string"), dg.TableColumn("state", "string"), dg.TableColumn("reason", "string")]
)
_LAG_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("stage", "string", description="first segment of a job created -> this"),
        dg.TableColumn("of", "string"),
        dg.TableColumn("jobs", "int"),
        *(dg.TableColumn(f"{name}_seconds", "float") for name in ("p50", "p95", "max")),
        dg.TableColumn("histogram", "string", description="jobs by upper bound in seconds"),
    ]
)
_DIFFERENCE_COLUMNS: Final = dg.TableSchema([dg.TableColumn("difference", "string")])


def arrival_metadata(arrivals: HourArrivals, now_ms: int) -> Metadata:
    """What landed in an hour since the last report; short, because events of no run cannot be pruned."""
    return {
        "objects": dg.MetadataValue.int(arrivals.objects),
        "bytes": dg.MetadataValue.int(arrivals.size_bytes),
        "shards": dg.MetadataValue.int(arrivals.shards),
        "oldest_age_seconds": dg.MetadataValue.float(round(arrivals.oldest_age_seconds(now_ms), 3)),
    }


def hour_metadata(report: HourReport, asset: str) -> Metadata:
    """Everything about an hour, as one of the three assets shows it.

    "Materialised" in Dagster means touched; `pending` and `complete` say whether the hour is done.
    """
    if asset == EXPORTED:
        return export_metadata(report)
    kind = _SERIES_KIND.get(asset)
    rows = report.series.get(kind, 0) if kind else report.profiles
    metadata: dict[str, dg.MetadataValue] = {
        "run": dg.MetadataValue.text(report.run.summary),
        "complete": dg.MetadataValue.bool(report.complete),
        "pending": dg.MetadataValue.int(report.pending),
        "segments": dg.MetadataValue.int(report.segments),
        "shards": dg.MetadataValue.int(report.shards),
        "jobs": dg.MetadataValue.int(sum(report.jobs_by_state.values())),
        "jobs_undone": dg.MetadataValue.int(report.undone_jobs),
        "blocks": dg.MetadataValue.int(report.blocks),
        "bytes_in": dg.MetadataValue.int(report.bytes_in),
        "bytes_out": dg.MetadataValue.int(report.bytes_out),
        "profiles": dg.MetadataValue.int(report.profiles),
        "samples": dg.MetadataValue.int(report.samples),
        "duplicates": dg.MetadataValue.int(report.duplicates),
        "conflicts": dg.MetadataValue.int(report.conflicts),
        "series": dg.MetadataValue.int(rows if kind else sum(report.series.values())),
        "seconds": dg.MetadataValue.float(round(report.job_seconds, 3)),
        "set_aside": dg.MetadataValue.int(report.set_aside_total),
    }
    if report.left_out:
        counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(report.left_out.items()))
        metadata["left_out"] = dg.MetadataValue.text(f"{counts}: not acknowledged, so the hour is not complete")
    times = {
        "oldest_profile": report.oldest_ms,
        "newest_profile": report.newest_ms,
        "oldest_pending": report.oldest_pending_ms,
    }
    for name, time_ms in times.items():
        if time_ms is not None:
            metadata[name] = dg.MetadataValue.timestamp(time_ms / 1000)
    lag = report.lags.get("derived" if kind else "compacted")
    if lag is not None and lag.count:
        metadata["lag_p50_seconds"] = dg.MetadataValue.float(lag.p50_ms / 1000)
        metadata["lag_p95_seconds"] = dg.MetadataValue.float(lag.p95_ms / 1000)
        metadata["lag_max_seconds"] = dg.MetadataValue.float(lag.max_ms / 1000)
    asked = report.asked.get("derived" if kind else "compacted")
    if asked is not None and asked.count:
        metadata["backfill_jobs"] = dg.MetadataValue.int(asked.count)
        metadata["backfill_seconds"] = dg.MetadataValue.float(asked.max_ms / 1000)
    if asset == "l1_blocks" and (lags := _lags(report)) is not None:
        metadata["lags"] = lags
    metadata["dagster/row_count"] = dg.MetadataValue.int(rows)
    if report.services:
        metadata["unsymbolised_by_service"] = _services(report)
    metadata |= _rules(report) if kind else {}
    odd = {name: count for name, count in report.facts.items() if count}
    if odd:
        metadata["odd"] = dg.MetadataValue.json({**odd, "examples": list(report.examples[:_SHOWN])})
    if report.set_aside:
        metadata["set_aside_sources"] = _set_aside(report)
    return metadata


def verify_metadata(report: VerifyReport) -> Metadata:
    """What a comparison of level-1 objects with their sources found."""
    metadata: dict[str, dg.MetadataValue] = {
        "jobs_compared": dg.MetadataValue.int(report.checked),
        "jobs_compared_before": dg.MetadataValue.int(report.before),
        "jobs_left": dg.MetadataValue.int(report.left),
        "jobs_without_sources": dg.MetadataValue.int(report.unverifiable),
        "totals_compared": dg.MetadataValue.int(report.totals),
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
    }
    if report.differences:
        records = [dg.TableRecord({"difference": str(difference)}) for difference in report.differences[:_SHOWN]]
        metadata["differences"] = dg.MetadataValue.table(records, schema=_DIFFERENCE_COLUMNS)
    return metadata


def _services(report: HourReport) -> dg.MetadataValue:
    worst_first = sorted(report.services, key=lambda service: -service.unsymbolised_share)
    records = [
        dg.TableRecord(
            {
                "tenant": service.tenant,
                "service": service.service,
                "samples": service.samples,
                "unsymbolised": service.unsymbolised,
                "unsymbolised_percent": round(100 * service.unsymbolised_share, 2),
            }
        )
        for service in worst_first[:_SHOWN]
    ]
    return dg.MetadataValue.table(records, schema=_SERVICE_COLUMNS)


def _lags(report: HourReport) -> dg.MetadataValue | None:
    records = [
        dg.TableRecord(
            {
                "stage": stage,
                "of": span,
                "jobs": figures.count,
                "p50_seconds": figures.p50_ms / 1000,
                "p95_seconds": figures.p95_ms / 1000,
                "max_seconds": figures.max_ms / 1000,
                "histogram": figures.describe(),
            }
        )
        for span, stages in (("this hour", report.lags), ("the last 5 minutes", report.lags_lately))
        for stage, figures in stages.items()
        if figures.count
    ]
    return dg.MetadataValue.table(records, schema=_LAG_COLUMNS) if records else None


def _rules(report: HourReport) -> dict[str, dg.MetadataValue]:
    """The rules that the run had, those that its stored series were made with, and how far a backfill of rules is."""
    found: dict[str, dg.MetadataValue] = {}
    if report.snapshots:
        found["series_files_by_rules_hash"] = dg.MetadataValue.json(report.snapshots)
    rules = report.rules
    if rules is None:
        return found
    found["rules_hash"] = dg.MetadataValue.text(rules.hash)
    found["rules_of_file"] = dg.MetadataValue.int(rules.from_file)
    found["rules_of_ledger"] = dg.MetadataValue.int(rules.from_ledger)
    if rules.left_out:
        found["rules_left_out"] = dg.MetadataValue.json(dict(rules.left_out[:_SHOWN]))
    for one in rules.backfill:
        found[f"rule/{one.rule}/hash"] = dg.MetadataValue.text(one.hash)
        found[f"rule/{one.rule}/jobs_done"] = dg.MetadataValue.int(one.done)
        found[f"rule/{one.rule}/jobs_total"] = dg.MetadataValue.int(one.total)
    return found


def _set_aside(report: HourReport) -> dg.MetadataValue:
    records = [
        dg.TableRecord({"key": source.key, "state": source.state, "reason": source.reason})
        for source in report.set_aside[:_SHOWN]
    ]
    return dg.MetadataValue.table(records, schema=_SET_ASIDE_COLUMNS)
