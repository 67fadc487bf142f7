"""Hours as a heat map: a table of days by hours of the day, each cell a link that says in words what its colour says.

Colours are classes of style.css; what a state means is `monitoring.calendar`'s. A table, not a drawing: it is read
out, walked through by keyboard, and scrolls in its own box.
"""

from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from pyro_assets.monitoring.calendar import MEANINGS, Day, HourCell, HourState

#: What stands in a cell, so that nobody needs to tell colours apart.
_SIGNS: Final[dict[HourState, str]] = {
    "failed": "!",
    "pending": "…",
    "unsent": "↑",
    "running": "▸",
    "done": "",
    "nothing": "",
    "future": "",
}
#: Shades of hours that are done, by their jobs.
_SHADES: Final = 4


def heatmap(days: Sequence[Day], address: str) -> Markup:
    """The table and its legend.

    Args:
        days: the latest first.
        address: of an hour's page; its partition key is put behind it.
    """
    most = max((cell.jobs for day in days for cell in day.cells), default=0)
    head = Markup("").join(Markup('<th scope="col">{:02}</th>').format(number) for number in range(24))
    rows = [
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            day.date, Markup("").join(_cell(cell, most, address) for cell in day.cells)
        )
        for day in days
    ]
    table = Markup(
        '<div class="scroll calendar"><table><caption class="hidden">Hours (UTC) by day; each is a link to its details.'
        '</caption><thead><tr><th scope="col">day</th>{}</tr></thead><tbody>{}</tbody></table></div>'
    ).format(head, Markup("").join(rows))
    return table + _legend()


def _cell(cell: HourCell, most: int, address: str) -> Markup:
    if cell.state == "future":
        return Markup('<td class="hour future"></td>')
    shade = -(-cell.jobs * _SHADES // most) if most and cell.state == "done" else 0
    time = cell.hour[11:]
    words = f"{cell.hour[:10]} {time}: {cell.text}"
    return Markup(
        '<td class="hour {}{}"><a href="{}{}" title="{}"><span aria-hidden="true">{}</span>'
        '<span class="hidden">{}: {}</span></a></td>'
    ).format(
        cell.state,
        f" shade-{shade}" if shade else "",
        address,
        quote(cell.hour, safe=""),
        words,
        _SIGNS[cell.state],
        time,
        cell.text,
    )


def _legend() -> Markup:
    items = [
        Markup('<li><span class="hour key {}" aria-hidden="true">{}</span> {}</li>').format(
            f"{state} shade-3" if state == "done" else state, _SIGNS[state], meaning
        )
        for state, meaning in MEANINGS.items()
    ]
    return Markup('<ul class="hours-legend">{}</ul>').format(Markup("").join(items))
