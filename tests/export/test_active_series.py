"""Active and refused series in the ledger: kept by receiver and tenant, known twice without trouble, and forgotten."""

from pyro_assets.export.states import REFUSED_MS, REMEMBERED_MS, ActiveSeriesRecords
from pyro_assets.ledger.database import Ledger
from tests.support.ledgers import NOW_MS

HASHES = {0, 1, 2**63 - 1, 2**63, 2**64 - 1}


def test_hashes_of_64_bits_come_back(ledger: Ledger) -> None:
    ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 7): HASHES, ("other", 7): {5}}, NOW_MS)
    ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 7): {1, 2}}, NOW_MS)
    ActiveSeriesRecords(ledger).add_active_series("s", {}, NOW_MS)
    assert ActiveSeriesRecords(ledger).active_series("r", "acme", 7) == HASHES | {2}
    assert ActiveSeriesRecords(ledger).active_series("r", "other", 7) == {5}
    assert (
        ActiveSeriesRecords(ledger).active_series("r", "acme", 8)
        == ActiveSeriesRecords(ledger).active_series("s", "acme", 7)
        == set()
    )


def test_what_was_long_ago_is_forgotten(ledger: Ledger) -> None:
    later_ms = NOW_MS + REMEMBERED_MS + 1
    ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 7): {1}}, NOW_MS)
    ActiveSeriesRecords(ledger).add_active_series("s", {("acme", 7): {1}}, NOW_MS)
    ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 8): {2}}, later_ms)
    assert ActiveSeriesRecords(ledger).active_series("r", "acme", 7) == set()
    assert ActiveSeriesRecords(ledger).active_series("s", "acme", 7) == {1}
    assert ActiveSeriesRecords(ledger).active_series("r", "acme", 8) == {2}


def test_many_at_once(ledger: Ledger) -> None:
    ActiveSeriesRecords(ledger).add_active_series("r", {("acme", 7): range(12_345)}, NOW_MS)
    assert len(ActiveSeriesRecords(ledger).active_series("r", "acme", 7)) == 12_345


def test_refused_series_are_kept_for_a_day(ledger: Ledger) -> None:
    ActiveSeriesRecords(ledger).add_refused_series("r", {"acme": HASHES, "": {5}}, NOW_MS)
    ActiveSeriesRecords(ledger).add_refused_series("r", {"acme": {1, 2}}, NOW_MS + REFUSED_MS)
    ActiveSeriesRecords(ledger).add_refused_series("s", {"acme": {7}}, NOW_MS)
    assert ActiveSeriesRecords(ledger).refused_series("r", NOW_MS + REFUSED_MS) == {"acme": HASHES | {2}, "": {5}}
    ActiveSeriesRecords(ledger).add_refused_series("r", {}, NOW_MS + REFUSED_MS + 1)
    assert ActiveSeriesRecords(ledger).refused_series("r", NOW_MS) == {"acme": {2}}
    assert ActiveSeriesRecords(ledger).refused_series("s", NOW_MS) == {"acme": {7}}


def test_refused_series_are_forgotten_where_nothing_else_is_refused(ledger: Ledger) -> None:
    ActiveSeriesRecords(ledger).add_refused_series("r", {"acme": {1}}, NOW_MS)
    assert ActiveSeriesRecords(ledger).refused_series("r", NOW_MS + REFUSED_MS) == {"acme": {1}}
    assert ActiveSeriesRecords(ledger).refused_series("r", NOW_MS + REFUSED_MS + 1) == {}
