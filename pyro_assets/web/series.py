"""The page Series: which metrics there are, their label sets, one series with its samples, and where they came from.

Add what the page shows here, and what programs may ask for to `api_routes`; stored series are read by
`explore.series`, within bounds that the page names.
"""

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.errors import ConfigError
from pyro_assets.explore.scan import Asked
from pyro_assets.explore.series import SeriesReader, SeriesSamples, Step
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import receiver_starts
from pyro_assets.jobs.loading import JobRecords, ShownJob
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.names import FUNCTION_LABEL, FUNCTION_METRIC_PREFIX
from pyro_assets.web.dagster_client import partition_url, run_url
from pyro_assets.web.drawing.charts import bin_times, spark
from pyro_assets.web.meanings import Drawn, MetricMeaning, chart_of, graph_links, meanings
from pyro_assets.web.site import Site
from pyro_assets.web.spans import PARAMETERS, Span, asked_span
from pyro_assets.web.wire.endpoints import Endpoint, Parameter, whole_number

_PAGE: Final = 100
_BINS: Final = 80
_SPARK_BINS: Final = 30
_SHOWN_SAMPLES: Final = 100
_FILTERS: Final = ("tenant", "kind", "rule", "text")


def routes(site: Site) -> list[Route]:
    """The page's routes."""
    reader = SeriesReader(site.app.archive, site.app.ledger)

    def index(request: Request) -> Response:
        span, start = _span(site, request), _start(request)
        asked = _asked(request, span)
        with site.reading.take():
            step_ms, _ = bin_times(span.begin_ms, span.end_ms, _SPARK_BINS)
            found = reader.metrics(asked, start, _PAGE, step_ms)
        means = meanings(site)
        newest = HourRecords(site.app.ledger).hours()[-1:] if not found.total else []
        return site.page(
            request,
            "series.html",
            found=found,
            asked=asked,
            span=span,
            start=start,
            page=_PAGE,
            newest=newest,
            linked=_linked_rules(site),
            address=_address(span, asked),
            sparks=[
                _spark(
                    means(row.metric, row.rules).drawn(row.steps, step_ms, _interval_ms(span, row.samples, row.series)),
                    span,
                )
                for row in found.rows
            ],
        )

    def metric(request: Request) -> Response:
        span, start = _span(site, request), _start(request)
        asked = _asked(request, span, metric=True)
        with site.reading.take():
            step_ms, _ = bin_times(span.begin_ms, span.end_ms, _BINS)
            found = reader.label_sets(asked, start, _PAGE, step_ms)
        means = meanings(site)(asked.metric, {row.rule for row in found.rows})
        interval_ms = _interval_ms(span, sum(row.samples for row in found.rows), len(found.rows))
        by = (
            [FUNCTION_LABEL]
            if asked.kind == "function" or asked.metric.startswith(FUNCTION_METRIC_PREFIX)
            else ["service_name"]
        )
        return site.page(
            request,
            "series_metric.html",
            found=found,
            asked=asked,
            span=span,
            start=start,
            page=_PAGE,
            unit=means.unit,
            address=_address(span, asked),
            chart=chart_of(means.drawn(found.steps, step_ms, interval_ms), span, "All series together"),
            sparks=[_spark(means.drawn(row.steps, step_ms, interval_ms), span) for row in found.rows],
            **queries(site, means.promql(by=by), span),
        )

    def one(request: Request) -> Response:
        span = _span(site, request)
        asked = _asked(request, span, metric=True)
        series_id = request.query_params.get("id", "")
        with site.reading.take():
            found = reader.samples(asked, series_id)
        if found.series is None:
            return site.page(
                request,
                "series_gone.html",
                status_code=404,
                span=span,
                extent=found.extent,
                address=_address(span, asked),
            )
        means = meanings(site)(asked.metric, [found.series.rule])
        job = JobRecords(site.app.ledger).shown_job(found.samples[-1].job)
        return site.page(
            request,
            "series_one.html",
            found=found,
            series=found.series,
            asked=asked,
            span=span,
            unit=means.unit,
            series_id=series_id,
            chart=chart_of(_drawn_samples(found, means, span), span, "This series"),
            newest=found.samples[-_SHOWN_SAMPLES:][::-1],
            linked=_linked_rules(site),
            address=_address(span, asked),
            **queries(site, means.promql(found.series.labels, by=()), span),
            **_job_facts(site, job, found.series.tenant),
        )

    def job(request: Request) -> Response:
        return site.page(request, "job.html", **_job_facts(site, _job(site, request), ""))

    return [
        Route("/series", index, methods=["GET"]),
        Route("/series/metric", metric, methods=["GET"]),
        Route("/series/one", one, methods=["GET"]),
        Route("/series/jobs/{job_id}", job, methods=["GET"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""
    reader = SeriesReader(site.app.archive, site.app.ledger)

    def metrics(request: Request) -> Any:
        limit = whole_number(request, "limit", _PAGE, least=1, most=1000)
        with site.reading.take():
            return reader.metrics(_asked(request, _span(site, request)), _start(request), limit)

    def label_sets(request: Request) -> Any:
        limit = whole_number(request, "limit", _PAGE, least=1, most=1000)
        with site.reading.take():
            return reader.label_sets(_asked(request, _span(site, request), metric=True), _start(request), limit)

    def samples(request: Request) -> Any:
        asked = _asked(request, _span(site, request), metric=True)
        with site.reading.take():
            found = reader.samples(asked, request.query_params.get("id", ""))
        if found.series is None:
            raise HTTPException(404, "there is no such series in this span; ask for a longer one")
        return found

    def job(request: Request) -> Mapping[str, Any]:
        found = _job(site, request)
        return {"job": found, "receipts": ReceiptRecords(site.app.ledger).receipts_of(found.job.id)}

    filters = (
        *PARAMETERS,
        Parameter("tenant", "only this tenant"),
        Parameter("kind", "only dimension or function series"),
        Parameter("rule", "only series of this rule"),
        Parameter("text", "a part of the metric's name or of a label"),
    )
    paging = (Parameter("start", "the first row, counted from 0", "integer"), Parameter("limit", "rows", "integer"))
    of_metric = (*filters, Parameter("metric", "its name", required=True))
    plain = {"type": "object"}
    gone = ((404, "there is no such series in the span"),)
    return [
        Endpoint("GET", "/metrics", metrics, "Metrics of stored series.", (*filters, *paging), answer=plain),
        Endpoint("GET", "/series", label_sets, "Series of a metric.", (*of_metric, *paging), answer=plain),
        Endpoint(
            "GET",
            "/series/samples",
            samples,
            "Samples of a series.",
            (*of_metric, Parameter("id", "of the series", required=True)),
            answer=plain,
            errors=gone,
        ),
        Endpoint(
            "GET",
            "/jobs/{job_id}",
            job,
            "A job: sources, level-1 blocks, files, what receivers have of it.",
            answer=plain,
            errors=((404, "there is no such job"),),
        ),
    ]


def queries(site: Site, query: str, span: Span) -> dict[str, Any]:
    """A query, and where it is drawn."""
    links = graph_links(query, span.last, prometheus_url=site.prometheus_url, grafana_url=site.grafana_url)
    return {"promql": query, "graphs": links}


def _span(site: Site, request: Request) -> Span:
    return asked_span(request, site.clock())


def _start(request: Request) -> int:
    return whole_number(request, "start", 0)


def _asked(request: Request, span: Span, *, metric: bool = False) -> Asked:
    values = {name: request.query_params.get(name, "") for name in _FILTERS}
    if metric:
        values["metric"] = request.query_params.get("metric", "")
        if not values["metric"]:
            raise HTTPException(400, "name a metric; /series lists them")
    return Asked(span.begin_ms, span.end_ms, **values)


def _address(span: Span, asked: Asked) -> Any:
    """Makes addresses of these pages that keep what was asked for."""
    kept = {"last": span.last, "until": span.until}
    kept |= {name: getattr(asked, name) for name in (*_FILTERS, "metric")}

    def make(path: str, **changes: object) -> str:
        wanted = {**kept, **{name: str(value) for name, value in changes.items()}}
        return f"{path}?{urlencode({name: value for name, value in wanted.items() if value}, errors='replace')}"

    return make


def _linked_rules(site: Site) -> frozenset[str]:
    """Names of rules that have a page."""
    try:
        return frozenset(known.name for known in site.rules().known)
    except ConfigError:
        return frozenset()  # the page of rules says what is wrong with the file


def _interval_ms(span: Span, samples: int, series: int) -> float:
    """The time between two samples of a series, about."""
    return span.minutes * 60_000 * series / samples if samples else 0.0


def _drawn_samples(found: SeriesSamples, means: MetricMeaning, span: Span) -> Drawn:
    step_ms, _ = bin_times(span.begin_ms, span.end_ms, _BINS)
    values: dict[int, list[float]] = {}
    for sample in found.samples:
        values.setdefault(sample.timestamp_ms // step_ms * step_ms, []).append(sample.value)
    steps = {begin_ms: Step(sum(own), sum(own) / len(own)) for begin_ms, own in values.items()}
    return means.drawn(steps, step_ms, _interval_ms(span, len(found.samples), 1))


def _spark(drawn: Drawn, span: Span) -> Any:
    return spark(drawn.points, span.begin_ms, span.end_ms, drawn.step_ms, drawn.unit)


def _job(site: Site, request: Request) -> ShownJob:
    """The job in the address.

    Raises:
        HTTPException: there is none.
    """
    found = JobRecords(site.app.ledger).shown_job(str(request.path_params["job_id"]))
    if found is None:
        raise HTTPException(404, "there is no job of this id (any more: retention may have removed its rows)")
    return found


def _job_facts(site: Site, found: ShownJob | None, tenant: str) -> dict[str, Any]:
    """What the pages say of a job; of one tenant's blocks where a tenant is named."""
    if found is None:
        return {"job": None}
    job = found.job
    receipts: dict[str, list[Receipt]] = {}
    for receipt in ReceiptRecords(site.app.ledger).receipts_of(job.id):
        receipts.setdefault(receipt.receiver, []).append(receipt)
    try:
        starts = receiver_starts(site.app)
    except ConfigError:
        starts = {}
    lacking = [name for name, since in starts.items() if name not in receipts and job.timestamp_ms >= since]
    blocks = [block for block in job.outputs if tenant in ("", block.tenant)]
    dagster = site.dagster_url
    return {
        "job": job,
        "shown": found,
        "blocks": blocks or list(job.outputs),
        "receipts": receipts,
        "lacking": lacking,
        "receivers": bool(starts),
        "run_link": run_url(dagster, job.run_id) if dagster and job.run_id.count("-") == 4 else "",
        "partition_link": partition_url(dagster, "l1_blocks", job.hour) if dagster else "",
    }
