"""Many rules at once: short forms, Pyroscope's recording rules and our own files, shown as rules before they are saved.

Add nothing about forms here: what can be read is `rules.config`'s, what it is equal to `rules.choice`'.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.errors import ConfigError
from pyro_assets.rules.choice import equivalent_rules, rules_text
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.in_force import EditPlan, plan_edits
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web.site import Site
from pyro_assets.web.wire.requests import first, values_of


@dataclass(frozen=True, slots=True)
class Import:
    """What a text would bring.

    Attributes:
        rules: the text's own, then the equivalents of other forms.
        plan: what saving them means; None where the text is refused.
        problems: why it is refused, or must not be saved.
        left_out: parts of the text that are no rules and stay behind.
    """

    rules: tuple[Rule, ...] = ()
    plan: EditPlan | None = None
    problems: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


def read_import(site: Site, text: str) -> Import:
    """What a text would bring, saved or not.

    Raises:
        ConfigError: the file that wins is refused, so that nobody knows what it has.
    """
    try:
        config = parse_config(text, "the text")
    except ConfigError as error:
        return Import(problems=tuple(str(one) for one in error.problems))
    rules = [*config.rules, *equivalent_rules(config)]
    if not rules:
        return Import(problems=("the text holds no rules; see the forms that can be read",))
    plan = plan_edits(rules, StoredRules(site.app.ledger).rules(), site.file_config())
    plain = SeriesConfig()
    left_out = tuple(part for part in ("dimensions", "gauges") if getattr(config, part) != getattr(plain, part))
    return Import(tuple(rules), plan, plan.problems, left_out)


def save_import(site: Site, found: Import, *, author: str, why: str) -> int:
    """Saves all that changes, or nothing; returns how many rules that were.

    Raises:
        StaleRule: somebody changed one of them meanwhile.
    """
    edits = found.plan.edits if found.plan is not None else ()
    if edits:
        StoredRules(site.app.ledger).edit_rules(
            edits, author=author, why=why.strip() or "imported", now_ms=site.clock()
        )
    return len(edits)


def routes(site: Site) -> list[Route]:
    """The routes of importing."""

    def page(
        request: Request, text: str = "", found: Import | None = None, status_code: int = 200, why: str = ""
    ) -> Response:
        shown = "" if found is None else rules_text(found.rules)
        return site.page(
            request,
            "rule_import.html",
            status_code=status_code,
            text=text,
            found=found,
            shown=shown,
            why=why,
            changes=dict(found.plan.changes) if found and found.plan else {},
        )

    def check(request: Request) -> Response:
        text, why = _text(request)
        found = read_import(site, text)
        return page(request, text, found, 422 if found.problems else 200, why)

    def save(request: Request) -> Response:
        text, why = _text(request)
        found = read_import(site, text)
        if found.problems:
            return page(request, text, found, 422, why)
        count = save_import(site, found, author=request.state.user, why=why)
        return RedirectResponse(f"/rules?done=imported-{count}", 303)

    return [
        Route("/rules/import", page, methods=["GET"]),
        Route("/rules/import/check", check, methods=["POST"]),
        Route("/rules/import", save, methods=["POST"]),
    ]


def _text(request: Request) -> tuple[str, str]:
    """The text, and why."""
    fields = values_of(request)
    return first(fields, "text").replace("\r\n", "\n"), first(fields, "why")
