"""The page Rules: all of them with their standing, one with its history, two versions side by side.

Add what is only looked at here; changes are made by `rule_edit`, many at once by `rule_import`, the same for programs
is `rule_api`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.explore.standing import STEP_MS
from pyro_assets.rules.choice import rules_text
from pyro_assets.rules.in_force import KnownRule, RulesInForce, version_text
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import DIMENSIONS_ID, FUNCTION_LABEL, FUNCTION_METRIC_PREFIX
from pyro_assets.rules.stored import RuleVersion, StoredRules
from pyro_assets.storage.keys import HOUR_MS
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import spark
from pyro_assets.web.meanings import chart_of, graph_links, meanings
from pyro_assets.web.rules import api as rule_api
from pyro_assets.web.rules import changes as rule_changes
from pyro_assets.web.rules import edit as rule_edit
from pyro_assets.web.rules import imports as rule_import
from pyro_assets.web.rules import language as rule_language
from pyro_assets.web.rules.diffs import side_by_side
from pyro_assets.web.rules.listing import list_rules, other_forms, rules_now
from pyro_assets.web.site import Site
from pyro_assets.web.spans import span_of
from pyro_assets.web.wire.endpoints import Endpoint, whole_number

#: Why a page cannot change a rule.
FIXED: Final = {
    "file": "This rule stands in a file, which is kept elsewhere (in Git, perhaps) and wins over what is edited here; "
    "change it there.",
    "other": "This stands in a file in a form of its own, so it cannot be changed here; what it means is shown as a "
    "rule. Import the file, or copy the rule, to have one that can be edited.",
    "dimensions": "These series are switched on by `dimensions` in a file, or by having none: one for each profile "
    "type and set of labels. Change it there.",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One rule, wherever it stands; `known` and `history` only of those of the language."""

    name: str
    id: str
    rule: Rule | None
    known: KnownRule | None
    fixed: str
    history: list[RuleVersion]


def routes(site: Site) -> list[Route]:
    """The pages' routes."""

    def index(request: Request) -> Response:
        found = list_rules(site, *rules_now(site))
        wanted = request.query_params.get("q", "").strip()
        rows = [row for row in found.rules if wanted.lower() in f"{row.name} {row.words} {row.origin}".lower()]
        done = request.query_params.get("done", "")
        drawn = {row.id: next(iter(drawn_metrics(site, row.id)), None) for row in rows}
        return site.page(request, "rules.html", found=found, rows=rows, q=wanted, done=done, drawn=drawn)

    def show(request: Request) -> Response:
        in_force, problems = rules_now(site)
        one = find_rule(site, in_force, request.path_params["name"])
        rows = list_rules(site, in_force, problems).rules
        listed = next((row for row in rows if (row.name, row.id) == (one.name, one.id)), None)
        return site.page(
            request,
            "rule.html",
            one=one,
            listed=listed,
            text="" if one.rule is None else rules_text([one.rule]),
            newest=one.history[0] if one.history else None,
            metrics=drawn_metrics(site, one.id, one.rule),
            saved=request.query_params.get("saved", ""),
        )

    def compare(request: Request) -> Response:
        name = request.path_params["name"]
        history = {version.version: version for version in StoredRules(site.app.ledger).rule_history(name)}
        if not history:
            raise HTTPException(404, f"the ledger never had a rule {name!r}")
        newest = max(history)
        right = whole_number(request, "right", newest, least=1, most=newest)
        left = whole_number(request, "left", max(right - 1, 1), least=1, most=newest)
        sides = [history[number] for number in (left, right)]
        pairs = side_by_side(*map(_text, sides))
        return site.page(
            request, "rule_compare.html", name=name, sides=sides, pairs=pairs, numbers=sorted(history, reverse=True)
        )

    def short(request: Request) -> Response:
        return RedirectResponse(f"/rules/show/{request.path_params['name']}")

    return [
        Route("/rules", index, methods=["GET"]),
        *rule_edit.routes(site),
        *rule_changes.routes(site),
        *rule_import.routes(site),
        *rule_language.routes(site),
        # Other forms are called as their functions, which may have slashes.
        Route("/rules/show/{name:path}", show, methods=["GET"]),
        Route("/rules/compare/{name:path}", compare, methods=["GET"]),
        Route("/rules/{name:path}", short, methods=["GET"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""
    return rule_api.endpoints(site)


@dataclass(frozen=True, slots=True)
class DrawnMetric:
    """A metric of a rule in the last hour: a small drawing, a chart, a query and where that is drawn."""

    metric: str
    spark: Markup
    chart: Markup
    promql: str
    graphs: Mapping[str, str]


def drawn_metrics(site: Site, rule_id: str, rule: Rule | None = None) -> list[DrawnMetric]:
    """The metrics of a rule in the last hour, CPU time first; with the rule, queries are of its one function alone."""
    exact = None if rule is None or rule.combine or len(rule.functions) != 1 else rule.functions[0].exact
    now_ms = site.clock()
    series = site.watch.standings(now_ms).series.get(rule_id)
    if series is None:
        return []
    means, span, found = meanings(site), span_of("1h", None, now_ms), []
    for metric, steps in series.metrics.items():
        meaning = means(metric, [rule_id])
        drawn = meaning.drawn(steps, STEP_MS, HOUR_MS * series.series / series.samples)
        by = [FUNCTION_LABEL] if metric.startswith(FUNCTION_METRIC_PREFIX) else ["service_name"]
        query = meaning.promql({FUNCTION_LABEL: exact} if exact else {}, by=by)
        found.append(
            DrawnMetric(
                metric,
                spark(drawn.points, span.begin_ms, span.end_ms, drawn.step_ms, drawn.unit),
                chart_of(drawn, span, words.short_metric(metric)),
                query,
                graph_links(query, "1h", prometheus_url=site.prometheus_url, grafana_url=site.grafana_url),
            )
        )
    return sorted(found, key=lambda one: ("process_cpu_cpu" not in one.metric, one.metric))


def find_rule(site: Site, in_force: RulesInForce, name: str) -> Shown:
    """A rule of the language, another form, or one that was deleted.

    Raises:
        HTTPException: there never was one of this name.
    """
    history = StoredRules(site.app.ledger).rule_history(name)
    for known in in_force.known:
        # What the file has under the name is what counts; the ledger's rule is told beside it.
        if known.name == name:
            fixed = FIXED["file"] if known.origin == "file" else ""
            return Shown(name, name, known.rule, known, fixed, history)
    for rule_id, rule in other_forms(in_force.config):
        if name in (rule.name, rule_id):
            return Shown(rule.name, rule_id, rule, None, FIXED["other"], [])
    if name == DIMENSIONS_ID and in_force.config.dimensions.selectors:
        return Shown(name, name, None, None, FIXED["dimensions"], [])
    if history:
        return Shown(name, name, None, None, "", history)
    raise HTTPException(404, f"there is no rule {name!r}, and there never was one")


def _text(version: RuleVersion) -> str:
    return "(deleted)\n" if version.deleted else version_text(version)
