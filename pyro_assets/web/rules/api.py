"""Rules for programs: the calls of the JSON API about them, with the version that an edit was made from as ETag.

Add a call here with its description. What a call does is done by the same functions as on the pages.
"""

import re
from dataclasses import asdict
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pyro_assets.errors import ConfigError, StaleRule
from pyro_assets.rules.choice import rule_value
from pyro_assets.rules.in_force import Checked, RulesInForce, check_text, check_value, read_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleVersion, StoredRules
from pyro_assets.web.rules.changes import delete_rule, restore_rule, save_rule, stored_version
from pyro_assets.web.rules.imports import read_import, save_import
from pyro_assets.web.rules.listing import list_rules, rules_now
from pyro_assets.web.rules.preview import MAX_HOURS, MAX_SECONDS, PreviewForm, hours_of, preview
from pyro_assets.web.site import Site
from pyro_assets.web.wire.endpoints import Endpoint, Parameter, json_answer
from pyro_assets.web.wire.requests import json_of, model_of

_STRICT: Final = ConfigDict(extra="forbid")
_STALE: Final = (
    (409, "the rule has another version than If-Match names; `current` is the newest one, `yours` what was sent"),
    (428, "If-Match is missing: the version that the edit was made from, or 0 for a new rule"),
)
_INVALID: Final = (422, "the rule is refused; `problems` has all reasons with their fields")
_MISSING: Final = (404, "there is no such rule")
_WHY: Final = Parameter("why", "for the history")


class RuleOrText(BaseModel):
    """A rule as values, or as the text of a file with one rule."""

    model_config = _STRICT

    rule: dict[str, Any] | None = Field(default=None, description="see the schema Rule")
    text: str | None = None


class PreviewRequest(RuleOrText):
    """A rule, or the name of one that is saved, and the hours to look at."""

    name: str | None = None
    hours: list[str] = Field(default=[], max_length=MAX_HOURS, description="empty: the last three that are over")
    tenants: list[str] = []
    seconds: float = Field(default=10.0, ge=0, le=MAX_SECONDS, description="no further job is read after this time")


class Restore(BaseModel):
    """Which version to bring back, and why."""

    model_config = _STRICT

    version: int = Field(ge=1)
    why: str = ""


class ImportRequest(BaseModel):
    """The text of a file: short forms, Pyroscope's recording rules, or rules of ours."""

    model_config = _STRICT

    text: str
    dry_run: bool = False
    why: str = ""


class VersionAnswer(BaseModel):
    """One version of a rule."""

    name: str
    version: int
    rule: Rule | None
    deleted: bool
    author: str
    why: str
    at_ms: int


class ProblemAnswer(BaseModel):
    """What is wrong, and where: the path of a field, and the line of a text."""

    field: str
    why: str
    line: int


class CheckedAnswer(BaseModel):
    """What is wrong with a rule; it may be saved when nothing is in `problems`."""

    rule: Rule | None
    problems: list[ProblemAnswer]
    warnings: list[ProblemAnswer]


def endpoints(site: Site) -> list[Endpoint]:
    """The calls about rules."""
    calls = _Calls(site)
    object_schema = {"type": "object"}
    return [
        Endpoint("GET", "/rules", calls.index, "All rules with their standing.", answer=object_schema),
        # Names may have slashes: what stands behind them is tried first.
        Endpoint("GET", "/rules/{name:path}/history", calls.history, "All versions of a rule, the newest first.",
                 answer={"type": "array", "items": {"$ref": "#/components/schemas/VersionAnswer"}}, errors=(_MISSING,)),
        Endpoint("POST", "/rules/{name:path}/restore", calls.restore, "Make an older version the newest one.",
                 (), Restore, VersionAnswer, (*_STALE, _INVALID, _MISSING)),
        Endpoint("GET", "/rules/{name:path}", calls.get, "The newest version of a rule; its number is the ETag.",
                 answer=VersionAnswer, errors=(_MISSING,)),
        Endpoint("PUT", "/rules/{name:path}", calls.put, "Save a rule; If-Match names the version it was made from.",
                 (_WHY,), Rule, VersionAnswer, (*_STALE, _INVALID)),
        Endpoint("DELETE", "/rules/{name:path}", calls.delete, "Delete a rule; its history stays.",
                 (Parameter("why", "for the history", required=True),), answer=VersionAnswer,
                 errors=(*_STALE, (422, "why is missing"))),
        Endpoint("POST", "/rules/validate", calls.validate, "Check a rule beside those in force; nothing is saved.",
                 (), RuleOrText, CheckedAnswer),
        Endpoint("POST", "/rules/preview", calls.preview, "What a rule would give over past hours; nothing is saved.",
                 (), PreviewRequest, object_schema, (_INVALID, _MISSING)),
        Endpoint("POST", "/rules/import", calls.bring, "Save many rules of a text, all or none.",
                 (), ImportRequest, object_schema, (_INVALID, (409, "somebody changed one of them meanwhile"))),
    ]  # fmt: skip


