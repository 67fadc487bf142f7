"""Whether all processes that work on a ledger do so with the same configuration: each notes its own, and looks.

Add a setting here when results depend on which process took a job. A new configuration in the place of an old one is no
contradiction: only what is seen again after another one came is at work beside it.
"""

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pyro_assets.ledger.configurations import Configuration, Configurations
from pyro_assets.pipeline.settings import Settings
from pyro_assets.storage.bucket import place_of

if TYPE_CHECKING:
    from pyro_assets.export.receivers import Receiver

#: Who was not seen for so long is gone.
SEEN_MS: Final = 180_000
#: Ticks note their configuration so often.
_NOTE_MS: Final = 60_000
_SETTINGS: Final = ("mode", "dedup", "start_hour", "max_blocks", "max_bytes", "max_age_ms", "lanes")


def values_of(
    source_url: str,
    archive_url: str,
    settings: Settings,
    file_hash: str = "",
    receivers: "Sequence[Receiver] | None" = None,
) -> dict[str, str]:
    """What two processes must agree on, in words; what a process does not know is missing.

    Args:
        source_url: Pyroscope's bucket.
        archive_url: where results go.
        settings: how jobs are planned.
        file_hash: of the rules of its file, "" where it has read none.
        receivers: who gets series; None where that is not known.
    """
    values = {"source": place_of(source_url), "archive": place_of(archive_url)}
    values |= {name: str(getattr(settings, name)) for name in _SETTINGS}
    if file_hash:
        values["rules of the file"] = file_hash[:12]
    if receivers is not None:
        # Addresses may hold what is nobody's business.
        addresses = sha256("\n".join(sorted(f"{one.name} {one.url}" for one in receivers)).encode()).hexdigest()[:6]
        names = ", ".join(sorted(one.name for one in receivers))
        values["receivers"] = f"{names} ({addresses})" if names else "none"
    return values


def note(ledger: Configurations, values: Mapping[str, str], what: str, now_ms: int) -> list[str]:
    """Notes the configuration of this process, and says which others are at work on the ledger, a sentence each.

    Args:
        ledger: that both work on.
        values: see `values_of`.
        what: this process does, in a word: tick or run.
        now_ms: Unix milliseconds.
    """
    seen = ledger.configurations(now_ms - SEEN_MS)
    me = f"{what} on {socket.gethostname()} (process {os.getpid()})"
    mine = next((one for one in seen if one.values == values), None)
    if mine is None or now_ms - mine.last_ms >= _NOTE_MS:
        mine = Configuration(values, me, now_ms if mine is None else mine.first_ms, now_ms)
        ledger.put_configuration(mine)
    return contradictions(values, (one for one in seen if one.last_ms > mine.first_ms), now_ms)


def contradictions(values: Mapping[str, str], others: Iterable[Configuration], now_ms: int) -> list[str]:
    """What others have otherwise, a sentence for each of them."""
    found = []
    for other in others:
        differ = [name for name in values if other.values.get(name, values[name]) != values[name]]
        if differ:
            listed = "; ".join(f"{name} {other.values[name]} there, {values[name]} here" for name in differ)
            found.append(
                f"another process works on this ledger with another configuration: {listed}; it was {other.who}, "
                f"{max(0, now_ms - other.last_ms) / 1000:.0f} s ago: give both the same, or stop one"
            )
    return found
