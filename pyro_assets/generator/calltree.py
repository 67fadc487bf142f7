"""Call trees: parsed from indented text, then flattened into stacks with weights.

What a weight means is decided in `counts.py`; names and shapes of trees belong to `trees_*.py`. Nothing here knows
of time, load or encodings.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

#: (relative weight, bytes per object); the second number matters to heap profiles only.
Weight = tuple[float, int]
#: pprof string labels, sorted by name.
SampleLabels = tuple[tuple[str, str], ...]

_WEIGHT = re.compile(r"(cpu|heap|goroutine|mutex)=([0-9.]+)(?::([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Node:
    """A function that was called, and what it calls.

    `inline` says that the compiler merged it into its caller's machine code, `native` that its name is a library and
    an address without symbols, `repeat` how deep it may call itself; `labels` hold for it and everything below.
    `weights` are its own share (self), by kind of profile.
    """

    name: str
    inline: bool = False
    native: bool = False
    repeat: int = 1
    labels: SampleLabels = ()
    weights: dict[str, Weight] = field(default_factory=dict)
    children: tuple["Node", ...] = ()


@dataclass(frozen=True, slots=True)
class Path:
    """One stack: nodes from the root to the leaf, the labels in force, and the leaf's own weights."""

    nodes: tuple[Node, ...]
    labels: SampleLabels
    weights: dict[str, Weight]


def parse_tree(text: str) -> tuple[Node, ...]:
    r"""Reads trees from lines `name token...`, two spaces of indentation a level.

    Tokens: `inline`, `native`, `x=4` (calls itself up to four deep), and own weights `cpu=3`, `heap=2:4096`
    (weight and object size in bytes), `goroutine=1`, `mutex=1`.

    Raises:
        ValueError: a line has an unknown token or is indented by more than one level at once.

    >>> [root] = parse_tree("main.main\n  main.work cpu=2 x=3")
    >>> root.children[0].name, root.children[0].repeat, root.children[0].weights
    ('main.work', 3, {'cpu': (2.0, 0)})
    """
    lines = [line for line in text.splitlines() if line.strip()]
    nodes, end = _parse_level(lines, 0, 0)
    if end != len(lines):
        raise ValueError(f"line {lines[end]!r} is indented by more than one level")
    return nodes


def _parse_level(lines: Sequence[str], start: int, depth: int) -> tuple[tuple[Node, ...], int]:
    nodes: list[Node] = []
    position = start
    while position < len(lines):
        indent = len(lines[position]) - len(lines[position].lstrip(" "))
        if indent != 2 * depth:
            break
        node = _parse_line(lines[position])
        children, position = _parse_level(lines, position + 1, depth + 1)
        nodes.append(replace(node, children=children))
    return tuple(nodes), position


def _parse_line(line: str) -> Node:
    name, *words = line.split()
    inline = native = False
    repeat = 1
    weights: dict[str, Weight] = {}
    for word in words:
        weight = _WEIGHT.fullmatch(word)
        if weight:
            weights[weight[1]] = (float(weight[2]), int(weight[3] or 0))
        elif word == "inline":
            inline = True
        elif word == "native":
            native = True
        elif word.startswith("x="):
            repeat = int(word[2:])
        else:
            raise ValueError(f"unknown token {word!r} in line {line!r}")
    return Node(name, inline, native, repeat, (), weights)


def chain(names: Sequence[str], children: tuple[Node, ...]) -> Node:
    """A straight call chain, outermost name first, whose last function calls `children`."""
    node = Node(names[-1], children=children)
    for name in reversed(names[:-1]):
        node = Node(name, children=(node,))
    return node


def flatten(roots: Sequence[Node]) -> Iterator[Path]:
    """All stacks of some trees; a node that calls itself appears once flat and once at its full depth.

    The two share the weights of the node and of all below it.
    """
    for root in roots:
        yield from _flatten(root, (), (), 1.0)


def _flatten(node: Node, above: tuple[Node, ...], labels: SampleLabels, share: float) -> Iterator[Path]:
    inner = node.labels or labels
    depths = (1, node.repeat) if node.repeat > 1 else (1,)
    share /= len(depths)
    for depth in depths:
        path = above + (node,) * depth
        if node.weights:
            yield Path(path, inner, {kind: (weight * share, size) for kind, (weight, size) in node.weights.items()})
        for child in node.children:
            yield from _flatten(child, path, inner, share)