class _Calls:
    def __init__(self, site: Site) -> None:
        self._site = site

    def index(self, _: Request) -> Any:
        return asdict(list_rules(self._site, *rules_now(self._site)))

    def get(self, request: Request) -> Response:
        return self._version(stored_version(self._site, request.path_params["name"]))

    def put(self, request: Request) -> Response:
        name, value, seen = request.path_params["name"], json_of(request), self._seen(request)
        if not isinstance(value, dict):
            raise HTTPException(400, "send one rule as a JSON object")
        if value.setdefault("name", name) != name:
            raise HTTPException(422, f"the rule is called {value['name']!r} and was sent to {name!r}")
        checked = check_value(value, rules_now(self._site)[0])
        if checked.rule is None or checked.problems:
            return _refused(checked)
        why = request.query_params.get("why", "")
        try:
            made = save_rule(self._site, checked.rule, seen, author=request.state.user, why=why)
        except StaleRule as error:
            return _stale(error, value)
        return self._version(made, 201 if made.version == 1 else 200)

    def delete(self, request: Request) -> Response:
        why = request.query_params.get("why", "").strip()
        if not why:
            raise HTTPException(422, "why is missing: ?why=... goes into the history")
        name, seen = request.path_params["name"], self._seen(request)
        try:
            made = delete_rule(self._site, name, seen, author=request.state.user, why=why)
        except StaleRule as error:
            return _stale(error, None)
        return self._version(made)

    def history(self, request: Request) -> Any:
        found = StoredRules(self._site.app.ledger).rule_history(request.path_params["name"])
        if not found:
            raise HTTPException(404, f"the ledger never had a rule {request.path_params['name']!r}")
        return [_shown(version) for version in found]

    def restore(self, request: Request) -> Response:
        wanted, seen = model_of(request, Restore), self._seen(request)
        name, author = request.path_params["name"], request.state.user
        try:
            made = restore_rule(self._site, name, wanted.version, seen, author=author, why=wanted.why)
        except StaleRule as error:
            return _stale(error, None)
        return self._version(made)

    def validate(self, request: Request) -> Any:
        return _checked(_check(model_of(request, RuleOrText), rules_now(self._site)[0]))

    def preview(self, request: Request) -> Response:
        wanted = model_of(request, PreviewRequest)
        in_force = rules_now(self._site)[0]
        if wanted.name is not None:
            rule = next((one.rule for one in in_force.known if one.name == wanted.name), None)
            if rule is None:
                raise HTTPException(404, f"there is no rule {wanted.name!r}")
        else:
            checked = _check(wanted, in_force)
            if checked.rule is None:
                return _refused(checked)
            rule = checked.rule
        options = PreviewForm(tenants=tuple(wanted.tenants), seconds=wanted.seconds)
        hours = wanted.hours or hours_of(self._site, options)
        found = preview(self._site, rule, in_force.config, hours, options)
        return json_answer(asdict(found) | {"is_exact": found.is_exact})

    def bring(self, request: Request) -> Response:
        wanted = model_of(request, ImportRequest)
        found = read_import(self._site, wanted.text)
        if found.problems:
            return JSONResponse({"error": "nothing was saved", "problems": found.problems}, 422)
        saved = 0
        if not wanted.dry_run:
            saved = save_import(self._site, found, author=request.state.user, why=wanted.why)
        changes = dict(found.plan.changes) if found.plan else {}
        rules = [rule_value(rule) for rule in found.rules]
        return json_answer({"rules": rules, "changes": changes, "saved": saved, "left_out": found.left_out})

    def _seen(self, request: Request) -> int:
        given = request.headers.get("if-match", "").strip()
        found = re.fullmatch(r'(?:W/)?"?([0-9]{1,9})"?', given)
        if found is None:
            raise HTTPException(
                428, 'send If-Match: "VERSION", the version the edit was made from, or "0" for a new rule'
            )
        return int(found[1])

    def _version(self, version: RuleVersion, status: int = 200) -> Response:
        answer = json_answer(_shown(version), status)
        answer.headers["ETag"] = f'"{version.version}"'
        return answer


def _check(wanted: RuleOrText, in_force: RulesInForce) -> Checked:
    if (wanted.rule is None) == (wanted.text is None):
        raise HTTPException(400, "send either `rule` or `text`")
    return check_value(wanted.rule, in_force) if wanted.rule is not None else check_text(wanted.text or "", in_force)


def _shown(version: RuleVersion) -> dict[str, Any]:
    try:
        rule: dict[str, Any] | None = rule_value(read_body(version.name, version.body))
    except ConfigError:
        rule = None
    fields = {name: getattr(version, name) for name in ("name", "version", "deleted", "author", "why", "at_ms")}
    return fields | {"rule": rule}


def _checked(checked: Checked) -> dict[str, Any]:
    return {
        "rule": None if checked.rule is None else rule_value(checked.rule),
        "problems": [asdict(one) for one in checked.problems],
        "warnings": [asdict(one) for one in checked.warnings],
    }


def _refused(checked: Checked) -> Response:
    return JSONResponse({"error": "the rule is refused; nothing was saved", **_checked(checked)}, 422)


def _stale(error: StaleRule, yours: Any) -> Response:
    current = _shown(error.current) if isinstance(error.current, RuleVersion) else None
    return json_answer({"error": str(error), "current": current, "yours": yours}, 409)
