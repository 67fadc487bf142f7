"""What Explore shows of an answer: rows of functions, values over time, drawings of call trees, a comparison.

Add what is drawn or counted for the page here; its routes are `page`'s. Values of levels are scaled to the mean
level, and those of an answer that does not stand on every job to all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from markupsafe import Markup

from pyro_assets.explore.call_tree import CallTree
from pyro_assets.explore.profiles import Explored
from pyro_assets.explore.views import WHOLE, Compared, callees, callers, compare
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import Line, time_chart
from pyro_assets.web.drawing.flame import Layout, amounts_of, change_colour, counts, icicle, lay_out, name_of
from pyro_assets.web.explore.asked import ExploreForm, full_selector
from pyro_assets.web.spans import Span

_GROUPS: Final = 5


@dataclass(frozen=True, slots=True)
class FunctionRow:
    """A function of the table; shares are of the total."""

    name: str
    own: float
    total: float
    own_share: float | None
    total_share: float | None
    rule: str
    around: str


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A function whose share (of which it is on the stack) was one thing and is another."""

    name: str
    first: float
    second: float
    around: str

    @property
    def change(self) -> float:
        """By how much it has changed."""
        return self.second - self.first


def flame(asked: ExploreForm, found: Explored) -> dict[str, Any]:
    """The flame graph with its way back; around one function, its callers and its callees."""
    if asked.around:
        return _around(asked, found)
    root, layout = zoomed(found, asked.at)
    tree = found.tree
    crumbs = [
        (name_of(tree, node), asked.address(at=at_of(tree, node), fragment="flame"))
        for node in [*tree.ancestors(root), root]
    ]
    return {
        "flame": icicle(
            tree, layout, search=asked.search, href=_zoom(asked, tree), zooms=True,
            said=amounts_of(tree, words.unit_of(asked.kind), scale=scale_of(found), root=root),
        ),
        "left_out": counts(layout),
        "crumbs": crumbs,
        "zoomed": _row(asked, found, tree.text(root), int(tree.own[root]), int(tree.total[root])) if root else None,
        "lost": bool(asked.at) and root == 0,
    }  # fmt: skip


def _around(asked: ExploreForm, found: Explored) -> dict[str, Any]:
    parts = {}
    for name, tree in (("callers", callers(found.tree, asked.around)), ("callees", callees(found.tree, asked.around))):
        said = amounts_of(tree, words.unit_of(asked.kind), scale=scale_of(found), whole=found.total)
        parts[name] = icicle(
            tree, lay_out(tree, 0), search=asked.search, root_name=words.visible(asked.around), said=said,
            href=_recentre(asked, tree), is_upside_down=name == "callers",
        )  # fmt: skip
    place = found.tree.names.index(asked.around) if asked.around in found.tree.names else None
    if place is None:
        return parts | {"row": None}
    return parts | {"row": _row(asked, found, asked.around, int(found.own[place]), int(found.totals[place]))}


def difference(asked: ExploreForm, found: Explored, baseline: Explored) -> dict[str, Any]:
    """Both call trees laid over each other, each by itself, and the functions whose share has changed most."""
    both = compare(baseline.tree, found.tree)
    root = (both.tree.find(int(asked.at, 16)) if asked.at else 0) or 0
    layout = lay_out(both.tree, root)
    sides = [
        icicle(
            one.tree, lay_out(one.tree, 0), search=asked.search, href=_recentre(asked, one.tree),
            said=amounts_of(one.tree, words.unit_of(asked.kind), scale=scale_of(one)),
        )
        for one in (baseline, found)
    ]  # fmt: skip
    return {
        "flame": icicle(
            both.tree, layout, search=asked.search, href=_zoom(asked, both.tree), said=_change_of(both), zooms=True,
            colour=lambda node: change_colour(int(both.first[node]), int(both.second[node])),
        ),
        "left_out": counts(layout),
        "crumbs": [
            (name_of(both.tree, node), asked.address(at=at_of(both.tree, node), fragment="flame"))
            for node in [*both.tree.ancestors(root), root]
        ],
        "sides": sides,
        "changes": _changes(asked, found, baseline),
    }  # fmt: skip


def _changes(asked: ExploreForm, found: Explored, baseline: Explored) -> list[ChangeRow]:
    shares: dict[str, list[float]] = {}
    for side, one in enumerate((baseline, found)):
        for name, total in zip(one.tree.names, one.totals.tolist(), strict=True):
            if asked.search.casefold() in name.casefold():
                shares.setdefault(name, [0.0, 0.0])[side] = total / one.total if one.total else 0.0
    rows = [
        ChangeRow(name, first, second, asked.address(around=name, at="", against="", fragment="flame"))
        for name, (first, second) in shares.items()
    ]
    rows.sort(key=lambda row: (-abs(row.change), row.name))
    return rows[: asked.rows]


