"""Call trees parse as their text says, and flatten into the stacks that a program would show."""

import pytest

from pyro_assets.generator.calltree import Node, chain, flatten, parse_tree

TREE = """
main.main cpu=1
  main.work cpu=2 x=3
    main.leaf inline cpu=4 heap=2:96
  libc.so.6+0x10 native mutex=0.5
other
"""


def test_a_tree_parses_into_nodes_with_their_tokens():
    main, other = parse_tree(TREE)
    work, libc = main.children
    assert (work.repeat, libc.native, other.children) == (3, True, ())
    assert work.children[0].inline
    assert work.children[0].weights == {"cpu": (4.0, 0), "heap": (2.0, 96)}


def test_stacks_carry_own_weights_and_recursion_shares_them():
    paths = [(tuple(node.name for node in path.nodes), path.weights) for path in flatten(parse_tree(TREE))]
    assert (("main.main",), {"cpu": (1.0, 0)}) in paths
    assert (("main.main", "main.work"), {"cpu": (1.0, 0)}) in paths
    assert (("main.main", "main.work", "main.work", "main.work"), {"cpu": (1.0, 0)}) in paths
    assert sum(weights.get("cpu", (0, 0))[0] for _, weights in paths) == 7
    assert not any(names == ("other",) for names, _ in paths)


def test_labels_hold_for_everything_below():
    labelled = Node("handler", labels=(("vehicle", "bike"),), children=parse_tree("leaf cpu=1"))
    [path] = flatten([chain(["root", "serve"], (labelled,))])
    assert [node.name for node in path.nodes] == ["root", "serve", "handler", "leaf"]
    assert path.labels == (("vehicle", "bike"),)


@pytest.mark.parametrize(("text", "message"), [("a cqu=1", "unknown token 'cqu=1'"), ("a\n    b", "indented")])
def test_a_tree_that_is_not_understood_is_refused(text: str, message: str):
    with pytest.raises(ValueError, match=message):
        parse_tree(text)
