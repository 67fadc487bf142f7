"""Explore for programs: totals over time, functions, the call tree below a frame, and what can be chosen.

Add a call here with its parameters; answers are found by `page`.
"""

from collections.abc import Callable
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pyro_assets.explore.profiles import Choices, Explored
from pyro_assets.web import words
from pyro_assets.web.explore.asked import ExploreForm
from pyro_assets.web.explore.shown import at_of, top_functions, zoomed
from pyro_assets.web.spans import PARAMETERS
from pyro_assets.web.wire.endpoints import Endpoint, Parameter

_PARAMETERS: Final = (
    Parameter("tenant", "whose profiles; the first one by default"),
    Parameter("type", "the whole profile type; CPU time by default"),
    Parameter("service", "of this service only"),
    Parameter("selector", "label matchers as in PromQL"),
    *PARAMETERS,
    Parameter("budget", "seconds after which no further job is read", "integer"),
)


def endpoints(
    asked_of: Callable[[Request], tuple[ExploreForm, Explored]], choices_of: Callable[[Request], Choices]
) -> list[Endpoint]:
    """The calls, of what finds answers."""

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
                    "id": at_of(tree, box.node) or "0",
                    "above": at_of(tree, int(tree.parent[box.node])) or "0" if box.node else None,
                    "name": tree.text(box.node), "depth": int(tree.depth[box.node]),
                    "self": int(tree.own[box.node]), "total": int(tree.total[box.node]),
                }
                for box in layout.boxes
            ],
        }  # fmt: skip

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
        Endpoint("GET", "/explore/choices", choices_of, "Tenants, services, profile types and labels to choose from.",
                 (_PARAMETERS[0], *PARAMETERS)),
    ]  # fmt: skip


def _facts(asked: ExploreForm, found: Explored) -> dict[str, Any]:
    return {
        "tenant": asked.tenant,
        "profile_type": asked.kind,
        "selector": found.question.selector,
        "hours": list(found.question.hours),
        "unit": words.unit_of(asked.kind),
        "is_gauge": found.is_gauge,
        "begin_ms": (found.question.ends_ms or (None, None))[0],
        "end_ms": (found.question.ends_ms or (None, None))[1],
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
