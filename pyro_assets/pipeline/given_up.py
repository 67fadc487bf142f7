"""What is in no output, jobs and sources alike, for people who decide what becomes of it.

Add what they need to know here; decisions take effect in `decisions`, giving up is decided by `ledger.claims`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.pardons import UnheldSource
from pyro_assets.ledger.quarantine import Kept
from pyro_assets.ledger.records import Failure
from pyro_assets.pipeline.decisions import ACTIONS, Action

_MOST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is in no output.

    Attributes:
        name: the job's id, or the source's key.
        subject: "job" or "source"; state: given up, retried, set_aside or lost.
        hour: partition key.
        failure: the last error, None where there was none (a source that was gone); reason: in words.
        failures: how many there were, None of sources; first_ms, last_ms: when.
        job_id: the job, "" for none.
        acknowledged: a person took it off the list.
    """

    name: str
    subject: str
    state: str
    hour: str
    failure: Failure | None
    reason: str
    failures: int | None
    first_ms: int | None
    last_ms: int | None
    job_id: str
    acknowledged: bool = False

    @property
    def actions(self) -> tuple[Action, ...]:
        """What can be decided of it."""
        if self.state == "retried":
            return ()
        if self.subject == "job":
            return ACTIONS
        return ("retry",) if self.acknowledged else ("retry", "forget")


def listed(ledger: Ledger, hour: str | None, *, everything: bool = False) -> list[Item]:
    """What is in no output, the first failures first.

    Args:
        ledger: is asked.
        hour: partition key; None for all.
        everything: also what is still being retried, and what was forgotten.
    """
    kept = [one for one in ledger.kept_failures(hour, _MOST_KEPT) if one.subject == "job"]
    items = [_of_job(one) for one in kept if everything or one.given_up]
    items += [_of_source(one) for one in ledger.unheld_sources(hour, acknowledged=everything, limit=_MOST_KEPT)]
    return sorted(items, key=lambda item: (item.first_ms or 0, item.name))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What nobody has acknowledged, of all hours: lost or set-aside sources and jobs given up; `items`: the first."""

    lost: int = 0
    set_aside: int = 0
    given_up: int = 0
    items: tuple[Item, ...] = ()


def left_out(ledger: Ledger, most: int = 50) -> LeftOut:
    """What is in no output, in numbers, and the first of it; costs next to nothing where that is nothing."""
    sources, jobs = ledger.count_unheld(), ledger.quarantined()["job"]
    lost, set_aside = sources.get("lost", 0), sources.get("set_aside", 0)
    if not (lost or set_aside or jobs):
        return LeftOut()
    items = [_of_job(one) for one in ledger.kept_failures(limit=most) if one.subject == "job" and one.given_up]
    items += [_of_source(one) for one in ledger.unheld_sources(limit=most)]
    return LeftOut(lost, set_aside, jobs, tuple(items[:most]))


def find(ledger: Ledger, names: Sequence[str]) -> list[Item]:
    """Those of these names that are in no output; whatever became of the others, they are not among them."""
    found = []
    wanted = {name for name in names if "/" not in name}
    if wanted:
        found += [_of_job(kept) for kept in ledger.kept_failures(None, _MOST_KEPT) if kept.subject_id in wanted]
    for name in names:
        source = ledger.unheld_source(name) if "/" in name else None
        if source is not None:
            found.append(_of_source(source))
    return found


def _of_job(kept: Kept) -> Item:
    return Item(
        name=kept.subject_id,
        subject="job",
        state="given up" if kept.given_up else "retried",
        hour=kept.hour,
        failure=kept.failure,
        reason=kept.failure.message,
        failures=kept.failures,
        first_ms=kept.first_failed_ms,
        last_ms=kept.last_failed_ms,
        job_id=kept.job_id,
    )


def _of_source(source: UnheldSource) -> Item:
    return Item(
        name=source.key,
        subject="source",
        state=source.state,
        hour=source.hour,
        failure=source.failure,
        reason=source.failure.message if source.failure else source.reason,
        failures=None,
        first_ms=source.first_failed_ms,
        last_ms=source.last_failed_ms,
        job_id=source.job_id,
        acknowledged=source.acknowledged,
    )
