"""Configurations that processes work on this ledger with: what they say, since when, and when last.

Add what two processes must agree on to what `pipeline.configurations` notes; what a value means is not known here.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from sqlalchemy import select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.facts import put_fact
from pyro_assets.ledger.schema import facts

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


class Configurations(Database):
    """The part of the ledger that knows how its processes are configured."""

    def put_configuration(self, now: Configuration) -> None:
        """Notes a configuration in the place of what was known of the same values; those of yesterday are forgotten."""
        stale = facts.c.name.startswith(_PREFIX) & (facts.c.updated_ms < now.last_ms - 86_400_000)
        value = json.dumps({"values": dict(now.values), "who": now.who, "first_ms": now.first_ms})
        with self._write() as connection:
            connection.execute(facts.delete().where(stale))
            put_fact(connection, _PREFIX + now.name, value, now.last_ms)

    def configurations(self, since_ms: int) -> list[Configuration]:
        """Those that were seen since a moment, the latest first."""
        seen = (
            select(facts)
            .where(facts.c.name.startswith(_PREFIX), facts.c.updated_ms >= since_ms)
            .order_by(facts.c.updated_ms.desc())
        )
        with self._read() as connection:
            return [Configuration(**json.loads(row.value), last_ms=row.updated_ms) for row in connection.execute(seen)]
