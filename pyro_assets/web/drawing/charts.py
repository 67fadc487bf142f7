"""Charts as SVG made on the server: values over time, with axes, units and the same numbers as a table.

Add a kind of chart here when two pages need it. Colours come from classes of style.css, and everything else from
presentation attributes, since the pages' policy allows no inline style; there is no script. What values mean is not
known here.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import floor, log10
from typing import Final, Literal

from markupsafe import Markup, escape

from pyro_assets.web import words

#: The drawing's own units; it is as wide as the page allows.
_WIDTH: Final = 880
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 12, 10, 26
#: Lines have one of so many colours (classes line-0 ...).
COLOURS: Final = 6
_TICKS: Final = 5
_MOST_TIME_TICKS: Final = 7
#: Steps between marks of time, in seconds.
_TIME_STEPS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_MOST_ROWS: Final = 500


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or one set of bars.

    Attributes:
        name: for the legend and the table.
        points: (Unix milliseconds, value), by time; None leaves a gap.
    """

    name: str
    points: Sequence[tuple[int, float | None]]


def time_chart(
    lines: Sequence[Line],
    *,
    title: str,
    begin_ms: int,
    end_ms: int,
    unit: str = "",
    kind: Literal["line", "bars"] = "line",
    height: int = 200,
    bar_ms: int = 0,
    width: int = _WIDTH,
) -> Markup:
    """Values over time, as a figure with its table.

    Args:
        lines: drawn over each other; bars stand on each other.
        title: what is shown, in words; read out instead of the drawing.
        begin_ms: where the axis begins.
        end_ms: where it ends.
        unit: of the values, as `words.amount` knows it.
        kind: "line", or "bars", each from its point's time on.
        height: in the drawing's units, of which a line of text takes 12.
        bar_ms: width of a bar.
        width: in the same units; a drawing that has little room wants few, as it is as wide as its room.

    Returns:
        `<figure class="chart">`: an SVG, a legend where there are several lines, and a table in <details>. Times are
        UTC. Without a value it says so.
    """
    values = [value for line in lines for _, value in line.points if value is not None]
    if not values:
        return Markup('<figure class="chart"><p class="empty">{}: no values in this time.</p></figure>').format(title)
    tops = [sum(stack) for stack in _stacks(lines).values()] if kind == "bars" else values
    low, high, step = _scale(min(0.0, *values), max(0.0, *tops), words.seconds_of(unit))
    plot = _Plot(begin_ms, max(end_ms, begin_ms + 1), low, high, height, width)
    if kind == "bars":
        parts = [*_bars(plot, lines, unit, bar_ms)]
    else:
        parts = [_line(plot, line, number, unit) for number, line in enumerate(lines)]
    # Values of the axis may reach into the drawing where there is little room: they are over it.
    parts += [_value_axis(plot, step, unit), _time_axis(plot)]
    reach = f"between {words.amount(min(values), unit)} and {words.amount(max(values), unit)}"
    words_of = f"{title}. From {words.time(begin_ms)} to {words.time(end_ms)} UTC, {reach}."
    drawing = Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Chart: {}"><svg class="drawing" viewBox="0 0 {} {}"'
        ' role="img" aria-label="{}" font-size="12" data-begin="{}" data-end="{}" data-left="{}" data-right="{}"'
        ' xmlns="http://www.w3.org/2000/svg">{}</svg></div>'
    ).format(title, width, height, words_of, begin_ms, end_ms, _LEFT, width - _RIGHT, Markup("").join(parts))
    return Markup('<figure class="chart"><figcaption>{}</figcaption>{}{}{}</figure>').format(
        words.breaks(title), drawing, _legend(lines), _table(lines, unit)
    )


