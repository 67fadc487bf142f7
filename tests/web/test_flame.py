"""The flame graph: frames inside their callers, links, what is left out, and names that want to be markup."""

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.call_tree import CallTree, TreeBuilder, path_id
from pyro_assets.web.drawing.flame import Layout, amounts_of, counts, icicle, lay_out
from tests.support.series_jobs import JOBS, job, profile, sample

HOSTILE = [b'</title><script>alert("x")</script>', b"\xe2\x80\xaeevil\n\x00", b"\xff\xfe", b"a" * 1000, b"&amp;'\""]


def tree_of(*profiles: Any) -> CallTree:
    columns, _ = job(*profiles)
    builder = TreeBuilder()
    builder.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
    return builder.finish()


def drawn(tree: CallTree, layout: Layout, *, search: str = "", **how: Any) -> list[ET.Element]:
    said = amounts_of(tree, "count", **how)
    text = str(icicle(tree, layout, href=lambda node: f"/explore?at={node}&x='\"<", said=said, search=search))
    return [one for one in ET.fromstring(text).iter() if one.tag.endswith("}a")]


def part(element: ET.Element, tag: str) -> Any:
    return next((one for one in element.iter() if one.tag.endswith("}" + tag)), None)


def box(element: ET.Element) -> list[float]:
    """Begin and width in percent of the drawing, and the top in pixels."""
    return [float(part(element, "svg").attrib[name].rstrip("%")) for name in ("x", "width", "y")]


def test_widths_are_shares_and_callees_stand_below_their_caller():
    tree = tree_of(
        profile([sample(60, b"main", b"work"), sample(20, b"main"), sample(15, b"other"), 5]),
    )
    frames = drawn(tree, lay_out(tree, 0))
    assert {part(one, "text").text: box(one) for one in frames} == {
        "all": [0, 100, 0],
        "main": [0, 80, 20],
        "other": [80, 15, 20],
        "work": [0, 60, 40],
    }
    assert part(frames[1], "title").text == "main\n80, 80 % of all\nself 20, 20 %"
    assert [one.attrib.get("aria-current") for one in frames] == ["true", None, None, None]


def test_zooming_keeps_the_callers_on_top():
    tree = tree_of(profile([sample(60, b"main", b"work", b"run"), sample(20, b"main", b"idle"), sample(20, b"x")]))
    root = tree.find(path_id(["main", "work"]))
    assert root is not None
    frames = drawn(tree, lay_out(tree, root), search="RUN", scale=0.5, root=root)
    assert [part(one, "text").text for one in frames] == ["all", "main", "work", "run"]
    assert {box(one)[1] for one in frames} == {100}
    assert ["above" in one.attrib["class"].split() for one in frames] == [True, True, False, False]
    assert ["hit" in one.attrib["class"].split() for one in frames] == [False, False, False, True]
    assert part(frames[3], "title").text == "run\n30, 60 % of all\n100 % of what is shown\nself 30, 60 %"


def test_small_and_deep_frames_are_left_out_and_told():
    tree = tree_of(profile([sample(1000, b"a", b"b", b"c"), sample(1, b"tiny"), sample(1, b"a", b"tiny")]))
    layout = lay_out(tree, 0, levels=2)
    assert [tree.text(box.node) for box in layout.boxes] == ["", "a", "b"]
    assert (layout.too_small, layout.too_deep) == (2, 1)
    assert counts(layout) == [
        "2 frames narrower than 0.2 % not drawn",
        "1 frame deeper than 32 levels: zoom in to see them",
    ]
    assert counts(lay_out(tree_of(profile([sample(1, b"a")])), 0)) == []
    wide = tree_of(profile([sample(1, b"f%d" % number) for number in range(600)]))
    assert len(lay_out(wide, 0).boxes) == 1


def test_hostile_names_are_text():
    tree = tree_of(profile([sample(100, name, b"below") for name in HOSTILE]))
    text = str(icicle(tree, lay_out(tree, 0), href=lambda node: "/?a=<>&'\"", said=str, search="<script>"))
    root = ET.fromstring(text)
    assert {one.tag.rpartition("}")[2] for one in root.iter()} == {"div", "svg", "a", "title", "rect", "text"}
    assert all(name in ("href", "class", "aria-label", "aria-current") for one in root.iter() if one.tag.endswith("}a")
               for name in one.attrib)  # fmt: skip
    titles = [one.text or "" for one in root.iter() if one.tag.endswith("title")]
    assert any(one.startswith("\\u202eevil\\n\\x00\n") for one in titles)
    assert any(one.startswith("\\xff\\xfe\n") for one in titles)
    assert 'alert("x")' in "".join(titles)


@given(JOBS, st.data())
def test_frames_of_any_tree_stay_inside_their_callers(profiles: Any, data: st.DataObject):
    try:
        tree = tree_of(*profiles)
    except ValueOverflow:
        return
    root = data.draw(st.integers(0, len(tree.parent) - 1))
    layout = lay_out(tree, root, least_share=data.draw(st.sampled_from([0.0, 0.1])))
    boxes = {box.node: box for box in layout.boxes}
    assert len(boxes) == len(layout.boxes)
    last: dict[int, float] = {}
    for box in layout.boxes:
        assert 0 <= box.begin <= box.end <= 1
        assert box.row == int(tree.depth[box.node])
        if box.node and not box.is_above and box.node != root:
            above = int(tree.parent[box.node])
            assert last.get(above, boxes[above].begin) <= box.begin
            assert boxes[above].begin <= box.begin <= box.end <= boxes[above].end
            last[above] = box.end
    assert len(drawn(tree, layout)) == len(boxes)


def test_nothing():
    tree = TreeBuilder().finish()
    assert len(drawn(tree, lay_out(tree, 0))) == 1
