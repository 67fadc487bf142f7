"""What the archive keeps of losses and of what people decided of them, for the day when the ledger is lost.

What a job lost or set aside is in its commit record; here is what no such record tells: segments that were deleted
before any tick saw them, and acknowledgements. Add what else would be red, or green, for no reason after a rebuild.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from hashlib import sha256

from pyro_assets.errors import ObjectConflict
from pyro_assets.ledger.decisions import Decision
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import VERDICTS
from pyro_assets.storage.sealed_json import to_bytes


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


def _key(what: str, subject: str) -> str:
    return f"{VERDICTS}/{what}/{sha256(subject.encode()).hexdigest()[:32]}.json"
