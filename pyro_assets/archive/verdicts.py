"""Losses and acknowledgements put back into a ledger that was rebuilt; `planning.verdicts` wrote their records."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from pyro_assets.errors import BadRecord, LedgerError
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.policy import Policy
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import VERDICTS, parse_block_key
from pyro_assets.storage.sealed_json import from_bytes, parsing

_WHAT: Final = "a record of a verdict"
_REMEDY: Final = "restore it from a copy of the archive; or remove it, and decide again"
_Verdict = TypeVar("_Verdict")


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
        SourceRecords(ledger).record_lost([found], reason, at_ms, Policy(start_ms=0))
    decided = _read(archive, "decided", lambda plain: Decision(**plain), damaged)
    for decision in sorted(decided, key=lambda one: one.at_ms):
        if decision not in DecisionRecords(ledger).past_decisions(subject=decision.subject):
            DecisionRecords(ledger).note_decision(decision)
        if decision.action == "forget":
            for key in _sources_of(ledger, decision.subject):
                Pardons(ledger).acknowledge_source(key, decision.at_ms)
    return len(decided)


def _sources_of(ledger: Ledger, subject: str) -> list[str]:
    """The sources that were taken off the list with a source or a job, as far as they still are in no output."""
    if "/" in subject:
        found = Pardons(ledger).unheld_source(subject)
        return [subject] if found is not None and found.state != "quarantined" else []
    try:
        job, _ = JobRecords(ledger).look_up(subject)
    except LedgerError:
        return []
    there = [Pardons(ledger).unheld_source(source.key) for source in job.sources]
    return [one.key for one in there if one is not None and one.state == "set_aside"]


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
