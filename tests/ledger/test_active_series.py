"""Active and refused series in the ledger: kept by receiver and tenant, known twice without trouble, and forgotten."""

from ledgers import NOW_MS

from pyro_assets.ledger.active_series import REFUSED_MS, REMEMBERED_MS
from pyro_assets.ledger.ledger import Ledger

HASHES = {0, 1, 2**63 - 1, 2**63, 2**64 - 1}


def test_hashes_of_64_bits_come_back(ledger: Ledger) -> None:
    ledger.add_active_series("r", {("acme", 7): HASHES, ("other", 7): {5}}, NOW_MS)
    ledger.add_active_series("r", {("acme", 7): {1, 2}}, NOW_MS)
    ledger.add_active_series("s", {}, NOW_MS)
    assert ledger.active_series("r", "acme", 7) == HASHES | {2}
    assert ledger.active_series("r", "other", 7) == {5}
    assert ledger.active_series("r", "acme", 8) == ledger.active_series("s", "acme", 7) == set()


def test_what_was_long_ago_is_forgotten(ledger: Ledger) -> None:
    later_ms = NOW_MS + REMEMBERED_MS + 1
    ledger.add_active_series("r", {("acme", 7): {1}}, NOW_MS)
    ledger.add_active_series("s", {("acme", 7): {1}}, NOW_MS)
    ledger.add_active_series("r", {("acme", 8): {2}}, later_ms)
    assert ledger.active_series("r", "acme", 7) == set()
    assert ledger.active_series("s", "acme", 7) == {1}
    assert ledger.active_series("r", "acme", 8) == {2}


def test_many_at_once(ledger: Ledger) -> None:
    ledger.add_active_series("r", {("acme", 7): range(12_345)}, NOW_MS)
    assert len(ledger.active_series("r", "acme", 7)) == 12_345


def test_refused_series_are_kept_for_a_day(ledger: Ledger) -> None:
    ledger.add_refused_series("r", {"acme": HASHES, "": {5}}, NOW_MS)
    ledger.add_refused_series("r", {"acme": {1, 2}}, NOW_MS + REFUSED_MS)
    ledger.add_refused_series("s", {"acme": {7}}, NOW_MS)
    assert ledger.refused_series("r", NOW_MS + REFUSED_MS) == {"acme": HASHES | {2}, "": {5}}
    ledger.add_refused_series("r", {}, NOW_MS + REFUSED_MS + 1)
    assert ledger.refused_series("r", NOW_MS) == {"acme": {2}}
    assert ledger.refused_series("s", NOW_MS) == {"acme": {7}}


def test_refused_series_are_forgotten_where_nothing_else_is_refused(ledger: Ledger) -> None:
    ledger.add_refused_series("r", {"acme": {1}}, NOW_MS)
    assert ledger.refused_series("r", NOW_MS + REFUSED_MS) == {"acme": {1}}
    assert ledger.refused_series("r", NOW_MS + REFUSED_MS + 1) == {}
