"""The reference of the language of rules as a page: `rules/RULES.md`, whose every example is run by a test.

The text is the file's; only its few forms of Markdown are made HTML here: headings, paragraphs, code.
"""

import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.web.site import Site


@dataclass(frozen=True, slots=True)
class Part:
    """A heading, a paragraph, or a block of code, which is a rule or what comes of one."""

    kind: Literal["heading", "text", "code", "rule"]
    content: Markup


def parts_of(text: str) -> list[Part]:
    r"""The parts of a text.

    >>> [(part.kind, str(part.content)) for part in parts_of("# T\n\n## A\n\n`a<b`\nc\n\n```yaml\nx: 1\n```\n")]
    [('heading', 'A'), ('text', '<code>a&lt;b</code>\nc'), ('rule', 'x: 1')]
    """
    found: list[Part] = []
    for block in re.split(r"(^```\w*\n.*?\n```$)", text, flags=re.DOTALL | re.MULTILINE):
        found += _parts(block)
    return found


def _parts(block: str) -> list[Part]:
    code = re.fullmatch(r"```(\w*)\n(.*)\n```", block, re.DOTALL)
    if code:
        return [Part("rule" if code[1] == "yaml" else "code", escape(code[2]))]
    parts: list[Part] = []
    for paragraph in re.split(r"\n\s*\n", block.strip()):
        if paragraph.startswith("## "):
            parts.append(Part("heading", escape(paragraph[3:])))
        elif paragraph and not paragraph.startswith("# "):
            spans = re.split(r"`([^`]+)`", paragraph)
            inner = [
                Markup("<code>{}</code>").format(span) if at % 2 else escape(span) for at, span in enumerate(spans)
            ]
            parts.append(Part("text", Markup("").join(inner)))
    return parts


def routes(site: Site) -> list[Route]:
    """The page's route."""
    parts = parts_of(files("pyro_assets.rules").joinpath("RULES.md").read_text("utf-8"))

    def show(request: Request) -> Response:
        return site.page(request, "rule_language.html", parts=parts)

    return [Route("/rules/language", show, methods=["GET"])]
