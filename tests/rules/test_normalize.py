"""Folding: names that differ by accident become one, those that differ on purpose do not, in linear time."""

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from pyro_assets.rules.patterns import FAMILIES, normalize

PUBLISHED = Path(__file__).with_name("folded_names.txt")


def fold(names: list[str], *families: Any) -> list[str]:
    found: list[str] = normalize(pa.array(names, pa.large_string()), families or FAMILIES).to_pylist()
    return found


def blocks() -> dict[tuple[str, str], list[str]]:
    """(family, what names fold to) -> names."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in PUBLISHED.read_text("utf-8").splitlines():
        if line.startswith("["):
            family, _, expected = line[1:].partition("]")
            names = found[family, expected.strip()] = []
        elif line.strip() and not line.startswith("#"):
            names.append(line.strip())
    return found


@pytest.mark.parametrize(("family", "expected"), [key for key in blocks() if key[0]])
def test_published_names_fold(family: str, expected: str):
    names = blocks()[family, expected]
    assert fold(names, family) == [expected] * len(names)
    assert len(set(fold(names))) == 1
    assert fold([expected], family) == [expected]


def test_published_names_that_differ_on_purpose_stay():
    names = blocks()["", ""]
    assert fold(names) == names


def test_blocks_stay_apart_with_all_families():
    folded = [fold(names)[0] for names in blocks().values() if names]
    assert len(set(folded)) == len(folded) > 70


def test_every_family_has_published_names():
    assert {family for family, _ in blocks()} == {*FAMILIES, ""}


@pytest.mark.parametrize(
    "name",
    [
        "[" * 200_000,
        "a[" * 100_000,
        "a<" * 100_000,
        "a<(" * 70_000,
        "a[b]" * 50_000,
        "$$Lambda$a" * 20_000,
        "lambda$a$" * 20_000,
        ".func1.1" * 20_000 + "x",
        "$a__" * 50_000,
        "lib0" * 50_000,
        "0x" * 100_000,
    ],
    ids=lambda name: name[:10],
)
def test_long_names_take_linear_time(name: str):
    started = time.process_time()
    fold([name])
    assert time.process_time() - started < 5
