"""Names are looked at once per set of rules, and what was seen before has no say in what is found."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.rules.patterns import Pattern, normalize
from pyro_assets.series import name_sets
from pyro_assets.series.name_sets import NameMemory

SETS = [
    ((), (Pattern(exact="a.b"), Pattern(glob="b*"))),
    ((), (Pattern(regex="a.*"),)),
    (("generics",), (Pattern(exact="List[]"),)),
]
NAMES = st.lists(st.sampled_from(["a.b", "a.c", "b", "bb", "List[int]", "List[]", "c", ""]), unique=True)


def expected(names: list[str]) -> list[list[bool]]:
    folded = normalize(pa.array(names, pa.large_string()), ("generics",)).to_pylist()
    return [
        [name == "a.b" or name.startswith("b") for name in names],
        [name.startswith("a") for name in names],
        [name == "List[]" for name in folded],
    ]


@given(st.lists(NAMES, max_size=6))
def test_a_memory_of_few_names_finds_what_a_fresh_look_finds(jobs: list[list[str]]):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(name_sets, "_REMEMBERED", 3)
        memory = NameMemory(SETS)  # type: ignore[arg-type]
        for names in jobs:
            array = pa.array(names, pa.large_string())
            assert memory.look_up(array).tolist() == expected(names)
            assert memory.look_up(array).tolist() == NameMemory(SETS).look_up(array).tolist()  # type: ignore[arg-type]


def test_a_name_is_looked_at_once(monkeypatch: pytest.MonkeyPatch):
    seen: list[str] = []
    look = name_sets.match_names
    monkeypatch.setattr(
        name_sets, "match_names", lambda names, some: seen.extend(names.to_pylist()) or look(names, some)
    )
    memory = NameMemory(SETS[:2])  # type: ignore[arg-type]
    for names in (["a.b", "c"], ["c", "b", "a.b"], ["b"]):
        memory.look_up(pa.array(names, pa.large_string()))
    assert seen == ["a.b", "c", "b"]
    memory.forget()
    memory.look_up(pa.array(["c"], pa.large_string()))
    assert seen == ["a.b", "c", "b", "c"]
