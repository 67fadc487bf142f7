"""`GET /pyroscope/render`: a flame graph with its timeline as the older clients draw it (flamebearer JSON).

Times are Unix seconds or milliseconds, `now`, or `now-1h`. Other formats of the original are not offered.
"""

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pyro_assets.errors import BadQuery, NotOffered
from pyro_assets.explore.pyroscope.asked import Asked, ProfileKind, Span, label_selector
from pyro_assets.explore.pyroscope.flame_graph import flame_graph
from pyro_assets.explore.pyroscope.querier import DEFAULT_MAX_NODES, Querier
from pyro_assets.explore.pyroscope.stacks import cut
from pyro_assets.web.pyroscope.connect import tenant_of
from pyro_assets.web.site import Site

PATH: Final = "/pyroscope/render"
_AGO: Final = re.compile(r"now(?:-(\d{1,9})(ms|s|m|h|d|w|M|y))?")
_UNITS_MS: Final = {
    "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000,
    "M": 2_592_000_000, "y": 31_536_000_000,
}  # fmt: skip
#: Numbers up to this one are seconds.
_MOST_SECONDS: Final = 10**11
#: A timeline has about so many points, and none shorter than so many seconds.
_POINTS: Final = 1500
_LEAST_STEP: Final = 15
_OBJECTS: Final = frozenset({"alloc_objects", "inuse_objects", "goroutine", "samples"})


def routes(site: Site, querier: Querier) -> list[Route]:
    """The one address."""

    def render(request: Request) -> Response:
        meant, max_nodes = _asked(request, site.clock())
        with site.reading.take():
            return JSONResponse(_drawn(querier, meant, max_nodes))

    return [Route(PATH, render, methods=["GET"])]


def _drawn(querier: Querier, meant: Asked, max_nodes: int) -> dict[str, Any]:
    graph = flame_graph(cut(querier.stacks(meant), max_nodes))
    span = meant.span
    step = max((span.end_ms - span.start_ms) // 1000 // _POINTS, _LEAST_STEP)
    samples = [0] * max((span.end_ms - span.start_ms) // (step * 1000), 1)
    for line in querier.lines(meant, step):
        for time_ms, value in line.points:
            place = (time_ms - span.start_ms) // (step * 1000)
            if place < len(samples):
                samples[place] = round(value)
    return {
        "version": 1,
        "flamebearer": {
            "names": list(graph.names),
            "levels": [list(level.values) for level in graph.levels],
            "numTicks": graph.total,
            "maxSelf": graph.max_self,
        },
        "metadata": _metadata(meant.kind),
        "timeline": {
            "startTime": span.start_ms // 1000, "samples": samples, "durationDelta": step, "watermarks": None,
        },
        "groups": None,
        "heatmap": None,
    }  # fmt: skip


def _metadata(kind: ProfileKind) -> dict[str, Any]:
    is_cpu = kind.sample_type == "cpu"
    units = "samples" if is_cpu else "objects" if kind.sample_type in _OBJECTS else kind.sample_unit
    rate = 1_000_000_000 if is_cpu else 100
    return {"format": "single", "spyName": "", "sampleRate": rate, "units": units, "name": kind.sample_type}


def _asked(request: Request, now_ms: int) -> tuple[Asked, int]:
    given = request.query_params
    if given.get("format", "json") not in ("json", ""):
        raise NotOffered(f"format {given['format'][:50]!r} is not offered here; ask for json")
    kind, brace, rest = given.get("query", "").partition("{")
    if not brace:
        raise BadQuery('failed to parse "query"')
    span = Span(_time(given.get("from", ""), now_ms), _time(given.get("until", "") or "now", now_ms))
    meant = Asked(tenant_of(request), ProfileKind.parse(kind), label_selector(brace + rest), span)
    nodes = given.get("max-nodes") or given.get("maxNodes") or ""
    if nodes and not re.fullmatch(r"\d{1,9}", nodes):
        raise BadQuery(f"max-nodes={nodes[:50]!r} is no whole number")
    return meant, int(nodes or 0) or DEFAULT_MAX_NODES


def _time(text: str, now_ms: int) -> int:
    if re.fullmatch(r"\d{1,15}", text):
        return int(text) * (1000 if int(text) < _MOST_SECONDS else 1)
    found = _AGO.fullmatch(text)
    if found is None:
        raise BadQuery(f"{text[:50]!r} is no time: give Unix seconds or milliseconds, now, or now-1h")
    return now_ms - (int(found[1]) * _UNITS_MS[found[2]] if found[1] else 0)
