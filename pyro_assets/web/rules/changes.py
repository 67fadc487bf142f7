"""Changes of saved rules in one step: switching on and off, deleting, restoring; and saving itself.

Add a change here that needs no editor. Every change names the version that somebody saw.
"""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.rules.in_force import check_text, read_body, rule_body, version_text
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleEdit, RuleVersion, StoredRules
from pyro_assets.web.rules.draft import seen_version
from pyro_assets.web.rules.listing import rules_now
from pyro_assets.web.site import Site
from pyro_assets.web.wire.requests import first, values_of


def routes(site: Site) -> list[Route]:
    """One button each, on the page of the rule."""

    def switch(request: Request) -> Response:
        name, fields = request.path_params["name"], values_of(request)
        enabled = first(fields, "enabled") == "on"
        rule = read_body(name, stored_version(site, name).body).model_copy(update={"enabled": enabled})
        why = first(fields, "why") or ("switched on" if enabled else "switched off")
        made = save_rule(site, rule, seen_version(fields), author=request.state.user, why=why)
        return RedirectResponse(f"/rules/show/{name}?saved={made.version}", 303)

    def delete(request: Request) -> Response:
        name, fields = request.path_params["name"], values_of(request)
        why = first(fields, "why").strip()
        if not why:
            raise HTTPException(422, f"say why {name} is deleted: people will look for the reason in its history")
        delete_rule(site, name, seen_version(fields), author=request.state.user, why=why)
        return RedirectResponse(f"/rules/show/{name}?saved=deleted", 303)

    def restore(request: Request) -> Response:
        name, fields = request.path_params["name"], values_of(request)
        number = first(fields, "version")
        if not number.isdecimal():
            raise HTTPException(422, "say which version to restore")
        made = restore_rule(
            site, name, int(number), seen_version(fields), author=request.state.user, why=first(fields, "why")
        )
        return RedirectResponse(f"/rules/show/{name}?saved={made.version}", 303)

    return [
        Route("/rules/switch/{name:path}", switch, methods=["POST"]),
        Route("/rules/delete/{name:path}", delete, methods=["POST"]),
        Route("/rules/restore/{name:path}", restore, methods=["POST"]),
    ]


def save_rule(site: Site, rule: Rule, seen_version: int, *, author: str, why: str) -> RuleVersion:
    """Saves a rule that was checked.

    Raises:
        StaleRule: somebody saved another version meanwhile.
    """
    return _edit(site, RuleEdit(rule.name, rule_body(rule), seen_version), author, why)


def delete_rule(site: Site, name: str, seen_version: int, *, author: str, why: str) -> RuleVersion:
    """Deletes a rule; its history stays, and ends with the version that is returned.

    Raises:
        StaleRule: somebody saved another version meanwhile.
    """
    return _edit(site, RuleEdit(name, None, seen_version), author, why)


def restore_rule(site: Site, name: str, version: int, seen_version: int, *, author: str, why: str) -> RuleVersion:
    """Makes an older version the newest one.

    Raises:
        HTTPException: there is no such version, or it would not work beside today's rules.
        StaleRule: somebody saved another version meanwhile.
    """
    wanted = next((one for one in StoredRules(site.app.ledger).rule_history(name) if one.version == version), None)
    if wanted is None:
        raise HTTPException(404, f"rule {name!r} has no version {version}")
    checked = check_text(version_text(wanted), rules_now(site)[0])
    if checked.rule is None or checked.problems:
        reasons = "\n".join(f"{one.field}: {one.why}" for one in checked.problems)
        raise HTTPException(422, f"version {version} of {name} does not work with today's rules:\n{reasons}")
    why = why.strip() or f"version {version} restored"
    return save_rule(site, checked.rule, seen_version, author=author, why=why)


def stored_version(site: Site, name: str) -> RuleVersion:
    """The ledger's newest version of a rule that exists.

    Raises:
        HTTPException: there is none.
    """
    found = next((one for one in StoredRules(site.app.ledger).rules() if one.name == name), None)
    if found is None:
        raise HTTPException(404, f"the ledger has no rule {name!r}; it may have been deleted: see /rules/show/{name}")
    return found


def _edit(site: Site, edit: RuleEdit, author: str, why: str) -> RuleVersion:
    [made] = StoredRules(site.app.ledger).edit_rules([edit], author=author, why=why.strip(), now_ms=site.clock())
    return made
