"""Two texts side by side, line by line, for pages that compare.

Only rows are made here; how they look is for the templates.
"""

import difflib
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Pair:
    """One row: the lines of both sides, None where a side has none."""

    kind: Literal["equal", "changed", "removed", "added"]
    left: str | None
    right: str | None


def side_by_side(left: str, right: str) -> list[Pair]:
    r"""The lines of two texts as rows.

    >>> [(one.kind, one.left, one.right) for one in side_by_side("a\nb\n", "a\nc\nd\n")]
    [('equal', 'a', 'a'), ('changed', 'b', 'c'), ('added', None, 'd')]
    """
    old, new = left.splitlines(), right.splitlines()
    rows: list[Pair] = []
    for tag, begin, end, new_begin, new_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            rows += [Pair("equal", line, line) for line in old[begin:end]]
            continue
        both = min(end - begin, new_end - new_begin)
        rows += [Pair("changed", old[begin + at], new[new_begin + at]) for at in range(both)]
        rows += [Pair("removed", line, None) for line in old[begin + both : end]]
        rows += [Pair("added", None, line) for line in new[new_begin + both : new_end]]
    return rows
