"""The flame graph, as an icicle: callers above, callees below, as wide as their values; each frame is a link.

How a call tree is cut and laid out for a page belongs here, and its drawing. A link zooms to its frame, and what is
above it stays on top as the way back; `static/pages.js` does the same at once, and names what the pointer is on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from zlib import crc32

from markupsafe import Markup

from pyro_assets.explore.call_tree import CallTree
from pyro_assets.storage.shown import counted
from pyro_assets.web import words

_ROW: Final = 20
#: Narrower frames, as a share of the drawing, have no name in them.
_LEAST_NAMED: Final = 0.01
#: Frames have one of so many colours, by the package of their name (classes flame-0 ...).
COLOURS: Final = 6
#: So many levels below the frame that is zoomed to.
LEVELS: Final = 32
#: Narrower frames (of the frame that is zoomed to) are not drawn.
LEAST_SHARE: Final = 0.002
_MOST_FRAMES: Final = 4000


@dataclass(frozen=True, slots=True)
class Box:
    """A frame that is drawn.

    Attributes:
        node: of the tree.
        row: from the top.
        begin, end: 0 to 1.
        is_above: a caller of the frame that is zoomed to.
    """

    node: int
    row: int
    begin: float
    end: float
    is_above: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """What is drawn, and how many frames directly below drawn ones were left out as too small or too deep."""

    boxes: list[Box]
    too_small: int
    too_deep: int


def lay_out(tree: CallTree, root: int, *, levels: int = LEVELS, least_share: float = LEAST_SHARE) -> Layout:
    """Decide what is drawn of a tree: a frame, its callers, and what it calls.

    Args:
        tree: merged stacks.
        root: the node to zoom to.
        levels: so many below it at most.
        least_share: of the root's total; smaller frames are left out.
    """
    above = tree.ancestors(root)
    boxes = [Box(node, row, 0.0, 1.0, is_above=True) for row, node in enumerate(above)]
    whole = int(tree.total[root])
    boxes.append(Box(root, len(above), 0.0, 1.0))
    too_small = too_deep = 0
    place = len(boxes) - 1
    while place < len(boxes):
        box = boxes[place]
        place += 1
        below = tree.children(box.node).tolist()
        if box.row - len(above) >= levels:
            too_deep += len(below)
            continue
        begin = box.begin
        for node in below:
            share = int(tree.total[node]) / whole if whole else 0.0
            if share <= 0 or share < least_share or len(boxes) >= _MOST_FRAMES:
                too_small += 1
                continue
            # Negative siblings would push frames out of their caller.
            end = min(box.end, begin + share)
            boxes.append(Box(node, box.row + 1, begin, end))
            begin = end
    return Layout(boxes, too_small, too_deep)


def icicle(
    tree: CallTree,
    layout: Layout,
    *,
    href: Callable[[int], str],
    said: Callable[[int], str],
    colour: Callable[[int], str] | None = None,
    search: str = "",
    root_name: str = "all",
    is_upside_down: bool = False,
    zooms: bool = False,
) -> Markup:
    """Draw a layout: as wide as the page, whatever that is, with names cut by their frames.

    Args:
        tree: merged stacks.
        layout: of it.
        href: node -> address that choosing it leads to.
        said: node -> its figures in words.
        colour: node -> class of its colour; by package where nothing is given.
        search: frames whose name contains it (in any case) are marked.
        root_name: of node 0.
        is_upside_down: the root stands at the bottom.
        zooms: whether the addresses lead to the same drawing, zoomed.
    """
    rows = max((box.row for box in layout.boxes), default=0) + 1
    found = search.casefold()
    root = next((box.node for box in layout.boxes if not box.is_above), 0)
    frames = []
    for box in layout.boxes:
        text = tree.text(box.node)
        name = name_of(tree, box.node) if box.node else root_name
        classes = ["frame", (colour or partial(_package_colour, tree))(box.node)]
        classes += ["above"] * box.is_above + ["hit"] * bool(found and found in text.casefold())
        row = rows - 1 - box.row if is_upside_down else box.row
        label = Markup('<text x="4" y="14">{}</text>').format(name) if box.end - box.begin > _LEAST_NAMED else ""
        frames.append(
            Markup(
                '<a href="{}" class="{}"{}><svg x="{}%" y="{}" width="{}%" height="{}">'
                '<title>{}\n{}</title><rect width="100%" height="100%"/>{}</svg></a>'
            ).format(
                href(box.node), " ".join(classes), Markup(' aria-current="true"') if box.node == root else "",
                round(100 * box.begin, 3), row * _ROW, max(round(100 * (box.end - box.begin), 3), 0.05), _ROW,
                name, said(box.node), label,
            )
        )  # fmt: skip
    return Markup(
        '<div class="flame"{}><svg width="100%" height="{}" role="group" aria-label="{}" font-size="12"'
        ' xmlns="http://www.w3.org/2000/svg">{}</svg></div>'
    ).format(
        Markup(" data-zooms") if zooms else "",
        rows * _ROW,
        "Callers, the nearest at the bottom" if is_upside_down else "Flame graph: callers above, callees below",
        Markup("").join(frames),
    )


def amounts_of(
    tree: CallTree, unit: str, *, scale: float = 1.0, root: int = 0, whole: int | None = None
) -> Callable[[int], str]:
    """Says a node's total and own value, with shares.

    Args:
        tree: merged stacks.
        unit: of the values.
        scale: what values are multiplied by before they are shown.
        root: the node that is zoomed to.
        whole: what shares are of, the tree's total by default.
    """
    all_of_it = int(tree.total[0]) if whole is None else whole

    def amount(value: int) -> str:
        return words.amount(value if scale == 1 else round(value * scale), unit)

    def said(node: int) -> str:
        total, own = int(tree.total[node]), int(tree.own[node])
        parts = [f"{amount(total)}, {_share(total, all_of_it)} of all"]
        if root and tree.depth[node] > tree.depth[root]:
            parts.append(f"{_share(total, int(tree.total[root]))} of what is shown")
        if own:
            parts.append(f"self {amount(own)}, {_share(own, all_of_it)}")
        return "\n".join(parts)

    return said


def name_of(tree: CallTree, node: int) -> str:
    """A node's name for people, visible."""
    if node == 0:
        return "all"
    return words.visible(tree.text(node)) or "(no function)"


