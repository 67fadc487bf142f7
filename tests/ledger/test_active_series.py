"""Active series in the ledger: kept per receiver, tenant and hour, known twice without trouble, and forgotten."""

from ledgers import NOW_MS

from pyro_assets.ledger.active_series import REMEMBERED_MS
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
