"""The flame graph, as an icicle: callers above, callees below, as wide as their values; each frame is a link.

How a call tree is cut and laid out for a page belongs here, and its drawing. Without script: a link zooms to its
frame, and what is above it stays on top as the way back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from markupsafe import Markup

from pyro_assets.explore.call_tree import CallTree
from pyro_assets.web import words

_WIDTH: Final = 1000
_ROW: Final = 20
_CHARACTER: Final = 7.3
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
    unit: str,
    search: str = "",
    scale: float = 1.0,
) -> Markup:
    """Draw a layout.

    Args:
        tree: merged stacks.
        layout: of it.
        href: node -> address of the page that is zoomed to it.
        unit: of the values.
        search: frames whose name contains it (in any case) are marked.
        scale: what values are multiplied by before they are shown.
    """
    rows = max((box.row for box in layout.boxes), default=0) + 1
    found = search.casefold()
    root = next((box.node for box in layout.boxes if not box.is_above), 0)
    shown = _Shown(tree, root, href, unit, found, scale)
    frames = [_frame(shown, box) for box in layout.boxes]
    return Markup(
        '<div class="scroll flame"><svg viewBox="0 0 {} {}" role="group" aria-label="{}" font-size="12"'
        ' xmlns="http://www.w3.org/2000/svg">{}</svg></div>'
    ).format(_WIDTH, rows * _ROW, "Flame graph: callers above, callees below", Markup("").join(frames))


def name_of(tree: CallTree, node: int) -> str:
    """A node's name for people, visible."""
    if node == 0:
        return "all"
    return words.visible(tree.text(node)) or "(no function)"


@dataclass(frozen=True, slots=True)
class _Shown:
    """What all frames of a drawing have in common; see `icicle`."""

    tree: CallTree
    root: int
    href: Callable[[int], str]
    unit: str
    found: str
    scale: float

    def amount(self, value: int) -> str:
        """A value in words."""
        return words.amount(value if self.scale == 1 else round(value * self.scale), self.unit)


def _frame(shown: _Shown, box: Box) -> Markup:
    tree, root, found = shown.tree, shown.root, shown.found
    total, own = int(tree.total[box.node]), int(tree.own[box.node])
    name = name_of(tree, box.node)
    begin, width = box.begin * _WIDTH, (box.end - box.begin) * _WIDTH
    parts = [f"{shown.amount(total)}, {_share(total, int(tree.total[0]))} of all"]
    if root and not box.is_above and box.node != root:
        parts.append(f"{_share(total, int(tree.total[root]))} of what is shown")
    if own:
        parts.append(f"self {shown.amount(own)}")
    said = f"{name}: {'; '.join(parts)}"
    classes = ["frame", f"flame-{colour_of(tree.text(box.node))}" if tree.name[box.node] >= 0 else "flame-none"]
    classes += ["above"] * box.is_above + ["hit"] * bool(found and found in tree.text(box.node).casefold())
    fits = int((width - 6) / _CHARACTER)
    text = Markup("")
    if fits >= 3:
        label = name if len(name) <= fits else name[: fits - 1] + "…"
        text = Markup('<text x="{}" y="{}">{}</text>').format(round(begin + 4, 2), box.row * _ROW + 14, label)
    return Markup(
        '<a href="{}" class="{}" aria-label="{}"{}><title>{}</title>'
        '<rect x="{}" y="{}" width="{}" height="{}" rx="2"/>{}</a>'
    ).format(
        shown.href(box.node), " ".join(classes), said, Markup(' aria-current="true"') if box.node == root else "", said,
        round(begin, 2), box.row * _ROW, round(max(0.5, width - 1), 2), _ROW - 2, text,
    )  # fmt: skip


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
        said.append(f"{words.plural(layout.too_small, 'frame')} narrower than {words.share(LEAST_SHARE)} not drawn")
    if layout.too_deep:
        said.append(f"{words.plural(layout.too_deep, 'frame')} deeper than {LEVELS} levels: zoom in to see them")
    return said
