"""How commands show things: tables of text, JSON, sizes and times for people.

Add a formatter when a second command needs it. Results go to stdout; progress and failures to stderr.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import click

from pyro_assets.storage.shown import show_bytes
from pyro_assets.web.words import visible

#: No text is cut to less.
_LEAST: Final = 10


def is_terminal(stream: Any = None) -> bool:
    """Whether a person sees the stream (stdout unless another is given)."""
    stream = sys.stdout if stream is None else stream
    return bool(getattr(stream, "isatty", lambda: False)())


def table(header: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None) -> str:
    """Columns side by side, numbers to the right.

    With a width, texts are cut so that lines are not longer, the longest first; where that is not enough, each row
    becomes lines of its own.

    >>> print(table(["name", "n"], [["a", 1], ["bcdef", 1000]]))
    name       n
    -----  -----
    a          1
    bcdef  1,000
    """
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(right for _, right in column) for column in zip(*cells, strict=True)] or [False] * len(header)
    texts = [list(header), *([text for text, _ in row] for row in cells)]
    widths = [max(len(text) for text in column) for column in zip(*texts, strict=True)]
    if width is not None and sum(widths) + 2 * len(widths) - 2 > width:
        widths = _cut(
            widths, [0 if right else max(len(name), _LEAST) for name, right in zip(header, numeric, strict=True)], width
        )
        if sum(widths) + 2 * len(widths) - 2 > width:
            return _records(header, texts[1:])
        texts = [[_shortened(text, most) for text, most in zip(row, widths, strict=True)] for row in texts]
    lines = [_line(texts[0], widths, numeric), "  ".join("-" * width for width in widths)]
    lines.extend(_line(row, widths, numeric) for row in texts[1:])
    return "\n".join(lines)


def _cut(widths: Sequence[int], least: Sequence[int], width: int) -> list[int]:
    """Narrower columns: the widest texts give way first, numbers (least 0) never."""
    cut = list(widths)
    for _ in range(sum(cut) + 2 * len(cut) - 2 - width):
        give = [(size, number) for number, size in enumerate(cut) if least[number] and size > least[number]]
        if not give:
            break
        cut[max(give)[1]] -= 1
    return cut


def _shortened(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _records(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Each row as lines of name and value, with a blank line between."""
    width = max(map(len, header))
    lines: list[str] = []
    for row in rows:
        lines += [f"{name.ljust(width)}  {text}".rstrip() for name, text in zip(header, row, strict=True)]
        lines.append("")
    return "\n".join(lines[:-1])


def _line(texts: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    columns = zip(texts, widths, numeric, strict=True)
    return "  ".join(text.rjust(width) if right else text.ljust(width) for text, width, right in columns).rstrip()


def _cell(value: object) -> tuple[str, bool]:
    """A value as text, and whether it is a number (or nothing)."""
    if value is None:
        return "", True
    if isinstance(value, bool):
        return ("yes" if value else "no"), False
    if isinstance(value, int):
        return f"{value:,}", True
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip("."), True
    # Names are other people's: they must not move the cursor, or turn the text beside them.
    return visible(str(value)), False


def show_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Prints a table on stdout, as wide as the terminal where there is one."""
    width = shutil.get_terminal_size().columns if is_terminal() else None
    click.echo(table(header, rows, width))


def show_json(value: Any, *, indent: int | None = 2) -> None:
    """Prints JSON on stdout; bytes become text, those that are not UTF-8 with escapes."""
    click.echo(json.dumps(value, indent=indent, ensure_ascii=False, default=_plain))


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return show_bytes(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def size_text(size_bytes: int) -> str:
    """A size for people.

    >>> size_text(999), size_text(22_528), size_text(7_340_032)
    ('999 B', '22.0 KiB', '7.0 MiB')
    """
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024 or unit == "GiB":
            break
        amount /= 1024
    return f"{size_bytes} B" if unit == "B" else f"{amount:.1f} {unit}"


def time_text(time_ms: int | None) -> str:
    """A time in Unix milliseconds for people, in UTC; the number itself where it is outside of years.

    >>> time_text(1795600274692)
    '2026-11-25 09:51:14.692'
    """
    if time_ms is None:
        return ""
    try:
        return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (OverflowError, OSError, ValueError):
        return str(time_ms)


class Bar:
    """A progress bar on stderr; silent where no person looks."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: Any = None
        self._shown = is_terminal(sys.stderr)

    def update(self, done: int, total: int) -> None:
        """Tells how far the work is."""
        if not self._shown:
            return
        if self._bar is None:
            self._bar = click.progressbar(length=total, label=self._label, file=sys.stderr, show_pos=True)
            self._bar.render_progress()
        self._bar.length = max(total, 1)
        self._bar.update(done - self._bar.pos)

    def finish(self) -> None:
        """Ends the line of the bar."""
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None


@contextmanager
def progress_bar(label: str) -> Iterator[Bar]:
    """A bar that is ended whatever happens."""
    bar = Bar(label)
    try:
        yield bar
    finally:
        bar.finish()
