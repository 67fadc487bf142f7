"""The documents as their readers take them: blocks of code with their marks, links, headings.

A block of bash has one of MARKS behind its language; a block of another kind may have the name of the file that readers
put it into. Commands of a document are carried out one after the other in one folder, by `Reader`.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.forks import Forks

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "resources" / "docs"
#: All that people read; passports of data stand beside their data.
DOCUMENTS: Final = (
    ROOT / "README.md",
    *sorted(DOCS.rglob("*.md")),
    *sorted((ROOT / ".github").glob("*.md")),
    ROOT / "resources" / "deploy" / "README.md",
    ROOT / "pyro_assets" / "rules" / "RULES.md",
    ROOT / "pyro_assets" / "block" / "FORMAT.md",
)
#: run: carried out by every test run; server: a process that stays; service: needs one, or a program that may be
#: missing; parse: cannot be carried out in a test (another machine, a bucket, minutes), so it is only read.
MARKS: Final = ("run", "server", "service", "parse")
#: A document that begins with such a comment is about a project that is there.
PROJECT: Final = "<!-- project: an hour of made-up programs, 2026-11-25T09 -->"
_FENCE: Final = re.compile(r"^( *)```(\w+)(?: (\S+))?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_SHELL: Final = re.compile(r"[|&;<>$`=*]")


@dataclass(frozen=True)
class Block:
    """A block of code: its language, the word behind it, its text, and the line that it begins in."""

    language: str
    word: str
    text: str
    line: int


def name_of(path: Path) -> str:
    """A document as tests call it."""
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> list[Block]:
    """The blocks of a document."""
    text = path.read_text("utf-8")
    return [
        Block(match[2], match[3] or "", textwrap.dedent(match[4]), text.count("\n", 0, match.start()) + 1)
        for match in _FENCE.finditer(text)
    ]


def commands_in(text: str) -> Iterator[str]:
    """The commands of a block of bash, a line each, without comments."""
    waiting = ""
    for line in text.splitlines():
        waiting += line
        if waiting.endswith("\\"):
            waiting = waiting[:-1]
            continue
        try:
            words = shlex.split(waiting, comments=True)
        except ValueError:  # a quotation goes on
            waiting += "\n"
            continue
        if words:
            yield re.sub(r" +#.*", "", waiting).strip()
        waiting = ""


def slug(heading: str) -> str:
    """The anchor that a heading gets.

    >>> slug("`rate()`, or: What one profile is")
    'rate-or-what-one-profile-is'
    """
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@dataclass
class Reader:
    """Somebody who does what a document says, in a folder.

    Attributes:
        folder: where the commands begin.
        commands: where ours are carried out.
        ports: the port that a document names -> the one that is free here.
    """

    folder: Path
    commands: Forks
    ports: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        here = Path(sys.executable).parent
        self.environment = {
            "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "COLUMNS": "120",
        }

    def here(self, text: str) -> str:
        """A text with the ports of this machine."""
        for named, free in self.ports.items():
            text = text.replace(f":{named}", f":{free}").replace(f"--port {named}", f"--port {free}")
        return text

    def follow(self, block: Block) -> None:
        """Carries out a block, or puts it into its file."""
        text = self.here(block.text)
        if block.language == "bash":
            commands = list(commands_in(text))
            if all(one.startswith(("pyro-assets ", "cd ")) and not _SHELL.search(one) for one in commands):
                for one in commands:
                    self._at_once(shlex.split(one))
            else:
                self._by_bash(text)
        elif block.language == "python":
            with chdir(self.folder):
                exec(compile(text, "a document", "exec"), {})
        else:
            (self.folder / block.word).write_text(text, "utf-8")

    def _at_once(self, words: list[str]) -> None:
        """A command of ours without the second that a process takes to start."""
        if words[0] == "cd":
            self.folder = (self.folder / words[1]).resolve()
            return
        status, out, err = self.commands.run(self.folder, json.dumps(self.environment), *words[1:])
        assert status == 0, f"{shlex.join(words)}\n{out}{err}"

    def _by_bash(self, text: str) -> None:
        # As in a terminal: where it ends is where the next command begins, and `| head` is no failure.
        where = self.folder / ".pwd"
        script = f"set -eu\n{text}\npwd > {shlex.quote(str(where))}\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}"
        self.folder = Path(where.read_text().rstrip("\n"))