@dataclass(frozen=True, slots=True)
class _Plot:
    """The axes: where a time and a value are drawn."""

    begin_ms: int
    end_ms: int
    low: float
    high: float
    height: int
    width: int

    def x(self, time_ms: float) -> float:
        """Where a time is, kept inside."""
        part = (time_ms - self.begin_ms) / (self.end_ms - self.begin_ms)
        return round(_LEFT + min(1.0, max(0.0, part)) * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        """Where a value is."""
        part = (value - self.low) / (self.high - self.low)
        return round(self.height - _BOTTOM - part * (self.height - _TOP - _BOTTOM), 1)


def _scale(low: float, high: float, seconds: float = 0.0) -> tuple[float, float, float]:
    """Ends of an axis that are whole steps, and the step: 1, 2 or 5 of a power of ten, or a length people count in.

    Args:
        low: smallest value.
        high: largest value.
        seconds: what 1 means, 0 where values are no times.

    >>> _scale(0.0, 93.0), _scale(0.0, 0.0), _scale(0.0, 800.0, 1.0)
    ((0.0, 100.0, 20.0), (0.0, 1.0, 0.5), (0.0, 900.0, 300.0))
    """
    if low == high:
        return low, low + 1.0, 0.5
    raw = (high - low) / _TICKS
    power = 10.0 ** floor(log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    if seconds and 10 < raw * seconds < _TIME_STEPS[-1]:
        step = next(one for one in _TIME_STEPS if one >= raw * seconds * 0.999) / seconds
    first, last = floor(low / step), -floor(-high / step)
    return first * step, last * step, step


def _value_axis(plot: _Plot, step: float, unit: str) -> Markup:
    parts = []
    for number in range(round((plot.high - plot.low) / step) + 1):
        value = plot.low + number * step
        y = plot.y(value)
        parts.append(
            Markup(
                '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.15"/>'
                '<text x="{}" y="{}" text-anchor="end" fill="currentColor">{}</text>'
            ).format(_LEFT, plot.width - _RIGHT, y, y, _LEFT - 6, y + 4, words.amount(value, unit))
        )
    return Markup("").join(parts)


def _time_axis(plot: _Plot) -> Markup:
    seconds = (plot.end_ms - plot.begin_ms) / 1000
    most = _MOST_TIME_TICKS * plot.width // _WIDTH
    days = -(-seconds // (most * 86400)) or 1
    step = next((one for one in _TIME_STEPS if seconds / one <= most), int(days) * 86400)
    form = "%m-%d" if step >= 86400 else "%m-%d %H:%M" if seconds > 86400 else "%H:%M" if step >= 60 else "%H:%M:%S"
    parts = []
    first = -(-plot.begin_ms // (step * 1000)) * step
    for moment in range(first, plot.end_ms // 1000 + 1, step):
        x = plot.x(moment * 1000)
        anchor = "end" if x > plot.width - 30 else "middle"
        parts.append(
            Markup(
                '<line class="tick" x1="{}" x2="{}" y1="{}" y2="{}" stroke="currentColor" stroke-opacity="0.4"/>'
                '<text x="{}" y="{}" text-anchor="{}" fill="currentColor">{}</text>'
            ).format(
                x, x, plot.height - _BOTTOM, plot.height - _BOTTOM + 4, x, plot.height - _BOTTOM + 17, anchor,
                datetime.fromtimestamp(moment, UTC).strftime(form),
            )
        )  # fmt: skip
    return Markup("").join(parts)


def _line(plot: _Plot, line: Line, number: int, unit: str) -> Markup:
    runs: list[list[str]] = [[]]
    dots = []
    for time_ms, value in line.points:
        if value is None:
            runs.append([])
            continue
        x, y = plot.x(time_ms), plot.y(value)
        runs[-1].append(f"{x},{y}")
        dots.append(
            Markup('<circle cx="{}" cy="{}" r="2.5">{}</circle>').format(x, y, _title(line, time_ms, value, unit))
        )
    strokes = [
        Markup('<polyline points="{}" fill="none" stroke-width="1.5" stroke-linejoin="round"/>').format(" ".join(run))
        for run in runs
        if len(run) > 1
    ]
    return Markup('<g class="line line-{}">{}{}</g>').format(
        number % COLOURS, Markup("").join(strokes), Markup("").join(dots)
    )


def _stacks(lines: Sequence[Line]) -> dict[int, list[float]]:
    """Time -> the values that stand on each other."""
    found: dict[int, list[float]] = {}
    for line in lines:
        for time_ms, value in line.points:
            if value is not None:
                found.setdefault(time_ms, []).append(value)
    return found


def _bars(plot: _Plot, lines: Sequence[Line], unit: str, bar_ms: int) -> list[Markup]:
    """Bars on each other, the first at the bottom."""
    tops: dict[int, float] = {}
    groups = []
    for number, line in enumerate(lines):
        parts = []
        for time_ms, value in line.points:
            if value is None:
                continue
            below = tops.get(time_ms, 0.0)
            tops[time_ms] = below + value
            x, end = plot.x(time_ms), plot.x(time_ms + max(bar_ms, 1))
            top, bottom = sorted((plot.y(below + value), plot.y(below)))
            parts.append(
                Markup('<rect x="{}" y="{}" width="{}" height="{}">{}</rect>').format(
                    x, top, round(max(1.0, end - x - 1), 1), round(max(0.5, bottom - top), 1),
                    _title(line, time_ms, value, unit),
                )
            )  # fmt: skip
        groups.append(Markup('<g class="bars line-{}">{}</g>').format(number % COLOURS, Markup("").join(parts)))
    return groups


def _title(line: Line, time_ms: int, value: float, unit: str) -> Markup:
    text = f"{words.visible(line.name)}, {words.time(time_ms)} UTC: {words.amount(value, unit)}"
    return Markup("<title>{}</title>").format(text)


def _legend(lines: Sequence[Line]) -> Markup:
    if len(lines) < 2:
        return Markup("")
    parts = [
        Markup(
            '<li><svg class="key" viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">'
            '<g class="line line-{}"><circle cx="5" cy="5" r="5"/></g></svg> <bdi>{}</bdi></li>'
        ).format(number % COLOURS, words.visible(line.name))
        for number, line in enumerate(lines)
    ]
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(parts))


def _table(lines: Sequence[Line], unit: str) -> Markup:
    times = sorted({time_ms for line in lines for time_ms, _ in line.points})
    shown = times[:_MOST_ROWS]
    columns = [dict(line.points) for line in lines]
    head = Markup("").join(
        Markup('<th scope="col"><bdi>{}</bdi></th>').format(words.visible(line.name)) for line in lines
    )
    rows = [
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            words.time(moment),
            Markup("").join(
                Markup('<td class="number">{}</td>').format(words.amount(one.get(moment), unit)) for one in columns
            ),
        )
        for moment in shown
    ]
    more = Markup("<p>{} more are not shown.</p>").format(len(times) - len(shown)) if len(times) > len(shown) else ""
    return Markup(
        '<details><summary>The same as a table</summary><div class="scroll"><table><thead><tr>'
        '<th scope="col">time (UTC)</th>{}</tr></thead><tbody>{}</tbody></table></div>{}</details>'
    ).format(head, Markup("").join(rows), more)


def bin_times(begin_ms: int, end_ms: int, bins: int = 120) -> tuple[int, list[int]]:
    """A width of bins that people count in, and where they begin.

    Args:
        begin_ms: included.
        end_ms: excluded.
        bins: at most about so many.

    >>> bin_times(0, 3_600_000, 60)[0], len(bin_times(0, 3_600_000, 60)[1]), bin_times(0, 3_599_999, 1)
    (60000, 60, (3600000, [0]))
    """
    seconds = max(1, -(-(end_ms - begin_ms) // 1000))
    place = bisect_left([one * bins for one in _TIME_STEPS], seconds)
    width = _TIME_STEPS[place] if place < len(_TIME_STEPS) else -(-seconds // (bins * 86400)) * 86400
    first = begin_ms // (width * 1000) * width * 1000
    return width * 1000, list(range(first, end_ms, width * 1000))


def spark(points: Sequence[tuple[int, float | None]], begin_ms: int, end_ms: int, bar_ms: int, unit: str) -> Markup:
    """Values over time as small bars without axes, for a row of a table; what they reach is said in words."""
    values = [value for _, value in points if value is not None]
    if not values or end_ms <= begin_ms:
        return Markup("")
    most, by = max(values) or 1.0, 100 / (end_ms - begin_ms)
    bars = [
        Markup('<rect x="{}" y="{}" width="{}" height="{}"/>').format(
            round(max(0.0, (time_ms - begin_ms) * by), 2), round(20 - max(0.5, 19 * value / most), 2),
            round(max(0.6, bar_ms * by - 0.5), 2), round(max(0.5, 19 * value / most), 2),
        )
        for time_ms, value in points
        if value is not None
    ]  # fmt: skip
    return Markup(
        '<svg class="spark" viewBox="0 0 100 20" preserveAspectRatio="none" width="120" height="22" role="img"'
        ' aria-label="up to {}" xmlns="http://www.w3.org/2000/svg">{}</svg>'
    ).format(words.amount(max(values), unit), Markup("").join(bars))


def bar_share(part: float | None) -> Markup:
    """A share, 0 to 1, as a small bar beside its number; for cells of tables."""
    if part is None:
        return Markup("")
    return Markup(
        '<svg class="share" viewBox="0 0 100 10" preserveAspectRatio="none" width="60" height="8" aria-hidden="true">'
        '<rect class="share-all" width="100" height="10" fill="currentColor" fill-opacity="0.12"/>'
        '<rect class="share-part" width="{}" height="10"/></svg>'
    ).format(escape(round(100 * min(1.0, max(0.0, part)), 2)))