def _change_of(both: Compared) -> Callable[[int], str]:
    def said(node: int) -> str:
        first, second = both.first[node] / WHOLE, both.second[node] / WHOLE
        return f"{words.share(first)} before, {words.share(second)} now, {words.change(second - first)}"

    return said


def zoomed(found: Explored, at: str) -> tuple[int, Layout]:
    """The node to zoom to, the root where there is none like it, and what is drawn."""
    root = (found.tree.find(int(at, 16)) if at else 0) or 0
    return root, lay_out(found.tree, root)


def at_of(tree: CallTree, node: int) -> str:
    """How addresses name a frame."""
    return f"{int(tree.path_id[node]):x}" if node else ""


def _zoom(asked: ExploreForm, tree: CallTree) -> Callable[[int], str]:
    return lambda node: asked.address(at=at_of(tree, node), fragment="flame")


def _recentre(asked: ExploreForm, tree: CallTree) -> Callable[[int], str]:
    return lambda node: asked.address(around=tree.text(node) or asked.around, at="", against="", fragment="flame")


def top_functions(asked: ExploreForm, found: Explored) -> tuple[list[tuple[str, int, int]], int]:
    """Names, own values and totals of the largest that contain the search text, and how many contain it."""
    names = found.tree.names
    text = asked.search.casefold()
    places = [place for place, name in enumerate(names) if text in name.casefold()]
    first, second = (found.own, found.totals) if asked.sort == "self" else (found.totals, found.own)
    places.sort(key=lambda place: (-int(first[place]), -int(second[place]), names[place]))
    top = [(names[place], int(found.own[place]), int(found.totals[place])) for place in places[: asked.rows]]
    return top, len(places)


def function_rows(asked: ExploreForm, found: Explored) -> dict[str, Any]:
    """The same for the page."""
    top, matching = top_functions(asked, found)
    return {"functions": [_row(asked, found, *one) for one in top], "matching": matching}


def _row(asked: ExploreForm, found: Explored, name: str, own: int, total: int) -> FunctionRow:
    whole, by = found.total, scale_of(found)
    own_share, total_share = (own / whole, total / whole) if whole else (None, None)
    amounts = (own, total) if by == 1 else (round(own * by), round(total * by))
    around = asked.address(around=name, at="", fragment="flame")
    return FunctionRow(name, *amounts, own_share, total_share, rule_address(asked, name), around)


def scale_of(found: Explored) -> float:
    """What sums over the jobs read are multiplied by: of levels, what makes them the mean level."""
    if found.is_gauge:
        return found.level / found.total if found.total else 1.0
    return found.jobs / found.jobs_read if found.jobs_read else 1.0


def rule_address(asked: ExploreForm, function: str) -> str:
    """Where a rule for a function is made."""
    pairs = [("function", function), ("selector", full_selector(asked))]
    pairs += [("tenant", asked.tenant), ("profile_type", asked.kind), ("last", asked.last), ("until", asked.until)]
    return "/rules/new?" + urlencode(pairs, errors="surrogatepass")


def mean_of(asked: ExploreForm, found: Explored, span: Span) -> tuple[float, str]:
    """What there was on average over the span, and its unit: cores, bytes, how often a second."""
    by, unit = words.rate_of(asked.kind, is_gauge=found.is_gauge)
    if found.is_gauge:
        return round(found.level), unit
    return found.total * scale_of(found) * by / (span.minutes * 60), unit


def over_time(asked: ExploreForm, found: Explored, span: Span, step_ms: int) -> Markup:
    """What there was over time, split by a label where one is chosen."""
    by, unit = words.rate_of(asked.kind, is_gauge=found.is_gauge)
    scale = 1.0 if found.is_gauge else by * scale_of(found)
    lines = []
    for name, values in found.timeline.split(asked.split, is_gauge=found.is_gauge, most=_GROUPS):
        points: list[tuple[int, float | None]] = []
        for begin_ms, value in sorted(values.items()):
            # Of the first and the last step only a part belongs to the span.
            own_ms = min(begin_ms + step_ms, span.end_ms) - max(begin_ms, span.begin_ms)
            points.append((begin_ms, value * scale / (1.0 if found.is_gauge else max(own_ms, 1) / 1000)))
        lines.append(Line(name or words.type_words(asked.kind), points))
    split = f" by {words.visible(asked.split)}" if asked.split else ""
    title = f"{words.type_words(asked.kind)}{split}, mean over {words.duration(step_ms / 1000)}"
    return time_chart(
        lines, title=title, begin_ms=span.begin_ms, end_ms=span.end_ms, unit=unit, kind="bars", bar_ms=step_ms,
        height=170,
    )  # fmt: skip