def change_colour(first: int, second: int) -> str:
    """The class of a frame whose share was one thing and is another.

    >>> change_colour(100, 101), change_colour(0, 5), change_colour(10, 4)
    ('change-same', 'change-more-3', 'change-less-2')
    """
    part = (second - first) / ((second + first) or 1)
    step = 1 + (abs(part) > 0.2) + (abs(part) > 0.6)
    return "change-same" if abs(part) < 0.03 else f"change-{'more' if part > 0 else 'less'}-{step}"


def _package_colour(tree: CallTree, node: int) -> str:
    return f"flame-{colour_of(tree.text(node))}" if tree.name[node] >= 0 else "flame-none"


def _share(part: int, whole: int) -> str:
    return words.share(part / whole) if whole else "–"


def colour_of(name: str) -> int:
    """The colour of a function: one for everything of a package.

    >>> colour_of("net/http.(*Server).Serve") == colour_of("net/http.Get") != colour_of("runtime.mallocgc")
    True
    """
    folder, slash, last = name.rpartition("/")
    package = folder + slash + last.partition(".")[0]
    return crc32(package.encode("utf-8", "surrogatepass")) % COLOURS


def counts(layout: Layout) -> Sequence[str]:
    """What was left out, in words."""
    said = []
    if layout.too_small:
        said.append(f"{counted(layout.too_small, 'frame')} narrower than {words.share(LEAST_SHARE)} not drawn")
    if layout.too_deep:
        said.append(f"{counted(layout.too_deep, 'frame')} deeper than {LEVELS} levels: zoom in to see them")
    return said
