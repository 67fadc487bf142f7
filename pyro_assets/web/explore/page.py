"""The page Explore: where time and memory go, over time, by function, as a flame graph; and files of the same.

Add a route here; what is shown is made by `shown`, figures come from `explore.profiles`. The address holds all that was
chosen (`asked`), and can be passed on.
"""

import gzip
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.errors import ConfigError, SelectorError
from pyro_assets.explore.profiles import Choices, Explored, Explorer, Question, choose_type
from pyro_assets.explore.pyroscope.archive import ProfileArchive
from pyro_assets.explore.pyroscope.asked import ProfileKind, ProfileQuery, TimeRange
from pyro_assets.explore.pyroscope.pprof import pprof
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.explore.views import folded
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.config import DEFAULT_GAUGES
from pyro_assets.rules.selectors import parse_selector
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import bar_share, bin_times
from pyro_assets.web.explore import api, shown
from pyro_assets.web.explore.asked import AGAINST, ROWS, ExploreForm, full_selector, hours_of, read_asked, with_label
from pyro_assets.web.explore.speedscope import speedscope_headers, speedscope_link
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span, span_of
from pyro_assets.web.wire.endpoints import Endpoint

_BINS: Final = 80
_MOST_SHOWN_VALUES: Final = 12
#: How old an answer may be for those who zoom, search and sort in it.
_WALK_SECONDS: Final = 300.0
#: A file is read for so long at most.
_FILE_SECONDS: Final = 60


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        asked = read_asked(request)
        now_ms = site.clock()
        known = HourRecords(site.app.ledger).hours()
        span = asked.span(now_ms)
        hours = hours_of(span, known)
        choices = site.explorer.choices(hours, asked.tenant)
        asked = completed(asked, choices)
        problem, found, baseline = "", None, None
        try:
            if asked.kind:
                found = answer(site, asked, known, now_ms)
                if asked.against and found.profiles:
                    baseline = answer(site, asked.baseline(now_ms), known, now_ms)
        except SelectorError as error:
            problem = str(error)
        context: dict[str, Any] = {}
        if found is not None and found.profiles:
            # An answer of a moment ago is shown as of then.
            span = span_of(asked.last, span.until_ms, found.question.asked_ms)
            context = {
                "mean": shown.mean_of(asked, found, span),
                "chart": shown.over_time(asked, found, span, step_of(span)),
            }
            context |= shown.function_rows(asked, found)
            if baseline is not None:
                context["baseline_mean"] = shown.mean_of(asked, baseline, span)
            is_compared = baseline is not None and bool(baseline.profiles)
            if baseline is not None and is_compared:
                context |= shown.difference(asked, found, baseline)
            else:
                context |= shown.flame(asked, found)
        return site.page(
            request, "explore.html", status_code=422 if problem else 200, asked=asked, span=span, choices=choices,
            found=found, baseline=baseline, problem=problem, known=known, hours=hours, against=AGAINST,
            unit=words.unit_of(asked.kind), shown_values=_MOST_SHOWN_VALUES, bar_share=bar_share,
            with_label=lambda name, value: with_label(asked, name, value),
            speedscope=speedscope_link(site, request, asked, span), speedscope_url=site.speedscope_url, **context,
        )  # fmt: skip

    def download(request: Request) -> Response:
        asked, now_ms, known = read_asked(request), site.clock(), HourRecords(site.app.ledger).hours()
        span = asked.span(now_ms)
        asked = completed(
            replace(asked, budget=_FILE_SECONDS), site.explorer.choices(hours_of(span, known), asked.tenant)
        )
        form = request.path_params["form"]
        if form == "folded":
            data = "".join(folded(answer(site, asked, known, now_ms).tree)).encode("utf-8", "replace")
        elif form == "pprof":
            data = gzip.compress(_pprof(site, asked, span), 6, mtime=0)
        else:
            raise HTTPException(404, "profiles are given as pprof or folded")
        name = "-".join(part for part in (asked.service or "all", *asked.kind.split(":")[:2]) if part)
        ending = "txt" if form == "folded" else "pb.gz"
        return Response(
            data,
            media_type="text/plain; charset=utf-8" if form == "folded" else "application/octet-stream",
            headers={
                "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}.{ending}",
                **(speedscope_headers(site, request) if form == "pprof" else {}),
            },
        )

    return [
        Route("/", show, methods=["GET"]),
        Route("/explore", show, methods=["GET"]),
        Route("/explore/download/{form}", download, methods=["GET"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""

    def asked_of(request: Request) -> tuple[ExploreForm, Explored]:
        asked, known, now_ms = read_asked(request), HourRecords(site.app.ledger).hours(), site.clock()
        asked = completed(asked, choices_of(request))
        return asked, answer(site, asked, known, now_ms)

    def choices_of(request: Request) -> Choices:
        asked = read_asked(request)
        hours = hours_of(asked.span(site.clock()), HourRecords(site.app.ledger).hours())
        return site.explorer.choices(hours, asked.tenant)

    return api.endpoints(asked_of, choices_of)


def answer(site: Site, asked: ExploreForm, known: Sequence[str], now_ms: int) -> Explored:
    """What the archive says.

    Raises:
        SelectorError: the filter does not parse.
        HTTPException: others ask so much already.
        StorageError, BlockError, ValueOverflow: see `Explorer.explore`.
    """
    span = asked.span(now_ms)
    question = Question(
        asked.tenant, asked.kind, tuple(hours_of(span, known)), full_selector(asked), asked.budget,
        span.minutes * 60_000, span.until_ms, step_of(span), span.end_ms,
    )  # fmt: skip
    try:
        gauges = site.file_config().gauges
    except ConfigError:
        # Looking at profiles must not depend on the file of rules being sound.
        gauges = list(DEFAULT_GAUGES)
    # Who walks through an answer wants the same one, though new jobs come every few seconds; "Show" and pages that are
    # made anew by themselves are up to date.
    walked = replace(asked, at="", search="", sort="self", rows=ROWS, split="", around="", against="", other="")
    is_walking = walked != asked and not asked.refresh
    explorer: Explorer = site.explorer
    with site.reading.take():
        return explorer.explore(question, gauges, max_age_seconds=_WALK_SECONDS if is_walking else 0.0)


def step_of(span: Span) -> int:
    """The width of the chart's steps in milliseconds."""
    return bin_times(span.begin_ms, span.end_ms, _BINS)[0]


def completed(asked: ExploreForm, choices: Choices) -> ExploreForm:
    """With the first tenant and profile type where none was chosen."""
    tenant = asked.tenant or next(iter(choices.tenants), "")
    kinds = [kind for kind, services in choices.profile_types.items() if asked.service in ("", *services)]
    return replace(asked, tenant=tenant, kind=asked.kind or choose_type(kinds))


def _pprof(site: Site, asked: ExploreForm, span: Span) -> bytes:
    """Profiles as pprof has them, with files and lines."""
    archive = ProfileArchive(
        site.app.archive, HourRecords(site.app.ledger).hours, ArchivedJobs(site.app.ledger).explorable
    )
    selector = parse_selector(full_selector(asked))
    times = TimeRange(span.begin_ms, span.end_ms - 1)
    meant = ProfileQuery(asked.tenant, ProfileKind.parse(asked.kind), selector, times)
    with site.reading.take():
        return pprof(archive.read(meant, everything=True), meant).SerializeToString()
