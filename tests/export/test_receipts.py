"""Receipts that say that samples changed, and whose hours are found without walking over all receipts."""

from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.storage.keys import HOUR_MS
from tests.support.ledgers import HOUR, HOUR_START_MS, KINDS, POLICY, claimed, compacted, derivation, found, record

END_MS = HOUR_START_MS + HOUR_MS
LATER_MS = END_MS + HOUR_MS


def changed_at_the_end_of_an_hour(ledger: Ledger) -> list[str]:
    """Two jobs of sources of the last millisecond of HOUR: the second has a timestamp of the hour after."""
    record(ledger, [found(1799.999, salt=salt) for salt in range(2 * POLICY.max_blocks)], LATER_MS)
    assert Planner(ledger).plan(LATER_MS, POLICY) == 2
    done = DueJobs(ledger).due_jobs(HOUR, LATER_MS, kinds=KINDS)
    for job_id in done:
        job = claimed(ledger, job_id, now_ms=LATER_MS)
        Claims(ledger).commit_compacted(job, compacted(job), LATER_MS)
        Claims(ledger).commit_derived(job, derivation(job), LATER_MS, kinds=KINDS)
        for name in ("r", "other"):
            ReceiptRecords(ledger).put_receipts(
                [Receipt(job_id, "function", name, "changed", changed=("rule",))], LATER_MS
            )
    assert [JobRecords(ledger).look_up(job_id)[0].timestamp_ms for job_id in done] == [END_MS - 1, END_MS]
    return done


def test_a_receiver_keeps_what_it_has_of_a_span(ledger: Ledger) -> None:
    first, second = changed_at_the_end_of_an_hour(ledger)
    assert ReceiptRecords(ledger).keep_changed("r", END_MS + 1, 2**60, LATER_MS) == 0
    assert ReceiptRecords(ledger).keep_changed("r", 0, END_MS - 1, LATER_MS) == 0
    assert ReceiptRecords(ledger).keep_changed("r", END_MS, END_MS + 1, LATER_MS) == 1
    assert {one.receiver: (one.state, one.changed) for one in ReceiptRecords(ledger).receipts_of(second)} == {
        "other": ("changed", ("rule",)),
        "r": ("sent", ()),
    }
    assert [one.state for one in ReceiptRecords(ledger).receipts_of(first)] == ["changed", "changed"]
    assert ReceiptRecords(ledger).keep_changed("r", END_MS - 1, END_MS, LATER_MS) == 1
    assert ReceiptRecords(ledger).keep_changed("r", 0, 2**60, LATER_MS) == 0
    assert ReceiptRecords(ledger).keep_changed("other", 0, 2**60, LATER_MS) == 2


def test_files_of_a_span(ledger: Ledger) -> None:
    changed_at_the_end_of_an_hour(ledger)
    for begin_ms, end_ms, times in ((0, END_MS, [END_MS - 1]), (END_MS, 2**60, [END_MS]), (END_MS + 1, 2**60, [])):
        expected = [time_ms for time_ms in times for _ in KINDS]
        assert [time_ms for time_ms, _ in FileRecords(ledger).files_between(begin_ms, end_ms)] == expected
        assert [time_ms for time_ms, _ in FileRecords(ledger).files_between(begin_ms, end_ms, newest=9)] == expected
