"""What is remembered between jobs stays within bounds and never changes a result."""

import numpy as np
import pytest

from pyro_assets.block.tsdb import reader
from pyro_assets.block.tsdb.memo import Memo
from pyro_assets.block.tsdb.reader import read_series
from pyro_assets.block.tsdb.writer import write_index
from pyro_assets.errors import ChecksumMismatch, Where


def test_starts_anew_when_full_and_refuses_what_is_too_large() -> None:
    memo: Memo[bytes, int] = Memo(limit_bytes=100)
    for number in range(1000):
        memo.put(b"%d" % number, number, size_bytes=30)
        assert memo.get(b"%d" % number) == number
        assert len(memo._values) <= 3
    memo.put(b"large", 1, size_bytes=101)
    assert memo.get(b"large") is None
    assert memo.get(b"999") == 999


def _index(pod: bytes) -> bytes:
    zero = np.zeros(1, np.int64)
    return write_index([((b"pod", pod),)], zero.astype(np.uint64), zero, zero, zero)


def test_a_bad_index_is_refused_also_after_a_good_one_of_its_kind() -> None:
    good = _index(b"a")
    bad = bytearray(good)
    table = int.from_bytes(good[-36:-28], "big")
    bad[table + 8] ^= 1
    for _ in range(3):
        assert read_series([good], [Where()]).labels == [((b"pod", b"a"),)]
        with pytest.raises(ChecksumMismatch):
            read_series([good, bytes(bad)], [Where(), Where()])


def test_resolved_label_sets_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_MOST_RESOLVED", 3)
    symbols = reader._Symbols([b"a"])
    for number in range(50):
        symbols.resolved()[b"%d" % number] = ()
        assert len(symbols.resolved()) <= 4
