"""What the ledger remembers of receivers: since when they get samples, whether they are paused, how they did last.

Names only; URLs and secrets never come here. Add a fact when it must outlive a process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.facts import fact, put_fact
from pyro_assets.ledger.schema import facts

_PREFIX: Final = "receiver:"
_FIRST_SEEN: Final = "first_seen_ms"
_PAUSED: Final = "paused_ms"
_OK: Final = "ok_ms"
_ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class TenantState:
    """What is known of one tenant at a receiver: since when it is paused, and why sending to it stopped last."""

    paused_ms: int | None = None
    error: str = ""
    error_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """What is known of a receiver.

    Attributes:
        first_seen_ms: when it was first there to be sent to; None before.
        paused_ms: since when it is paused, None when it is not.
        ok_ms: when it last accepted something.
        error: why sending stopped last, "" when it went well since; error_ms: when.
        tenants: those (as the receiver knows them) that are paused, or that it does not take samples of right now.
    """

    name: str
    first_seen_ms: int | None = None
    paused_ms: int | None = None
    ok_ms: int | None = None
    error: str = ""
    error_ms: int | None = None
    tenants: Mapping[str, TenantState] = field(default_factory=dict)

    @property
    def paused_tenants(self) -> list[str]:
        """Tenants that are paused."""
        return [tenant for tenant, state in self.tenants.items() if state.paused_ms is not None]

    @property
    def held_words(self) -> dict[str, str]:
        """Tenant -> why nothing is sent to it: paused, or the error."""
        return {
            tenant: "paused" if state.paused_ms is not None else state.error for tenant, state in self.tenants.items()
        }

    def held_tenants(self, since_ms: int) -> list[str]:
        """Tenants that are paused, or failed at this time or later."""
        return [
            tenant
            for tenant, state in self.tenants.items()
            if state.paused_ms is not None or (state.error_ms is not None and state.error_ms >= since_ms)
        ]


class ReceiverStates(Database):
    """The part of the ledger that knows receivers by name."""

    def receiver_state(self, name: str) -> ReceiverState:
        """What is known of a receiver; nothing, of an unknown one."""
        with self._read() as connection:
            rows = connection.execute(
                select(facts).where(facts.c.name.startswith(f"{_PREFIX}{name}:", autoescape=True))
            )
            found: dict[str, Any] = {}
            of_tenants: dict[str, dict[str, Any]] = {}
            for row in rows:
                what, _, tenant = row.name.removeprefix(f"{_PREFIX}{name}:").partition(":")
                (of_tenants.setdefault(tenant, {}) if tenant else found)[what] = row
        number = {key: int(found[key].value) for key in (_FIRST_SEEN, _PAUSED, _OK) if key in found}
        error = found.get(_ERROR)
        return ReceiverState(
            name,
            number.get(_FIRST_SEEN),
            number.get(_PAUSED),
            number.get(_OK),
            error.value if error is not None else "",
            error.updated_ms if error is not None else None,
            {tenant: _tenant_state(of_tenants[tenant]) for tenant in sorted(of_tenants)},
        )

    def see_receiver(self, name: str, now_ms: int) -> ReceiverState:
        """Notes that a receiver is there, the first time; returns what is known of it."""
        state = self.receiver_state(name)
        if state.first_seen_ms is not None:
            return state
        with self._write() as connection:
            if fact(connection, _name(name, _FIRST_SEEN)) is None:
                put_fact(connection, _name(name, _FIRST_SEEN), str(now_ms), now_ms)
        return self.receiver_state(name)

    def pause_receiver(self, name: str, now_ms: int, *, paused: bool, tenant: str = "") -> bool:
        """Pauses or resumes a receiver, or one tenant there; returns whether that changed anything."""
        paused_fact = _name(name, _PAUSED, tenant)
        with self._write() as connection:
            if (fact(connection, paused_fact) is not None) == paused:
                return False
            put_fact(connection, paused_fact, str(now_ms) if paused else None, now_ms)
            return True

    def note_receiver(self, name: str, now_ms: int, *, error: str = "", tenant: str = "") -> None:
        """Notes how sending (to one tenant) went: an error, which must not hold a secret, or that it went well."""
        with self._write() as connection:
            put_fact(connection, _name(name, _ERROR, tenant), error or None, now_ms)
            if not error:
                put_fact(connection, _name(name, _OK), str(now_ms), now_ms)


def _name(receiver: str, what: str, tenant: str = "") -> str:
    return f"{_PREFIX}{receiver}:{what}" + (f":{tenant}" if tenant else "")


def _tenant_state(found: Mapping[str, Any]) -> TenantState:
    paused, error = found.get(_PAUSED), found.get(_ERROR)
    return TenantState(
        int(paused.value) if paused is not None else None,
        error.value if error is not None else "",
        error.updated_ms if error is not None else None,
    )
