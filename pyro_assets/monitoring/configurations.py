"""Whether all processes that work on a ledger do so with the same configuration: each notes its own, and looks.

Here, too:
* configurations that processes work on this ledger with: what they say, since when, and when last.

Add a setting here when results depend on which process took a job. A new configuration in the place of an old one is no
contradiction: only what is seen again after another one came is at work beside it.
"""

import json
import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from pyro_assets.ledger.database import Ledger, Queries, put_fact
from pyro_assets.ledger.schema import facts
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import place_of

if TYPE_CHECKING:
    from pyro_assets.receivers.model import Receiver

_PREFIX: Final = "configuration/"


@dataclass(frozen=True, slots=True)
class Configuration:
    """Setting -> value, who came with it last (in words), and from when to when it was seen, Unix ms."""

    values: Mapping[str, str]
    who: str
    first_ms: int
    last_ms: int

    @property
    def name(self) -> str:
        """The same for the same values."""
        return sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:16]


class ConfigurationRecords(Queries):
    """The part of the ledger that knows how its processes are configured."""

    def put_configuration(self, now: Configuration) -> None:
        """Notes a configuration in the place of what was known of the same values; those of yesterday are forgotten."""
        stale = facts.c.name.startswith(_PREFIX) & (facts.c.updated_ms < now.last_ms - 86_400_000)
        value = json.dumps({"values": dict(now.values), "who": now.who, "first_ms": now.first_ms})
        with self.ledger.write() as connection:
            connection.execute(facts.delete().where(stale))
            put_fact(connection, _PREFIX + now.name, value, now.last_ms)

    def configurations(self, since_ms: int) -> list[Configuration]:
        """Those that were seen since a moment, the latest first."""
        seen = (
            select(facts)
            .where(facts.c.name.startswith(_PREFIX), facts.c.updated_ms >= since_ms)
            .order_by(facts.c.updated_ms.desc())
        )
        with self.ledger.read() as connection:
            return [Configuration(**json.loads(row.value), last_ms=row.updated_ms) for row in connection.execute(seen)]


#: Who was not seen for so long is gone.
SEEN_MS: Final = 180_000
#: Ticks note their configuration so often.
_NOTE_MS: Final = 60_000
_SETTINGS: Final = ("compaction", "dedup", "start_date", "job_blocks", "job_mib", "job_age_seconds", "lanes")


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


def note(ledger: Ledger, values: Mapping[str, str], what: str, now_ms: int) -> list[str]:
    """Notes the configuration of this process, and says which others are at work on the ledger, a sentence each.

    Args:
        ledger: that both work on.
        values: see `values_of`.
        what: this process does, in a word: tick or run.
        now_ms: Unix milliseconds.
    """
    seen = ConfigurationRecords(ledger).configurations(now_ms - SEEN_MS)
    me = f"{what} on {socket.gethostname()} (process {os.getpid()})"
    mine = next((one for one in seen if one.values == values), None)
    if mine is None or now_ms - mine.last_ms >= _NOTE_MS:
        mine = Configuration(values, me, now_ms if mine is None else mine.first_ms, now_ms)
        ConfigurationRecords(ledger).put_configuration(mine)
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
