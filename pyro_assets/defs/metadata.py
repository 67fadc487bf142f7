"""What people see of an event: a headline that tells the story, at most eight figures with units, tables for details.

Add a figure where a person needs it, on the one asset it is about; computing belongs to `monitoring`. Numbers stay
numbers, so that the UI plots them over partitions, and their names end with their unit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import dagster as dg

from pyro_assets.defs.catalogue import EXPORTED
from pyro_assets.jobs.counts import VerifyReport
from pyro_assets.ledger.lag import Stage
from pyro_assets.monitoring.reports import ExportReport, HourReport
from pyro_assets.planning.report import HourArrivals
from pyro_assets.settings import variable
from pyro_assets.storage.shown import counted

Metadata = Mapping[str, dg.MetadataValue]

#: The story of an event in a sentence or two of Markdown.
HEADLINE: Final = "headline"
_SERIES_KIND: Final[Mapping[str, str]] = {"dimension_series": "dimension", "function_series": "function"}
_STAGE: Final[Mapping[str, Stage]] = {"l1_blocks": "compacted", "dimension_series": "derived"}
_SHOWN: Final = 50
_MIB: Final = 2**20
#: Counts of derivations that are no cause for a second look: series of zeros are left out.
_EXPECTED: Final = frozenset({"skipped_zero_series"})

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
_RULE_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("rule", "string"),
        dg.TableColumn("jobs_done", "int", description="that have the rule's series in this version"),
        dg.TableColumn("jobs_total", "int"),
        dg.TableColumn("version", "string", description="hash of the rule"),
    ]
)
_RECEIVER_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("receiver", "string"),
        dg.TableColumn("state", "string"),
        dg.TableColumn("accepted", "int", description="samples"),
        dg.TableColumn("refused", "int", description="samples that it did not take for good"),
        dg.TableColumn("pending", "int", description="jobs that it lacks"),
        dg.TableColumn("changed", "int", description="jobs whose samples changed after they were sent"),
        dg.TableColumn("lag_p95_seconds", "float", description="first segment of a job created -> accepted"),
        dg.TableColumn("refusals", "string", description="by tenant and reason"),
    ]
)
_DIFFERENCE_COLUMNS: Final = dg.TableSchema([dg.TableColumn("difference", "string")])


def in_words(seconds: float) -> str:
    """A span of time as people say it.

    >>> in_words(0.42), in_words(6.2), in_words(75), in_words(3_700), in_words(200_000)
    ('0.4 s', '6 s', '1 min 15 s', '1 h 1 min', '2 d 7 h')
    """
    if seconds < 1:
        return f"{seconds:.1f} s"
    for size, unit, part, smaller in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if round(seconds) >= size:
            return f"{round(seconds) // size} {unit} {round(seconds) % size // part} {smaller}"
    return f"{seconds:.0f} s"


def mib(size_bytes: int) -> float:
    """Bytes as MiB, to three digits behind the point.

    >>> mib(66_000)
    0.063
    """
    return round(size_bytes / _MIB, 3)


def arrival_metadata(arrivals: HourArrivals, now_ms: int) -> Metadata:
    """What landed in an hour since the last report; short, because events of no run cannot be pruned."""
    age = arrivals.oldest_age_seconds(now_ms)
    return {
        HEADLINE: dg.MetadataValue.md(
            f"**{counted(arrivals.objects, 'segment')}** landed ({mib(arrivals.size_bytes):,.1f} MiB) in "
            f"{counted(arrivals.shards, 'shard')}, the oldest {in_words(age)} ago"
        ),
        "segments": dg.MetadataValue.int(arrivals.objects),
        "landed_mib": dg.MetadataValue.float(mib(arrivals.size_bytes)),
        "shards": dg.MetadataValue.int(arrivals.shards),
        "oldest_age_seconds": dg.MetadataValue.float(round(age, 1)),
    }


def late_metadata(count: int, when: str) -> Metadata:
    """Late uploads of an hour that the slow sweep found."""
    return {
        HEADLINE: dg.MetadataValue.md(f"**{counted(count, 'late segment')}** found by the slow sweep at {when}"),
        "segments": dg.MetadataValue.int(count),
    }


def empty_metadata() -> Metadata:
    """An hour that was listed as a whole after it was over, and has nothing."""
    return {
        HEADLINE: dg.MetadataValue.md("listed, **0 segments**: nothing landed in this hour, and nothing is missing"),
        "segments": dg.MetadataValue.int(0),
        "complete": dg.MetadataValue.bool(True),
    }


def hour_metadata(report: HourReport, asset: str, web_url: str = "", did: str = "") -> Metadata:
    """An hour, as one of the assets shows it: each figure stands on the one asset it is about.

    "Materialised" in Dagster means touched; `pending` and `complete` say whether the hour is done.

    Args:
        report: the hour.
        asset: whose event it is.
        web_url: of our pages, for links; "" where it is not known.
        did: what the event is about; the summary of the report's run by default.
    """
    story = _exported if asset == EXPORTED else _series if asset in _SERIES_KIND else _blocks
    headline, figures = story(report, asset, web_url)
    lines = [", ".join(filter(None, headline)), did or f"This run: {report.run.summary}."]
    return {HEADLINE: dg.MetadataValue.md("\n\n".join(lines)), **figures}


def _blocks(report: HourReport, asset: str, web_url: str) -> tuple[list[str], dict[str, dg.MetadataValue]]:
    done = report.segments - report.pending - report.set_aside_total
    nothing = "listed, **0 segments**" if report.listed_ms is not None else "**no segment** is known"
    headline = [
        f"**{done:,} of {counted(report.segments, 'segment')}**" if report.segments else nothing,
        counted(report.blocks, "block") if report.blocks else "",
        _lag_words(report, asset),
        f"{report.pending:,} on their way" if report.pending else "",
        _left_out(report, web_url),
        "complete" if report.complete else "",
    ]
    figures: dict[str, dg.MetadataValue] = {
        "complete": dg.MetadataValue.bool(report.complete),
        "pending": dg.MetadataValue.int(report.pending),
        "segments": dg.MetadataValue.int(report.segments),
        "blocks": dg.MetadataValue.int(report.blocks),
        "read_mib": dg.MetadataValue.float(mib(report.bytes_in)),
        "written_mib": dg.MetadataValue.float(mib(report.bytes_out)),
        **_lag_figure(report, asset),
        "dagster/row_count": dg.MetadataValue.int(report.profiles),
    }
    if (lags := _lags(report)) is not None:
        figures["lags"] = lags
    if report.services:
        figures["unsymbolised_by_service"] = _services(report)
    odd = {name: count for name, count in report.facts.items() if count and name not in _EXPECTED}
    odd |= {name: getattr(report, name) for name in ("duplicates", "conflicts") if getattr(report, name)}
    if odd:
        figures["odd"] = dg.MetadataValue.json({**odd, "examples": list(report.examples[:_SHOWN])})
    if report.set_aside:
        figures["set_aside_sources"] = _set_aside(report)
    return headline, figures


def _series(report: HourReport, asset: str, _web_url: str) -> tuple[list[str], dict[str, dg.MetadataValue]]:
    rows = report.series.get(_SERIES_KIND[asset], 0)
    derived = sum(report.jobs_by_state.get(state, 0) for state in ("derived", "exported"))
    headline = [
        f"**{counted(rows, 'sample')}** of {counted(derived, 'job')}",
        _lag_words(report, asset),
        f"{counted(report.undone_jobs, 'job')} on their way" if report.undone_jobs else "",
    ]
    figures: dict[str, dg.MetadataValue] = {"dagster/row_count": dg.MetadataValue.int(rows)}
    if asset == "dimension_series":
        figures |= {"jobs_derived": dg.MetadataValue.int(derived), **_lag_figure(report, asset)}
        asked = report.asked.get("derived")
        if asked is not None and asked.count:
            headline.append(f"{counted(asked.count, 'job')} asked for, the last after {in_words(asked.max_ms / 1000)}")
    rules = report.rules
    if asset == "function_series" and report.snapshots:
        figures["series_files_by_rules_hash"] = dg.MetadataValue.json(report.snapshots)
    if rules is not None and asset == "function_series":
        figures["rules_hash"] = dg.MetadataValue.text(rules.hash)
        figures["rules_of_file"] = dg.MetadataValue.int(rules.from_file)
        figures["rules_of_ledger"] = dg.MetadataValue.int(rules.from_ledger)
        if rules.left_out:
            headline.append(f"{counted(len(rules.left_out), 'rule')} left out")
            figures["rules_left_out"] = dg.MetadataValue.json(dict(rules.left_out[:_SHOWN]))
    if rules is not None and rules.backfill:
        headline += [f"rule {one.rule}: {one.done} of {one.total} jobs" for one in rules.backfill[:1]]
        figures["rules_made"] = _table(
            _RULE_COLUMNS, ((one.rule, one.done, one.total, one.hash) for one in rules.backfill)
        )
    return headline, figures


def _exported(report: HourReport, _asset: str, _web_url: str) -> tuple[list[str], dict[str, dg.MetadataValue]]:
    total = {
        name: sum(getattr(one, name) for one in report.exports)
        for name in ("samples", "accepted", "refused", "pending", "changed", "bytes", "requests", "retries")
    }
    if not report.exports:
        return [f"**nothing is sent**: name a file of receivers in `{variable('receivers')}`; everything else works"], {
            "receivers": dg.MetadataValue.int(0)
        }
    lag = report.exported_lag
    troubled = [one.receiver for one in report.exports if one.error]
    headline = [
        f"**{counted(total['accepted'], 'sample')}** accepted by {counted(len(report.exports), 'receiver')}",
        f"lag p95 {in_words(lag.p95_seconds)}" if lag is not None else "",
        f"{counted(total['pending'], 'job')} on their way" if total["pending"] else "",
        f"{total['refused']:,} refused: see the check `no_sample_is_refused`" if total["refused"] else "",
        f"{', '.join(troubled)} in trouble: `pyro-assets receivers check {troubled[0]}`" if troubled else "",
    ]
    figures: dict[str, dg.MetadataValue] = {
        "dagster/row_count": dg.MetadataValue.int(total["accepted"]),
        "refused": dg.MetadataValue.int(total["refused"]),
        "pending_jobs": dg.MetadataValue.int(total["pending"]),
        "sent_mib": dg.MetadataValue.float(mib(total["bytes"])),
        "requests": dg.MetadataValue.int(total["requests"]),
        "retries": dg.MetadataValue.int(total["retries"]),
    }
    if lag is not None:
        figures["lag_p95_seconds"] = dg.MetadataValue.float(round(lag.p95_seconds, 1))
    figures["receivers"] = _table(_RECEIVER_COLUMNS, map(_receiver, report.exports))
    first = {one.receiver: list(one.examples[:_SHOWN]) for one in report.exports if one.examples}
    if first:
        figures["first_refusals"] = dg.MetadataValue.json(first)
    return headline, figures


def _receiver(one: ExportReport) -> tuple[Any, ...]:
    owed = [f"{tenant} is owed {counted(jobs, 'job')}" for tenant, jobs in one.owed.items()]
    held = [f"{tenant}: {why}" for tenant, why in one.held.items()]
    return (
        one.receiver,
        "; ".join(["paused"] * one.paused + [one.error] * bool(one.error) + owed + held) or "well",
        one.accepted,
        one.refused,
        one.pending,
        one.changed,
        None if one.lag is None else round(one.lag.p95_seconds, 1),
        one.refused_words if one.refused else "",
    )


def _lag_words(report: HourReport, asset: str) -> str:
    """How late jobs were, on the asset that tells it."""
    figures = report.lags.get(_STAGE[asset]) if asset in _STAGE else None
    return f"lag p95 {in_words(figures.p95_ms / 1000)}" if figures is not None and figures.count else ""


def _lag_figure(report: HourReport, asset: str) -> dict[str, dg.MetadataValue]:
    figures = report.lags.get(_STAGE[asset])
    if figures is None or not figures.count:
        return {}
    return {"lag_p95_seconds": dg.MetadataValue.float(round(figures.p95_ms / 1000, 1))}


def _left_out(report: HourReport, web_url: str) -> str:
    """What no output holds, and where to see why."""
    if not report.set_aside_total:
        return ""
    left = ", ".join(f"{count:,} {state.replace('_', ' ')}" for state, count in sorted(report.left_out.items()))
    where = f"[why]({web_url.rstrip('/')}/quarantine)" if web_url else "`pyro-assets quarantine list` tells why"
    return f"{left}: {where}" if left else f"{report.set_aside_total:,} left out, as acknowledged"


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
        metadata["differences"] = _table(
            _DIFFERENCE_COLUMNS, ((str(difference),) for difference in report.differences[:_SHOWN])
        )
    return metadata


def _table(schema: dg.TableSchema, rows: Iterable[Sequence[Any]]) -> dg.MetadataValue:
    names = [column.name for column in schema.columns]
    # A cell without a value is left out: a record takes no None.
    records = [
        dg.TableRecord({name: value for name, value in zip(names, row, strict=True) if value is not None})
        for row in rows
    ]
    return dg.MetadataValue.table(records, schema=schema)


def _services(report: HourReport) -> dg.MetadataValue:
    worst_first = sorted(report.services, key=lambda service: -service.unsymbolised_share)
    return _table(
        _SERVICE_COLUMNS,
        (
            (one.tenant, one.service, one.samples, one.unsymbolised, round(100 * one.unsymbolised_share, 2))
            for one in worst_first[:_SHOWN]
        ),
    )


def _lags(report: HourReport) -> dg.MetadataValue | None:
    rows = [
        (
            stage,
            span,
            figures.count,
            figures.p50_ms / 1000,
            figures.p95_ms / 1000,
            figures.max_ms / 1000,
            figures.describe(),
        )
        for span, stages in (("this hour", report.lags), ("the last 5 minutes", report.lags_lately))
        for stage, figures in stages.items()
        if figures.count
    ]
    return _table(_LAG_COLUMNS, rows) if rows else None


def _set_aside(report: HourReport) -> dg.MetadataValue:
    return _table(_SET_ASIDE_COLUMNS, ((one.key, one.state, one.reason) for one in report.set_aside[:_SHOWN]))
