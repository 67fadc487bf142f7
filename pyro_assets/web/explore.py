"""The page Explore: where time and memory go: totals over time, top functions, a flame graph, a rule for each.

Add what the page shows here, and what programs may ask for to `api_routes`; figures come from `explore.profiles`,
the drawing of frames from `flame`. The address holds all that was chosen (`explore_asked`), and can be passed on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.errors import ConfigError, SelectorError
from pyro_assets.operations import runs
from pyro_assets.rules.config import DEFAULT_GAUGES
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import Line, bar_share, bin_times, time_chart
from pyro_assets.web.explore_asked import ROWS, ExploreForm, full_selector, hours_of, read_asked, with_label
from pyro_assets.web.site import Site
from pyro_assets.web.wire.endpoints import Endpoint, Parameter

if TYPE_CHECKING:
    from pyro_assets.explore.profiles import Choices, Explored, Explorer
    from pyro_assets.web.drawing.flame import Layout

_SPANS: Final = (1, 3, 6, 12, 24, 48, 168)
_BUDGETS: Final = (2, 5, 20, 60)
_BINS: Final = 80
_MOST_SHOWN_VALUES: Final = 12
#: How old an answer may be for those who zoom, search and sort in it.
_WALK_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Row:
    """A function of the table; shares are of the total. Values of levels are scaled to the mean level."""

    name: str
    own: float
    total: float
    own_share: float | None
    total_share: float | None
    rule: str


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        asked = read_asked(request)
        known = runs.hours(site.pipeline)
        hours, begin_ms, end_ms = hours_of(asked, known, site.clock())
        explorer = site.explorer
        choices = explorer.choices(hours, asked.tenant)
        asked = _completed(asked, choices)
        problem, found = "", None
        try:
            if asked.kind:
                found = answer(site, explorer, asked, hours)
        except SelectorError as error:
            problem = str(error)
        shown: dict[str, Any] = {"chart": "", "functions": [], "matching": 0, "flame": "", "left_out": [], "crumbs": []}
        if found is not None and found.profiles:
            shown |= _shown(asked, found, begin_ms, end_ms)
        status = 422 if problem else 200
        return site.page(
            request, "explore.html", status_code=status, asked=asked, choices=choices, found=found, problem=problem,
            known=known, hours=hours, spans=_SPANS, budgets=_BUDGETS, begin_ms=begin_ms,
            end_ms=end_ms, unit=words.unit_of(asked.kind), shown_values=_MOST_SHOWN_VALUES,
            bar_share=bar_share, with_label=lambda name, value: with_label(asked, name, value), **shown,
        )  # fmt: skip

    return [Route("/", show, methods=["GET"]), Route("/explore", show, methods=["GET"])]


def answer(site: Site, explorer: "Explorer", asked: ExploreForm, hours: Sequence[str]) -> "Explored":
    """What the pipeline says.

    Raises:
        SelectorError: the filter does not parse.
        HTTPException: others ask so much already.
        StorageError, BlockError, ValueOverflow: see `Explorer.explore`.
    """
    from pyro_assets.explore.profiles import Question

    question = Question(asked.tenant, asked.kind, tuple(hours), full_selector(asked), asked.budget)
    try:
        gauges = site.file_config().gauges
    except ConfigError:
        # Looking at profiles must not depend on the file of rules being sound.
        gauges = list(DEFAULT_GAUGES)
    # Who walks through an answer wants the same one, though new jobs come every few seconds; "Show" is up to date.
    is_walking = replace(asked, at="", search="", sort="total", rows=ROWS) != asked
    with site.reading.take():
        return explorer.explore(question, gauges, max_age_seconds=_WALK_SECONDS if is_walking else 0.0)


def _completed(asked: ExploreForm, choices: "Choices") -> ExploreForm:
    """With the first tenant and profile type where none was chosen."""
    from pyro_assets.explore.profiles import choose_type

    tenant = asked.tenant or next(iter(choices.tenants), "")
    kinds = [kind for kind, services in choices.profile_types.items() if asked.service in ("", *services)]
    return replace(asked, tenant=tenant, kind=asked.kind or choose_type(kinds))


def _shown(asked: ExploreForm, found: "Explored", begin_ms: int, end_ms: int) -> dict[str, Any]:
    """What the page shows of an answer."""
    from pyro_assets.web.drawing.flame import counts, icicle, name_of

    root, layout = zoomed(found, asked.at)
    tree = found.tree
    top, matching = top_functions(asked, found)
    rows = [_row(asked, found, *one) for one in top]
    crumbs = [
        (name_of(tree, node), asked.address(at=_at(found, node), fragment="flame"), node)
        for node in [*tree.ancestors(root), root]
    ]
    return {
        "chart": over_time(asked, found, begin_ms, end_ms),
        "functions": rows,
        "matching": matching,
        "flame": icicle(
            tree, layout, unit=words.unit_of(asked.kind), search=asked.search, scale=scale_of(found),
            href=lambda node: asked.address(at=_at(found, node), fragment="flame"),
        ),
        "left_out": counts(layout),
        "crumbs": crumbs,
        "zoomed": None if root == 0 else _zoomed_row(asked, found, root),
        "lost": bool(asked.at) and root == 0,
    }  # fmt: skip


def zoomed(found: "Explored", at: str) -> "tuple[int, Layout]":
    """The node to zoom to, the root where there is none like it, and what is drawn."""
    from pyro_assets.web.drawing.flame import lay_out

    root = (found.tree.find(int(at, 16)) if at else 0) or 0
    return root, lay_out(found.tree, root)


def _at(found: "Explored", node: int) -> str:
    return f"{int(found.tree.path_id[node]):x}" if node else ""


def _zoomed_row(asked: ExploreForm, found: "Explored", node: int) -> Row:
    tree = found.tree
    return _row(asked, found, tree.text(node), int(tree.own[node]), int(tree.total[node]))


def top_functions(asked: ExploreForm, found: "Explored") -> tuple[list[tuple[str, int, int]], int]:
    """Names, own values and totals of the largest that contain the search text, and how many contain it."""
    names = found.tree.names
    text = asked.search.casefold()
    places = [place for place, name in enumerate(names) if text in name.casefold()]
    first, second = (found.own, found.totals) if asked.sort == "self" else (found.totals, found.own)
    places.sort(key=lambda place: (-int(first[place]), -int(second[place]), names[place]))
    top = [(names[place], int(found.own[place]), int(found.totals[place])) for place in places[: asked.rows]]
    return top, len(places)


def _row(asked: ExploreForm, found: "Explored", name: str, own: int, total: int) -> Row:
    whole, by = found.total, scale_of(found)
    own_share, total_share = (own / whole, total / whole) if whole else (None, None)
    amounts = (own, total) if by == 1 else (round(own * by), round(total * by))
    return Row(name, *amounts, own_share, total_share, rule_address(asked, name))


def scale_of(found: "Explored") -> float:
    """What sums over jobs are multiplied by: 1 for amounts; for levels, what makes them the mean level."""
    return found.level / found.total if found.is_gauge and found.total else 1.0


def rule_address(asked: ExploreForm, function: str) -> str:
    """Where a rule for a function is made."""
    pairs = [("function", function), ("selector", full_selector(asked))]
    pairs += [("tenant", asked.tenant), ("profile_type", asked.kind)]
    return "/rules/new?" + urlencode(pairs, errors="surrogatepass")


def over_time(asked: ExploreForm, found: "Explored", begin_ms: int, end_ms: int) -> Any:
    """The total over time: sums of amounts; of levels, the mean over the jobs of each shard, added up."""
    width_ms, begins = bin_times(begin_ms, end_ms, _BINS)
    bins: dict[int, dict[int, list[int]]] = {begin: {} for begin in begins}
    for one in found.moments:
        own = bins.get(one.timestamp_ms // width_ms * width_ms)
        if own is not None:
            own.setdefault(one.shard, []).append(one.value)
    points: list[tuple[int, float | None]] = []
    for begin, shards in bins.items():
        parts = [sum(values) / (len(values) if found.is_gauge else 1) for values in shards.values()]
        points.append((begin, sum(parts) if parts else None))
    name = words.type_words(asked.kind)
    step = words.duration(width_ms / 1000)
    title = f"{name}: level, mean over {step}" if found.is_gauge else f"{name}, sums over {step}"
    return time_chart(
        [Line(name, points)], title=title, begin_ms=begin_ms, end_ms=end_ms, unit=words.unit_of(asked.kind),
        kind="bars", bar_ms=width_ms, height=170,
    )  # fmt: skip


_PARAMETERS: Final = (
    Parameter("tenant", "whose profiles; the first one by default"),
    Parameter("type", "the whole profile type; CPU time by default"),
    Parameter("service", "of this service only"),
    Parameter("selector", "label matchers as in PromQL"),
    Parameter("hours", "length of the span", "integer"),
    Parameter("until", "end of the span (exclusive), an hour such as 2026-11-25T13 (UTC); the newest by default"),
    Parameter("budget", "seconds after which no further job is read", "integer"),
)


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""

    def asked_of(request: Request) -> tuple[ExploreForm, "Explored"]:
        asked = read_asked(request)
        hours, _, _ = hours_of(asked, runs.hours(site.pipeline), site.clock())
        asked = _completed(asked, site.explorer.choices(hours, asked.tenant))
        return asked, answer(site, site.explorer, asked, hours)

    def explore(request: Request) -> dict[str, Any]:
        asked, found = asked_of(request)
        rows, matching = top_functions(asked, found)
        return _facts(asked, found) | {
            "functions_matching": matching,
            "functions": [{"name": name, "self": own, "total": total} for name, own, total in rows],
            "over_time": [
                {"timestamp_ms": one.timestamp_ms, "shard": one.shard, "value": one.value} for one in found.moments
            ],
        }

    def flame_graph(request: Request) -> dict[str, Any]:
        asked, found = asked_of(request)
        root, layout = zoomed(found, asked.at)
        if asked.at and not root:
            raise HTTPException(404, f"no stack of these profiles leads to the frame {asked.at}")
        tree = found.tree
        return _facts(asked, found) | {
            "too_small": layout.too_small,
            "too_deep": layout.too_deep,
            "frames": [
                {
                    "id": f"{int(tree.path_id[box.node]):x}",
                    "above": f"{int(tree.path_id[tree.parent[box.node]]):x}" if box.node else None,
                    "name": tree.text(box.node), "depth": int(tree.depth[box.node]),
                    "self": int(tree.own[box.node]), "total": int(tree.total[box.node]),
                }
                for box in layout.boxes
            ],
        }  # fmt: skip

    def choices(request: Request) -> Any:
        asked = read_asked(request)
        hours, _, _ = hours_of(asked, runs.hours(site.pipeline), site.clock())
        return site.explorer.choices(hours, asked.tenant)

    table = (
        Parameter("search", "only functions that contain this"),
        Parameter("sort", "total or self"),
        Parameter("rows", "at most so many functions", "integer"),
    )
    errors = ((422, "the selector does not parse"), (503, "others explore at the moment"))
    at = Parameter("at", "id of a frame to begin with, from an earlier answer")
    return [
        Endpoint("GET", "/explore", explore, "Totals over time and the functions with the largest values.",
                 (*_PARAMETERS, *table), errors=errors),
        Endpoint("GET", "/explore/flamegraph", flame_graph, "The call tree below a frame, callers before callees.",
                 (*_PARAMETERS, at), errors=errors),
        Endpoint("GET", "/explore/choices", choices, "Tenants, services, profile types and labels to choose from.",
                 (_PARAMETERS[0], *_PARAMETERS[4:6])),
    ]  # fmt: skip


def _facts(asked: ExploreForm, found: "Explored") -> dict[str, Any]:
    return {
        "tenant": asked.tenant,
        "profile_type": asked.kind,
        "selector": found.question.selector,
        "hours": list(found.question.hours),
        "unit": words.unit_of(asked.kind),
        "is_gauge": found.is_gauge,
        "jobs": found.jobs,
        "jobs_read": found.jobs_read,
        "is_exact": found.is_exact,
        "profiles": found.profiles,
        "samples": found.samples,
        "total": found.total,
        "level": found.level if found.is_gauge else None,
        "bytes_read": found.bytes_read,
        "bytes_stored": found.bytes_stored,
    }
