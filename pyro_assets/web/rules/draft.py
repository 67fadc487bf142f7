"""A rule as somebody is writing it: what the editor's form carries, as a form or as text, and everything wrong with it.

Add here what an edit has beside the rule itself; the fields of the form are `rule_form`'s.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pyro_assets.rules.choice import rules_text
from pyro_assets.rules.in_force import Checked, Problem, RulesInForce, check_text, check_value
from pyro_assets.rules.language import Rule
from pyro_assets.web.rules.form import Form, form_of, read_form, value_of
from pyro_assets.web.rules.preview import PreviewForm, read_wanted
from pyro_assets.web.wire.requests import first


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule as somebody is writing it.

    Attributes:
        mode: "form", or "text" for everything that the language has.
        form, text: what is written, of the mode; form is None where it cannot hold the rule.
        original: name of the rule that is changed, "" for a new one.
        seen_version: the version it was made from, 0 for none.
        why: for the history.
        wanted: what a preview looks at.
    """

    mode: str
    form: Form | None
    text: str = ""
    original: str = ""
    seen_version: int = 0
    why: str = ""
    wanted: PreviewForm = field(default_factory=PreviewForm)


def read_draft(fields: Mapping[str, Sequence[str]]) -> tuple[Draft, list[str]]:
    """What the editor's form carries, and what is wrong with the options of its preview."""
    wanted, problems = read_wanted(fields)
    mode = "text" if first(fields, "mode") == "text" else "form"
    draft = Draft(
        mode,
        read_form(fields) if mode == "form" else None,
        first(fields, "text").replace("\r\n", "\n"),
        first(fields, "original"),
        seen_version(fields),
        first(fields, "why"),
        wanted,
    )
    return draft, problems


def checked_draft(draft: Draft, in_force: RulesInForce) -> Checked:
    """The draft's rule with everything that is wrong with it."""
    if draft.form is not None and draft.mode == "form":
        checked = check_value(value_of(draft.form), in_force)
    else:
        checked = check_text(draft.text, in_force)
    rule = checked.rule
    if rule is not None and draft.original and rule.name != draft.original:
        why = f"a saved rule keeps its name, {draft.original}; make a copy to have another one"
        return replace(checked, problems=(*checked.problems, Problem("name", why)))
    taken = (
        rule is not None
        and not draft.original
        and any(known.name == rule.name and known.origin == "ledger" for known in in_force.known)
    )
    if rule is not None and taken and not draft.seen_version:
        why = f"there is a rule {rule.name} already; edit that one, or choose another name"
        return replace(checked, problems=(*checked.problems, Problem("name", why)))
    return checked


def as_text(draft: Draft, in_force: RulesInForce) -> Draft:
    """The draft as text; what the form says wrongly stays as it was said."""
    if draft.form is None or draft.mode == "text":
        return draft
    checked = checked_draft(draft, in_force)
    if checked.rule is not None:
        text = rules_text([checked.rule])
    else:
        text = plain_text(value_of(draft.form) | ({} if draft.form["functions"].strip() else {"functions": []}))
    return replace(draft, mode="text", text=text, form=None)


def plain_text(value: Mapping[str, Any]) -> str:
    """Values that are no rule yet, in the way of a file."""
    lines = [f"{name}: {json.dumps(inner, ensure_ascii=False)}" for name, inner in value.items()]
    return "rules:\n- " + "\n  ".join(lines) + "\n"


def draft_of(rule: Rule) -> Draft:
    """A rule as the form shows it, or as text where the form cannot."""
    form = form_of(rule)
    return Draft("text", None, rules_text([rule])) if form is None else Draft("form", form)


def seen_version(fields: Mapping[str, Sequence[str]]) -> int:
    """The version that an edit was made from, 0 for none."""
    text = first(fields, "seen_version")
    return int(text) if text.isdecimal() and len(text) < 10 else 0
