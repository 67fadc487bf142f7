"""What the archive must hold, as the ledger says it, and what a scrub found: which hours come first, what is kept."""

from dataclasses import replace

from pyro_assets.archive.scrubs import Damage, ScrubRecords
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.storage.keys import HOUR_MS, hour_of
from tests.support.ledgers import HOUR, KINDS, NOW_MS, OUTPUT, claimed, compacted, derivation, planned

LATER = hour_of(NOW_MS + 48 * HOUR_MS)
ROT = Damage("blocks/x", HOUR, "block", "it rotted")


def a_job(ledger: Ledger) -> str:
    job = claimed(ledger, planned(ledger))
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
    return job.id


def test_what_must_be_there(ledger: Ledger):
    job = a_job(ledger)
    closed = Receipt(job, "dimension", "r", "sent", samples=3)
    ReceiptRecords(ledger).put_receipts([closed, replace(closed, receiver="begun", state="sending")], NOW_MS)
    ReceiptRecords(ledger).put_receipts([replace(closed, receiver="empty", samples=0)], NOW_MS)
    written = ScrubRecords(ledger).written(HOUR)
    assert written.records == {job: (JobRecords(ledger).look_up(job)[0].shard, (OUTPUT,))}
    assert {file.kind for file in written.files} == KINDS
    assert {receiver for receiver, _, _ in written.receipts} == {"r"}
    assert written.removed == frozenset()
    assert ScrubRecords(ledger).recorded(job) == compacted(JobRecords(ledger).look_up(job)[0])
    assert ScrubRecords(ledger).hours_to_scrub(HOUR) == []


def test_damaged_hours_come_first_then_those_that_were_not_looked_at_for_longest(ledger: Ledger):
    a_job(ledger)
    assert ScrubRecords(ledger).hours_to_scrub(LATER) == [HOUR]
    assert ScrubRecords(ledger).oldest_scrub_ms(LATER) is None
    ScrubRecords(ledger).note_scrub(HOUR, [ROT, ROT, replace(ROT, key="other", kind="series")], 7)
    assert ScrubRecords(ledger).oldest_scrub_ms(LATER) == 7
    ScrubRecords(ledger).note_scrub("", [replace(ROT, key="rules/x", kind="rules")], 8)
    # Found again, it has been known since the first time.
    ScrubRecords(ledger).note_scrub(HOUR, [replace(ROT, message="it is gone")], 9)
    assert ScrubRecords(ledger).damaged([HOUR]) == [replace(ROT, message="it is gone", found_ms=7)]
    assert len(ScrubRecords(ledger).damaged()) == 2
    assert {kind: count for kind, count in ScrubRecords(ledger).count_damaged().items() if count} == {
        "block": 1,
        "rules": 1,
    }
    ScrubRecords(ledger).note_scrub(HOUR, [], 10)
    assert ScrubRecords(ledger).damaged([HOUR]) == []


def test_checksums_that_are_learnt_later(ledger: Ledger):
    job = a_job(ledger)
    file = next(iter(ScrubRecords(ledger).written(HOUR).files))
    assert file.crc32c is None
    ScrubRecords(ledger).note_checksum(file.key, 2**32 - 1)
    ScrubRecords(ledger).note_checksum(file.key, 5)
    placed = FileRecords(ledger).placed_file(job, file.kind)
    assert placed is not None
    assert placed.crc32c == 2**32 - 1
    assert ScrubRecords(ledger).jobs_of_file(file.key) == [(HOUR, job)]
    assert ScrubRecords(ledger).job_of_block(OUTPUT.key) == job
    ScrubRecords(ledger).replace_outputs(job, [replace(OUTPUT, size_bytes=1, crc32c=2)])
    assert JobRecords(ledger).look_up(job)[0].outputs[0] == replace(OUTPUT, size_bytes=1, crc32c=2)
