"""What the archive must hold, as the ledger says it, and what a scrub found: which hours come first, what is kept."""

from dataclasses import replace

from ledgers import HOUR, KINDS, NOW_MS, claimed, compaction, derivation, planned

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.receipt import Receipt
from pyro_assets.ledger.scrubs import Damage
from pyro_assets.storage.keys import HOUR_MS, hour_of

LATER = hour_of(NOW_MS + 48 * HOUR_MS)
ROT = Damage("blocks/x", HOUR, "block", "it rotted")


def a_job(ledger: Ledger) -> str:
    job = claimed(ledger, planned(ledger))
    ledger.commit_compacted(job, compaction(), NOW_MS)
    ledger.commit_derived(job, derivation(), NOW_MS, kinds=KINDS)
    return job.id


def test_what_must_be_there(ledger: Ledger):
    job = a_job(ledger)
    closed = Receipt(job, "dimension", "r", "sent", samples=3)
    ledger.put_receipts([closed, replace(closed, receiver="begun", state="sending")], NOW_MS)
    ledger.put_receipts([replace(closed, receiver="empty", samples=0)], NOW_MS)
    written = ledger.written(HOUR)
    assert written.records == {job: (ledger.look_up(job)[0].shard, compaction().outputs)}
    assert {file.kind for file in written.files} == KINDS
    assert {receiver for receiver, _, _ in written.receipts} == {"r"}
    assert written.removed == frozenset()
    assert ledger.compaction(job).outputs == compaction().outputs
    assert ledger.hours_to_scrub(HOUR) == []


def test_damaged_hours_come_first_then_those_that_were_not_looked_at_for_longest(ledger: Ledger):
    a_job(ledger)
    assert ledger.hours_to_scrub(LATER) == [HOUR]
    assert ledger.oldest_scrub_ms(LATER) is None
    ledger.note_scrub(HOUR, [ROT, ROT, replace(ROT, key="other", kind="series")], 7)
    assert ledger.oldest_scrub_ms(LATER) == 7
    ledger.note_scrub("", [replace(ROT, key="rules/x", kind="rules")], 8)
    # Found again, it has been known since the first time.
    ledger.note_scrub(HOUR, [replace(ROT, message="it is gone")], 9)
    assert ledger.damaged([HOUR]) == [replace(ROT, message="it is gone", found_ms=7)]
    assert len(ledger.damaged()) == 2
    assert {kind: count for kind, count in ledger.count_damaged().items() if count} == {"block": 1, "rules": 1}
    ledger.note_scrub(HOUR, [], 10)
    assert ledger.damaged([HOUR]) == []


def test_checksums_that_are_learnt_later(ledger: Ledger):
    job = a_job(ledger)
    file = next(iter(ledger.written(HOUR).files))
    assert file.crc32c is None
    ledger.note_checksum(file.key, 2**32 - 1)
    ledger.note_checksum(file.key, 5)
    placed = ledger.placed_file(job, file.kind)
    assert placed is not None
    assert placed.crc32c == 2**32 - 1
    assert ledger.jobs_of_file(file.key) == [(HOUR, job)]
    output = compaction().outputs[0]
    assert ledger.job_of_block(output.key) == job
    ledger.replace_outputs(job, [replace(output, size_bytes=1, crc32c=2)])
    assert ledger.look_up(job)[0].outputs[0] == replace(output, size_bytes=1, crc32c=2)
