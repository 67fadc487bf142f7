"""The page Status: what is wrong, lag, what waits, receivers, hours as a calendar, and one hour in detail.

Add what the page shows here, and what programs may ask for to `api_routes`; figures come from `monitoring.now`,
`monitoring.now`, `monitoring.calendar` and `monitoring.hour`. Pausing a receiver is the one thing that can be changed
here.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final, Literal
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.errors import SettingsError
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.ledger.lag import LagRecords, Stage
from pyro_assets.monitoring.calendar import DAY_MS, Day, days
from pyro_assets.monitoring.now import alerts, look
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, sending
from pyro_assets.planning.spans import over_since_ms
from pyro_assets.storage.keys import hour_of, hour_start_ms
from pyro_assets.storage.shown import counted
from pyro_assets.web import words
from pyro_assets.web.dagster_client import partition_url
from pyro_assets.web.drawing.charts import Line, bar_share, bin_times, time_chart
from pyro_assets.web.drawing.heatmap import heatmap
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span, asked_span
from pyro_assets.web.wire.endpoints import Endpoint, Parameter, whole_number

_DAYS: Final = 14
_BINS: Final = 90
_MOST_DAYS: Final = 62
#: Facts of jobs -> what they mean; others are shown by their names.
_ODD: Final = {
    "skipped_zero_series": "function series left out, because they would be 0",
    "rounded_values": "values too large to be sent exactly, so rounded",
    "negative_samples": "samples below 0, which count as they are",
    "label_collisions": "label sets with two labels of one name",
    "merged_series": "series that add up label sets whose names differ only in characters Prometheus does not allow",
    "overflowing_series": "series left out, because their values do not fit 64 bits",
    "refused_rules": "times that a rule gave nothing, because it would have given more series than it may",
    "limited_rules": "times that a rule gave more series than it may",
    "dropped_series": "series left out for that",
    "conflicting_series": "series left out, because another rule gives them",
    "other_units": "label sets left out, because their unit is no time",
    "dangling": "references of symbols that lead nowhere",
    "total_mismatches": "profiles whose total is not the sum of their samples",
}
#: Of an hour's page: the assets whose partition is linked.
_ASSETS: Final = ("segments", "l1_blocks", "dimension_series", "function_series", "exported_series")


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        now = look(site.app, site.clock())
        shown, before = _days(site, request)
        span = asked_span(request, site.clock(), "3h")
        return site.page(
            request,
            "status.html",
            now=now,
            span=span,
            charts=_charts(site, span, "exported" if now.receivers else "derived"),
            alerts=alerts(now),
            calendar=heatmap(shown, "/status/hours/"),
            days=len(shown),
            before=before,
            earlier=shown[-1].date,
            later=_later(site, shown, before),
            can_examine=site.doctor is not None,
        )

    def show_hour(request: Request) -> Response:
        hour = _hour(request)
        report = runs.hour_report(site.app, hour)
        links = {name: partition_url(site.dagster_url, name, hour) for name in _ASSETS if site.dagster_url}
        start_ms = hour_start_ms(hour)
        beside = [hour_of(start_ms - 3_600_000), hour_of(start_ms + 3_600_000)]
        return site.page(
            request, "hour.html", hour=hour, report=report, links=links, beside=beside, odd=_ODD, bar_share=bar_share,
            why=[] if report.complete or not report.segments else why_incomplete(site, report),
        )  # fmt: skip

    def switch(request: Request) -> Response:
        action = request.path_params["action"]
        if action not in ("pause", "resume"):
            raise HTTPException(404, "there is no such page")
        _switch(site, request, paused=action == "pause")
        return RedirectResponse("/status#receivers", 303)

    def examine(request: Request) -> Response:
        if site.doctor is None:
            raise HTTPException(404, "this process does not know the whole installation; run `pyro-assets doctor`")
        return site.page(request, "doctor.html", findings=site.doctor())

    return [
        Route("/status", show, methods=["GET"]),
        Route("/status/hours/{hour}", show_hour, methods=["GET"]),
        Route("/status/receivers/{name}/{action:str}", switch, methods=["POST"]),
        Route("/status/doctor", examine, methods=["POST"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""

    def overview(_: Request) -> Mapping[str, Any]:
        now = look(site.app, site.clock())
        found = [asdict(alert) | {"severity": alert.severity} for alert in alerts(now)]
        return asdict(now) | {"oldest_pending_seconds": now.oldest_pending_seconds, "alerts": found}

    def calendar(request: Request) -> Mapping[str, Any]:
        shown, _ = _days(site, request)
        return {"days": shown}

    def hour(request: Request) -> Mapping[str, Any]:
        return runs.hour_report(site.app, _hour(request)).to_dict()

    def pause(request: Request) -> Mapping[str, Any]:
        return {"changed": _switch(site, request, paused=True)}

    def resume(request: Request) -> Mapping[str, Any]:
        return {"changed": _switch(site, request, paused=False)}

    plain = {"type": "object"}
    unknown = ((404, "there is no receiver of this name"),)
    span = (
        Parameter("days", f"how many, {_DAYS} by default", "integer"),
        Parameter("before", "the days before this one, such as 2026-11-25, instead of the last ones"),
    )
    return [
        Endpoint("GET", "/status", overview, "Lag, what waits, what was given up, receivers, alerts.", answer=plain),
        Endpoint("GET", "/status/hours", calendar, "How hours stand, day by day.", span, answer=plain),
        Endpoint(
            "GET", "/status/hours/{hour}", hour, "Everything about an hour (2026-11-25-13:00, UTC).", answer=plain
        ),
        Endpoint("POST", "/receivers/{name}/pause", pause, "Pause a receiver.", answer=plain, errors=unknown),
        Endpoint("POST", "/receivers/{name}/resume", resume, "Resume a receiver.", answer=plain, errors=unknown),
    ]


def why_incomplete(site: Site, report: HourReport) -> list[tuple[str, str, str]]:
    """Why an hour is not complete, in sentences, each with what can be done: words and address of a link."""
    now_ms, hour = site.clock(), report.hour
    over_ms = over_since_ms(hour, site.app.settings.settle_ms)
    ordered = f"/backfills?{urlencode({'from': hour, 'to': hour})}"
    is_over, found = over_ms <= now_ms, []
    # What live runs are at is nothing to backfill.
    backfill = ("Backfill it", ordered) if is_over else ("", "")
    if not is_over:
        found.append((f"It is not over yet; late uploads are waited for until {words.time(over_ms)} UTC.", "", ""))
    elif report.listed_ms is None:
        found.append(
            ("The bucket was not listed as a whole since it was over, so something may have come late; a run for the "
             "hour lists it.", "Start one", ordered)
        )  # fmt: skip
    if report.pending:
        age = words.duration(report.oldest_pending_age_seconds(now_ms))
        who = "A backfill makes them." if is_over else "Live runs make them."
        what = f"{counted(report.pending, 'segment')} without series, the oldest of which has waited {age}. {who}"
        found.append((what, *backfill))
    if report.undone_jobs:
        found.append((f"{counted(report.undone_jobs, 'job')} without series.", *backfill))
    left = {"set_aside": "set aside, because reading failed", "lost": "deleted before being read"}
    for state, count in report.left_out.items():
        what = f"{counted(count, 'segment')} {left.get(state, 'given up with a job')}; nobody has decided yet."
        found.append((what, "Decide", f"/quarantine?{urlencode({'hour': hour})}"))
    return found


def _charts(site: Site, span: Span, stage: Stage) -> list[Markup]:
    """Lag, what waits, and what gets done, over time."""
    step_ms, (begin_ms, *_) = bin_times(span.begin_ms, span.end_ms, _BINS)
    steps = LagRecords(site.app.ledger).over_time(stage, begin_ms, span.end_ms, step_ms)
    each = f"per {words.duration(step_ms / 1000)}"

    def chart(title: str, lines: list[Line], unit: str, kind: Literal["line", "bars"] = "bars") -> Markup:
        return time_chart(
            lines, title=title, begin_ms=span.begin_ms, end_ms=span.end_ms, unit=unit, kind=kind, bar_ms=step_ms,
            width=440,
        )  # fmt: skip

    lags = [
        Line(name, [(one.begin_ms, getattr(one.lag, figure) / 1000 if one.lag.count else None) for one in steps])
        for name, figure in (("half within", "p50_ms"), ("95 of 100 within", "p95_ms"))
    ]
    pending = Line("jobs", [(one.begin_ms, one.pending) for one in steps])
    size_bytes = Line("bytes", [(one.begin_ms, one.size_bytes) for one in steps])
    return [
        chart(f"Lag to {stage}, of live jobs", lags, "seconds", "line"),
        chart(f"Jobs that are not {stage} yet", [pending], ""),
        chart(f"Bytes of segments {stage}, {each}", [size_bytes], "bytes"),
    ]


def _days(site: Site, request: Request) -> tuple[list[Day], str]:
    """The days asked for, and the day before which they are ("" for the last ones)."""
    count = whole_number(request, "days", _DAYS, least=1, most=_MOST_DAYS)
    before = request.query_params.get("before", "")
    try:
        return days(site.app, site.clock(), count=count, before=before), before
    except ValueError:
        raise HTTPException(400, f"before={before[:50]!r} is no day such as 2026-11-25") from None


def _later(site: Site, shown: list[Day], before: str) -> str | None:
    """What `before` must be for the days after these: "" for the last ones, None where these are the last."""
    if not before:
        return None
    end_ms = hour_start_ms(f"{before}-00:00") + len(shown) * DAY_MS
    return "" if end_ms > site.clock() else hour_of(end_ms)[:10]


def _hour(request: Request) -> str:
    """The hour in the address, in either of its notations."""
    text = str(request.path_params["hour"])
    try:
        return hour_of(hour_start_ms(text))
    except ValueError:
        raise HTTPException(404, f"{text[:50]!r} is no hour such as 2026-11-25-13:00") from None


def _switch(site: Site, request: Request, *, paused: bool) -> bool:
    name = str(request.path_params["name"])
    try:
        changed = sending.pause(site.app, name, paused=paused)
    except SettingsError as error:
        raise HTTPException(404, str(error)) from error
    if changed:
        action = "pause" if paused else "resume"
        DecisionRecords(site.app.ledger).note_decision(Decision(site.clock(), request.state.user, action, name, ""))
    return changed
