"""Every command that a message, a document or an alert names is one that the real parser takes."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from pyro_assets.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent.parent
#: A mention ends where the sentence around it goes on; in backticks it may have any words.
_QUOTED = re.compile(r"`(?:[\w./]*/)?pyro-assets ([^`\n]+)`|^ +(?:[\w./]*/)?pyro-assets ([^#\n]+)", re.MULTILINE)
_BARE = re.compile(r"(?<![`\w/.-])pyro-assets ((?:[a-z-]+ ?|--[a-z-]+ ?|[A-Z]+ ?|\{\w+\} ?)+)")
_DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "resources").rglob("*.md"), *(ROOT / "pyro_assets").rglob("*.md")]
_TEXTS = [*_DOCUMENTS, *(ROOT / "resources").rglob("*.yaml"), *(ROOT / "resources").rglob("*.json")]


def strings(source: str) -> Iterator[str]:
    """All texts of a module, with X for what is put into them (of options, too)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "X" for part in node.values)


def mentions(text: str) -> Iterator[str]:
    """What follows "pyro-assets" wherever a command is named."""
    joined = re.sub(r"\\\n *", " ", text)
    for match in _QUOTED.finditer(joined):
        yield match[1] or match[2]
    for match in _BARE.finditer(_QUOTED.sub("", joined)):
        if match[1].split()[0] in COMMANDS:
            yield match[1]


def named() -> Iterator[tuple[str, str]]:
    """Where a command is named, and it."""
    for path in _TEXTS:
        yield from ((str(path.relative_to(ROOT)), one) for one in mentions(path.read_text("utf-8")))
    for folder in ("pyro_assets", "resources"):
        for path in (ROOT / folder).rglob("*.py"):
            for text in strings(path.read_text("utf-8")):
                yield from ((str(path.relative_to(ROOT)), one) for one in mentions(text))


def why_refused(mention: str) -> str:
    """What the parser says against a command as it is named; "" where it takes it."""
    words = [word.rstrip(".,;:…") for word in shlex.split(mention.replace("'", " ").split("|")[0]) if word != "…"]
    command: click.Command = main
    context = click.Context(command, info_name="pyro-assets")
    while isinstance(command, click.Group) and words:
        name = words.pop(0)
        if name.startswith("-"):
            return ""  # an option of the group itself
        found = command.get_command(context, name)
        if found is None:
            return f"no command {name!r}"
        command, context = found, click.Context(found, info_name=name, parent=context)
    if isinstance(command, click.Group):
        return ""
    known = {text: option for option in command.params for text in (*option.opts, *option.secondary_opts)}
    takes = any(isinstance(option, click.Argument) for option in command.params)
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            name, has_value, _ = word.partition("=")
            option = known.get(name)
            if name not in ("--help", "-h") and option is None:
                return f"no option {name!r}"
            if isinstance(option, click.Option) and not option.is_flag and not has_value:
                # "--from --to" names two options, each with the value that a person knows.
                words = words[1:] if words and not words[0].startswith("-") else words
        elif not takes and word != "X" and (word.isupper() or "/" in word):
            return f"no argument {word!r}"
        elif not takes:
            return ""  # the sentence goes on
    return ""


def test_every_command_that_is_named_is_one():
    found = list(named())
    assert len(found) > 60
    wrong = {f"{where}: pyro-assets {one.strip()}: {why}" for where, one in found if (why := why_refused(one))}
    assert not wrong, "\n" + "\n".join(sorted(wrong))


@pytest.mark.parametrize(
    ("mention", "why"),
    [
        ("receivers check --receiver local", "no option '--receiver'"),
        ("quarantine repair KEY", "no command 'repair'"),
        ("reconsile", "no command 'reconsile'"),
        ("doctor KEY", "no argument 'KEY'"),
        ("rebuild-ledger --from --to", ""),
        ("quarantine retry KEY", ""),
        ("export --format openmetrics --from 2026-10-01 --to 2026-11-01 --out files", ""),
    ],
)
def test_what_the_parser_does_not_take_is_found(mention: str, why: str):
    assert why_refused(mention) == why


def test_mentions_are_found_in_texts_of_any_kind():
    text = (
        "Call pyro-assets receivers check --receiver X; then `pyro-assets doctor`.\n    pyro-assets run --rule a  # all"
    )
    assert [one.strip() for one in mentions(text)] == ["doctor", "run --rule a", "receivers check --receiver X"]
