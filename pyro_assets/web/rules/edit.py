"""Making and changing one rule: the form with checks and preview, saving, and what happens when two do so at once.

Add a step of editing here; fields of the form are `rule_form`'s, checks `rules.in_force`', previews
`rule_preview`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.errors import ConfigError, StaleRule
from pyro_assets.explore.preview import largest_functions
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.choice import rules_text
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.in_force import Checked, Problem, RulesInForce, is_in_file, read_body, version_text
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import FAMILIES
from pyro_assets.rules.stored import RuleVersion
from pyro_assets.web.meanings import meaning_of
from pyro_assets.web.rules.changes import save_rule, stored_version
from pyro_assets.web.rules.diffs import Pair, side_by_side
from pyro_assets.web.rules.draft import Draft, as_text, checked_draft, draft_of, plain_text, read_draft
from pyro_assets.web.rules.form import form_of, placed, prefilled, suggested_name
from pyro_assets.web.rules.listing import other_forms, rules_now
from pyro_assets.web.rules.preview import charts, hours_of, preview, wanted_of
from pyro_assets.web.site import Site
from pyro_assets.web.spans import asked_span
from pyro_assets.web.wire.requests import first, values_of

if TYPE_CHECKING:
    from pyro_assets.explore.preview import Preview

#: What a family of names folds, for people.
FAMILY_WORDS: Final[Mapping[str, str]] = {
    "generics": "type arguments, as in Map[int] and List<String>",
    "lambdas": "numbers of lambdas and closures",
    "proxies": "generated proxy classes",
    "addresses": "addresses and hashes",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """What somebody else saved meanwhile, and how it differs from the draft."""

    current: RuleVersion | None
    pairs: list[Pair]
    message: str


def routes(site: Site) -> list[Route]:
    """The routes of editing."""

    def new(request: Request) -> Response:
        query = parse_qs(request.url.query, keep_blank_values=True)
        copied = first(query, "copy")
        if copied:
            rule = _any_rule(site, copied)
            draft = draft_of(rule.model_copy(update={"name": f"{rule.name[:90]}-copy"}))
        else:
            draft = _linked(query)
            if "last" in query:
                # Who comes from a page with a time wants to see that.
                draft = replace(draft, wanted=wanted_of(asked_span(request, site.clock()), draft.wanted.tenants))
        if query.get("mode") == ["text"]:
            draft = as_text(draft, rules_now(site)[0])
        return editor(site, request, draft)

    def edit(request: Request) -> Response:
        name = request.path_params["name"]
        in_force, _ = rules_now(site)
        if is_in_file(name, in_force):
            raise HTTPException(409, f"rule {name!r} stands in the file, which is read-only here; change it there")
        version = stored_version(site, name)
        try:
            draft = draft_of(read_body(name, version.body))
        except ConfigError:
            draft = Draft("text", None, version_text(version))
        draft = replace(draft, original=name, seen_version=version.version)
        if request.query_params.get("mode") == "text" and draft.mode == "form":
            draft = as_text(draft, in_force)
        return editor(site, request, draft)

    def check(request: Request) -> Response:
        fields = values_of(request)
        draft, problems = read_draft(fields)
        do = first(fields, "do")
        in_force, _ = rules_now(site)
        if do == "resolve":
            draft = _resolved(site, draft, in_force, problems)
        checked = checked_draft(draft, in_force)
        if "application/json" in request.headers.get("accept", ""):
            return _live(draft, checked)
        if do == "text":
            return editor(site, request, as_text(draft, in_force))
        if do == "form":
            return _to_form(site, request, draft, checked)
        beside = in_force.config if do == "preview" else None
        return editor(site, request, draft, checked, beside=beside, remarks=problems)

    def save(request: Request) -> Response:
        draft, _ = read_draft(values_of(request))
        checked = checked_draft(draft, rules_now(site)[0])
        rule = checked.rule
        if rule is None or checked.problems:
            return editor(site, request, draft, checked, status_code=422)
        try:
            made = save_rule(site, rule, draft.seen_version, author=request.state.user, why=draft.why)
        except StaleRule as error:
            return _conflict(site, request, draft, checked, error)
        return RedirectResponse(f"/rules/show/{rule.name}?saved={made.version}", 303)

    return [
        Route("/rules/new", new, methods=["GET"]),
        Route("/rules/edit/{name:path}", edit, methods=["GET"]),
        Route("/rules/check", check, methods=["POST"]),
        Route("/rules/save", save, methods=["POST"]),
    ]


def editor(
    site: Site,
    request: Request,
    draft: Draft,
    checked: Checked | None = None,
    *,
    beside: SeriesConfig | None = None,
    remarks: Sequence[str] = (),
    conflict: Conflict | None = None,
    status_code: int = 200,
) -> Response:
    """The page with the form, what is wrong with it, and what the rule would give `beside` a configuration."""
    found: Preview | None = None
    drawings: list[Markup] = []
    known = HourRecords(site.app.ledger).hours()
    rule = None if checked is None else checked.rule
    if rule is not None and beside is not None:
        hours = hours_of(site, draft.wanted, known)
        if hours:
            found = preview(site, rule, beside, hours, draft.wanted)
            drawings = charts(found, rule)
    return site.page(
        request,
        "rule_edit.html",
        status_code=status_code,
        draft=draft,
        form=draft.form,
        checked=checked,
        problems=placed(checked.problems) if checked else {},
        warnings=placed(checked.warnings) if checked else {},
        lines=[one for one in checked.problems if one.line] if checked else [],
        text="" if rule is None else rules_text([rule]),
        preview=found,
        wants_preview=rule is not None and beside is not None,
        drawings=drawings,
        type_unit=lambda metric: meaning_of(metric, ()).unit,
        series_unit=lambda metric: "" if rule is None else meaning_of(metric, (), [rule]).unit,
        remarks=list(remarks),
        conflict=conflict,
        families=[(family, FAMILY_WORDS[family]) for family in FAMILIES],
        hours=known,
    )


def _linked(query: Mapping[str, Sequence[str]]) -> Draft:
    """The draft that a link of another page begins."""
    form = prefilled(query)
    if form is None:
        value: dict[str, Any] = {
            field: texts[0] for field, texts in query.items() if field in ("name", "selector", "match")
        }
        value = {"name": "named", **value, "functions": query["function"]}
        value |= {f"{field}s": query[field] for field in ("profile_type", "tenant") if field in query}
        return Draft("text", None, plain_text(value))
    named = any(form[name] for name in ("functions", "profile_types"))
    form["name"] = form["name"] or (suggested_name(form) if named else "")
    return Draft("form", form)


def _conflict(site: Site, request: Request, draft: Draft, checked: Checked, error: StaleRule) -> Response:
    current = error.current if isinstance(error.current, RuleVersion) and not error.current.deleted else None
    theirs = "" if current is None else version_text(current)
    ours = "" if checked.rule is None else rules_text([checked.rule])
    conflict = Conflict(current, side_by_side(theirs, ours), str(error))
    # Who saves again has seen both versions.
    seen = replace(draft, seen_version=0 if current is None else current.version)
    return editor(site, request, seen, checked, conflict=conflict, status_code=409)


def _live(draft: Draft, checked: Checked) -> Response:
    """The answer to the script that checks while somebody types."""
    as_form = draft.mode == "form"

    def shown(problems: Sequence[Problem]) -> dict[str, list[str]]:
        if as_form:
            return placed(problems)
        return {"text": [f"{f'line {one.line}: ' if one.line else ''}{one.field}: {one.why}" for one in problems]}

    answer: dict[str, Any] = {
        "problems": shown(checked.problems) if checked.problems else {},
        "warnings": shown(checked.warnings) if checked.warnings else {},
        "text": "" if checked.rule is None else rules_text([checked.rule]),
    }
    return JSONResponse(answer)


def _to_form(site: Site, request: Request, draft: Draft, checked: Checked) -> Response:
    form = None if checked.rule is None else form_of(checked.rule)
    if form is None:
        why = (
            "the form shows rules that can be read"
            if checked.rule is None
            else "names hold line breaks or end with \
spaces, which the form cannot show"
        )
        return editor(site, request, draft, checked, remarks=[f"stay with the text: {why}"], status_code=422)
    return editor(site, request, replace(draft, mode="form", form=form, text=""), checked)


def _resolved(site: Site, draft: Draft, in_force: RulesInForce, remarks: list[str]) -> Draft:
    """The draft with the largest functions of the preview's hours, for a rule that counts only these."""
    if draft.form is None:
        remarks.append("functions are found in the form; edit the rule there")
        return draft
    empty = replace(draft, form=draft.form | {"resolved": ""})
    rule = checked_draft(empty, in_force).rule
    if rule is None or rule.top_k is None:
        remarks.append("say how many functions in “Only the largest”, and mend what is marked; then they can be found")
        return empty
    hours = hours_of(site, draft.wanted)
    found = preview(site, rule.model_copy(update={"top_k": None}), in_force.config, hours, draft.wanted)
    names = largest_functions(found, rule.top_k)
    form = form_of(rule.model_copy(update={"resolved": names}))
    if not names or form is None:
        why = "none is meant by the rule in these hours" if not names else "their names hold line breaks"
        remarks.append(f"no functions were found: {why}")
        return empty
    remarks.append(f"{len(names)} functions were found in {found.jobs_read} of {found.jobs} jobs; save to keep them")
    return replace(draft, form=form)


def _any_rule(site: Site, name: str) -> Rule:
    in_force, _ = rules_now(site)
    for known in in_force.known:
        if known.name == name and known.rule is not None:
            return known.rule
    for rule_id, rule in other_forms(in_force.config):
        if name in (rule.name, rule_id):
            return rule
    raise HTTPException(404, f"there is no rule {name!r} to copy")
