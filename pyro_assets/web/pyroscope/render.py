"""`GET /pyroscope/render` and `/pyroscope/render-diff`: flame graphs as older clients draw them (flamebearer JSON).

Times are Unix seconds or milliseconds, `now`, or `now-1h`. Other formats of the original are not offered.
"""

import re
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pyro_assets.errors import BadQuery, NotOffered
from pyro_assets.explore.pyroscope.asked import ProfileKind, ProfileQuery, TimeRange, label_selector
from pyro_assets.explore.pyroscope.flame_graph import flame_graph, flame_graph_diff
from pyro_assets.explore.pyroscope.messages.querier_pb2 import FlameGraph, FlameGraphDiff
from pyro_assets.explore.pyroscope.querier import DEFAULT_MAX_NODES, Querier
from pyro_assets.explore.pyroscope.stacks import cut, over
from pyro_assets.web.pyroscope.connect import tenant_of
from pyro_assets.web.site import Site

PATH: Final = "/pyroscope/render"
DIFF_PATH: Final = "/pyroscope/render-diff"
_AGO: Final = re.compile(r"now(?:-([0-9]{1,9})(ms|s|m|h|d|w|M|y))?")
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
    """The two addresses."""

    def render(request: Request) -> Response:
        meant, max_nodes = _asked(request, "", site.clock()), _max_nodes(request)
        with site.asking.take():
            return JSONResponse(_single(querier, meant, max_nodes))

    def render_diff(request: Request) -> Response:
        left, right = (_asked(request, side, site.clock()) for side in ("left", "right"))
        max_nodes = _max_nodes(request)
        with site.asking.take():
            graph = flame_graph_diff(cut(over(querier.stacks(left), querier.stacks(right)), max_nodes))
        ticks = {"leftTicks": graph.leftTicks, "rightTicks": graph.rightTicks}
        return JSONResponse(_document(graph, left.kind, "double", None) | ticks)

    return [Route(PATH, render, methods=["GET"]), Route(DIFF_PATH, render_diff, methods=["GET"])]


def _single(querier: Querier, meant: ProfileQuery, max_nodes: int) -> dict[str, Any]:
    graph = flame_graph(cut(querier.stacks(meant), max_nodes))
    span = meant.span
    step = max((span.end_ms - span.start_ms) // 1000 // _POINTS, _LEAST_STEP)
    samples = [0] * max((span.end_ms - span.start_ms) // (step * 1000), 1)
    for line in querier.lines(meant, step):
        for time_ms, value in line.points:
            # The last step ends with the timeline, which has no point of its own there.
            samples[min((time_ms - span.start_ms) // (step * 1000), len(samples) - 1)] += round(value)
    start = span.start_ms // 1000
    timeline = {"startTime": start, "samples": samples, "durationDelta": step, "watermarks": None}
    return _document(graph, meant.kind, "single", timeline)


def _document(
    graph: FlameGraph | FlameGraphDiff, kind: ProfileKind, form: str, timeline: dict[str, Any] | None
) -> dict[str, Any]:
    return {
        "version": 1,
        "flamebearer": {
            "names": list(graph.names),
            "levels": [list(level.values) for level in graph.levels],
            "numTicks": graph.total,
            "maxSelf": graph.max_self,
        },
        "metadata": _metadata(kind) | {"format": form},
        "timeline": timeline,
        "groups": None,
        "heatmap": None,
    }


def _metadata(kind: ProfileKind) -> dict[str, Any]:
    is_cpu = kind.sample_type == "cpu"
    units = "samples" if is_cpu else "objects" if kind.sample_type in _OBJECTS else kind.sample_unit
    rate = 1_000_000_000 if is_cpu else 100
    return {"spyName": "", "sampleRate": rate, "units": units, "name": kind.sample_type}


def _asked(request: Request, side: str, now_ms: int) -> ProfileQuery:
    """What is meant by the parameters, whose names begin with the side of a diff."""
    given = request.query_params
    if given.get("format", "json") not in ("json", ""):
        raise NotOffered(f"format {given['format'][:50]!r} is not offered here; ask for json")

    def value(name: str) -> str:
        return given.get(side + name.capitalize() if side else name, "")

    kind, brace, rest = value("query").partition("{")
    if not brace:
        raise BadQuery('failed to parse "query"')
    span = TimeRange(_time(value("from"), now_ms), _time(value("until") or "now", now_ms))
    return ProfileQuery(tenant_of(request), ProfileKind.parse(kind), label_selector(brace + rest), span)


def _max_nodes(request: Request) -> int:
    nodes = request.query_params.get("max-nodes") or request.query_params.get("maxNodes") or "0"
    if not re.fullmatch(r"[0-9]{1,9}", nodes):
        raise BadQuery(f"max-nodes={nodes[:50]!r} is no whole number")
    return int(nodes) or DEFAULT_MAX_NODES


def _time(text: str, now_ms: int) -> int:
    if re.fullmatch(r"[0-9]{1,15}", text):
        return int(text) * (1000 if int(text) < _MOST_SECONDS else 1)
    found = _AGO.fullmatch(text)
    if found is None:
        raise BadQuery(f"{text[:50]!r} is no time: give Unix seconds or milliseconds, now, or now-1h")
    return now_ms - (int(found[1]) * _UNITS_MS[found[2]] if found[1] else 0)
