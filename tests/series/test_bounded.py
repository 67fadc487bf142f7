"""Expressions of selectors take bounded time and mean the same whoever runs them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SelectorError
from pyro_assets.series.bounded import LinearPattern, compile_bounded
from pyro_assets.series.selectors import parse_selector


@given(
    st.sampled_from(["(a|b)*", "(ab)+c?", "(?:a+b)+", "(a|é){2,3}", "a*b*a*b*a*", "(.)*", "(?i)(AB)+"]),
    st.text("abé\nc", max_size=8),
)
def test_the_same_as_by_re(pattern, text):
    compiled = compile_bounded(pattern)
    assert isinstance(compiled, LinearPattern)
    assert bool(compiled.fullmatch(text)) == bool(re.fullmatch(pattern, text, re.DOTALL))


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(x+x+)+y", "a*a*a*a*a*a*a*a*b", "((a*)*)*b"])
def test_catastrophes_take_no_time(pattern: str):
    selector = parse_selector(f'{{pod=~"{pattern}"}}')
    started = time.process_time()
    assert not selector.matches({b"pod": b"a" * 20_000 + b"!"})
    assert time.process_time() - started < 2


def test_bytes_that_are_no_text_are_one_character_each():
    assert parse_selector('{pod=~"(.){2}"}').matches({b"pod": b"\xff\xfe"})
    assert not parse_selector('{pod=~"(.){2}"}').matches({b"pod": b"\xff"})


def test_what_is_too_large_is_refused():
    with pytest.raises(SelectorError, match="repe"):
        parse_selector('{pod=~"((a{1,100}){1,100}){1,100}"}')
