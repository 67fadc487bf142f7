"""What the archive keeps of losses and of what people decided of them, for the day when the ledger is lost.

What a job lost or set aside is in its commit record; here is what no such record tells: segments that were deleted
before any tick saw them, and acknowledgements. Add what else would be red, or green, for no reason after a rebuild.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256
from typing import Any, Final, TypeVar

from pyro_assets.errors import BadRecord, LedgerError, ObjectConflict
from pyro_assets.ledger.decisions import Decision
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.policy import Policy
from pyro_assets.pipeline.sealed_json import from_bytes, parsing, to_bytes
from pyro_assets.storage.discovery import FoundBlock
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import VERDICTS, parse_block_key

_WHAT: Final = "a record of a verdict"
_REMEDY: Final = "restore it from a copy of the archive; or remove it, and decide again"

_Verdict = TypeVar("_Verdict")


def keep_lost(archive: Bucket, blocks: Sequence[FoundBlock], reason: str, now_ms: int) -> None:
    """Writes that what these blocks stand for was lost; what is written already stays.

    Raises:
        StorageError: the archive does not take it.
    """
    for item in blocks:
        plain = {"key": item.block.key, "size_bytes": item.size_bytes, "reason": reason, "at_ms": now_ms}
        # Written at another time, by a tick that could not record it then: it says the same.
        with suppress(ObjectConflict):
            archive.create(_key("lost", item.block.key), to_bytes(plain))


def keep_decision(archive: Bucket, decision: Decision) -> None:
    """Writes what a person decided last of a job or source, in the place of what was decided before.

    Raises:
        StorageError: the archive does not take it.
    """
    archive.replace(_key("decided", decision.subject), to_bytes(asdict(decision)))


def restore_verdicts(ledger: Ledger, archive: ReadOnlyBucket, damaged: list[str]) -> int:
    """Puts losses and acknowledgements back into a ledger that has its jobs again; returns how many decisions.

    Args:
        ledger: where to put them.
        archive: the one that belongs to it.
        damaged: gets one sentence for each record that is left out because it does not parse.

    Raises:
        StorageError: the archive does not answer.
    """
    for found, reason, at_ms in _read(archive, "lost", _loss, damaged):
        ledger.record_lost([found], reason, at_ms, Policy(start_ms=0))
    decided = _read(archive, "decided", lambda plain: Decision(**plain), damaged)
    for decision in sorted(decided, key=lambda one: one.at_ms):
        if decision not in ledger.past_decisions(subject=decision.subject):
            ledger.note_decision(decision)
        if decision.action == "forget":
            for key in _sources_of(ledger, decision.subject):
                ledger.acknowledge_source(key, decision.at_ms)
    return len(decided)


def _sources_of(ledger: Ledger, subject: str) -> list[str]:
    """The sources that were taken off the list with a source or a job, as far as they still are in no output."""
    if "/" in subject:
        found = ledger.unheld_source(subject)
        return [subject] if found is not None and found.state != "quarantined" else []
    try:
        job, _ = ledger.look_up(subject)
    except LedgerError:
        return []
    there = [ledger.unheld_source(source.key) for source in job.sources]
    return [one.key for one in there if one is not None and one.state == "set_aside"]


def _key(what: str, subject: str) -> str:
    return f"{VERDICTS}/{what}/{sha256(subject.encode()).hexdigest()[:32]}.json"


def _loss(plain: dict[str, Any]) -> tuple[FoundBlock, str, int]:
    return FoundBlock(parse_block_key(plain["key"]), plain["size_bytes"]), plain["reason"], plain["at_ms"]


def _read(
    archive: ReadOnlyBucket, folder: str, make: Callable[[dict[str, Any]], _Verdict], damaged: list[str]
) -> list[_Verdict]:
    found = []
    for page in archive.pages(f"{VERDICTS}/{folder}/"):
        for item, data in zip(page, archive.get_many(page), strict=True):
            if isinstance(data, Exception):
                raise data
            try:
                with parsing(item.key, _WHAT, _REMEDY):
                    found.append(make(from_bytes(data, item.key, _WHAT, _REMEDY)))
            except BadRecord as error:
                damaged.append(str(error))
    return found
