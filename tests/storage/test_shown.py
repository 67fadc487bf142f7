"""Bytes as text: what was different stays different."""

import re

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyro_assets.series.name_sets import as_text
from pyro_assets.storage.shown import printable, show_bytes

NAMES = st.one_of(
    st.binary(max_size=12), st.lists(st.sampled_from([b"\\", b"x", b"ff", b"5c", b"\xff", b"a"])).map(b"".join)
)


def unshown(text: str) -> bytes:
    return re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())


@given(NAMES)
@example(b"\xff")
@example(rb"\xff")
@example(rb"\x5cxff")
@example(b"\\\\xff\\x5")
def test_shown_names_are_injective(name: bytes):
    assert unshown(show_bytes(name)) == name
    assert unshown(printable(name)) == name
    assert printable(name).isprintable()


@pytest.mark.parametrize("name", [b"acme", "grün ☂".encode(), rb"C:\Users\x", rb"a\xFF", rb"a\xg0"])
def test_names_that_look_like_no_escape_stay_as_they_are(name: bytes):
    assert show_bytes(name) == name.decode()


@given(st.lists(NAMES, max_size=5))
def test_a_name_is_shown_alike_whatever_stands_beside_it(names: list[bytes]):
    assert as_text(pa.array(names, type=pa.binary())).to_pylist() == [show_bytes(name) for name in names]
