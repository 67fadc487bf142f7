"""The ledger's facts about receivers: since when they get samples, whether they are paused, their last error.

Here, too:
* series that a receiver got or refused lately: runs are processes of a minute, and the next one is to know of them.

Names only; URLs and secrets never come here. Add a fact when it must outlive a process.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Table, select
from sqlalchemy.dialects import postgresql, sqlite

from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords, receipt_of
from pyro_assets.ledger.database import Ledger, Queries, fact, put_fact
from pyro_assets.ledger.lag import is_live
from pyro_assets.ledger.schema import active_series, facts, jobs, receipts, refused_series
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.app import App

_PREFIX: Final = "receiver:"
_FIRST_SEEN: Final = "first_seen_ms"
_PAUSED: Final = "paused_ms"
_OK: Final = "ok_ms"
_ERROR: Final = "error"


@dataclass(frozen=True, slots=True)
class TenantState:
    """The state of one tenant at a receiver: since when it is paused, and why sending to it stopped last."""

    paused_ms: int | None = None
    error: str = ""
    error_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ReceiverState:
    """The state of a receiver.

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


def start_ms_of(ledger: Ledger, receiver: Receiver, now_ms: int) -> int:
    """The time from which on a receiver gets samples by itself, Unix ms."""
    if receiver.start != "now":
        return hour_start_ms(receiver.start)
    return ReceiverRecords(ledger).see_receiver(receiver.name, now_ms).first_seen_ms or now_ms


def receiver_starts(app: "App") -> dict[str, int]:
    """Receiver -> the time from which on it gets samples by itself, Unix ms.

    Raises:
        ConfigError: the file of receivers is refused.
    """
    return {receiver.name: start_ms_of(app.ledger, receiver, app.clock()) for receiver in app.receivers()}


def export_due_hours(app: "App", names: Collection[str] = ()) -> dict[str, int]:
    """Hour -> jobs that some receiver (of these names, or any) lacks since its start, oldest first.

    Raises:
        ConfigError: the file of receivers is refused.
    """
    found: dict[str, int] = {}
    for name, since_ms in receiver_starts(app).items():
        if not names or name in names:
            for hour, lacking in ReceiptRecords(app.ledger).export_due_hours(name, since_ms=since_ms).items():
                found[hour] = max(lacking, found.get(hour, 0))
    return dict(sorted(found.items()))


class ReceiverRecords(Queries):
    """The part of the ledger that knows receivers by name."""

    def receiver_state(self, name: str) -> ReceiverState:
        """The state of a receiver; of an unknown one all fields are empty."""
        with self.ledger.read() as connection:
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

    def closed_between(self, after_ms: int, until_ms: int) -> Iterator[tuple[Receipt, int | None]]:
        """Receipts that were closed for the first time in a span of time, and when their job's first source came.

        None for those that a person asked for, such as a backfill's: their age is no lag.
        """
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(receipts, jobs.c.first_created_ms, is_live(receipts.c.first_ms).label("is_live"))
                .join(jobs, jobs.c.id == receipts.c.job_id)
                .where(receipts.c.first_ms > after_ms, receipts.c.first_ms <= until_ms)
                .order_by(receipts.c.first_ms)
            ).all()
        for row in rows:
            yield receipt_of(row), row.first_created_ms if row.is_live else None

    def see_receiver(self, name: str, now_ms: int) -> ReceiverState:
        """Notes that a receiver is there, the first time; returns what is known of it."""
        state = self.receiver_state(name)
        if state.first_seen_ms is not None:
            return state
        with self.ledger.write() as connection:
            if fact(connection, _name(name, _FIRST_SEEN)) is None:
                put_fact(connection, _name(name, _FIRST_SEEN), str(now_ms), now_ms)
        return self.receiver_state(name)

    def pause_receiver(self, name: str, now_ms: int, *, paused: bool, tenant: str = "") -> bool:
        """Pauses or resumes a receiver, or one tenant there; returns whether that changed anything."""
        paused_fact = _name(name, _PAUSED, tenant)
        with self.ledger.write() as connection:
            if (fact(connection, paused_fact) is not None) == paused:
                return False
            put_fact(connection, paused_fact, str(now_ms) if paused else None, now_ms)
            return True

    def note_receiver(self, name: str, now_ms: int, *, error: str = "", tenant: str = "") -> None:
        """Notes how sending (to one tenant) went: an error, which must not hold a secret, or that it went well."""
        with self.ledger.write() as connection:
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


#: Receivers themselves count a series as active for at most so long after its last sample.
REMEMBERED_MS: Final = 3 * 3_600_000
#: After this time a series that was refused is tried among the others again.
REFUSED_MS: Final = 24 * 3_600_000
_ROWS_AT_ONCE: Final = 5_000
_SIGN: Final = 1 << 63


class ActiveSeriesRecords(Queries):
    """The part of the ledger that knows which series count against a receiver's limit."""

    def active_series(self, receiver: str, tenant: str, hour: int) -> set[int]:
        """Hashes (0 <= hash < 2**64) of the series of a tenant and hour (Unix ms // 3,600,000) that it was sent."""
        query = select(active_series.c.series).where(
            active_series.c.receiver == receiver, active_series.c.tenant == tenant, active_series.c.hour == hour
        )
        with self.ledger.read() as connection:
            return {_unsigned(row[0]) for row in connection.execute(query)}

    def add_active_series(self, receiver: str, fresh: Mapping[tuple[str, int], Collection[int]], now_ms: int) -> None:
        """Notes series before their first sample is sent, and forgets those of long ago.

        Args:
            receiver: its name.
            fresh: (tenant, hour) -> hashes; those that are known already do not matter.
            now_ms: Unix milliseconds.
        """
        rows = [
            {
                "receiver": receiver,
                "tenant": tenant,
                "hour": hour,
                "series": _signed(one),
                "noted_ms": now_ms,
            }
            for (tenant, hour), series in fresh.items()
            for one in sorted(series)
        ]
        self._remember(active_series, receiver, rows, now_ms - REMEMBERED_MS)

    def refused_series(self, receiver: str, now_ms: int) -> dict[str, set[int]]:
        """X-Scope-OrgID -> hashes of the series that a receiver refused lately."""
        query = select(refused_series.c.tenant, refused_series.c.series).where(
            refused_series.c.receiver == receiver, refused_series.c.noted_ms >= now_ms - REFUSED_MS
        )
        found: dict[str, set[int]] = {}
        with self.ledger.read() as connection:
            for tenant, series in connection.execute(query):
                found.setdefault(tenant, set()).add(_unsigned(series))
        return found

    def add_refused_series(self, receiver: str, fresh: Mapping[str, Collection[int]], now_ms: int) -> None:
        """Notes series that a receiver refused, and forgets those of long ago."""
        rows = [
            {"receiver": receiver, "tenant": tenant, "series": _signed(one), "noted_ms": now_ms}
            for tenant, series in fresh.items()
            for one in sorted(series)
        ]
        self._remember(refused_series, receiver, rows, now_ms - REFUSED_MS)

    def _remember(self, table: Table, receiver: str, rows: Sequence[Mapping[str, Any]], oldest_ms: int) -> None:
        with self.ledger.write() as connection:
            # Another process may note the same series.
            make = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
            for begin in range(0, len(rows), _ROWS_AT_ONCE):
                connection.execute(make(table).on_conflict_do_nothing(), rows[begin : begin + _ROWS_AT_ONCE])
            connection.execute(table.delete().where(table.c.receiver == receiver, table.c.noted_ms < oldest_ms))


def _signed(series: int) -> int:
    """Databases have no unsigned numbers of 64 bits."""
    return series - 2 * _SIGN if series >= _SIGN else series


def _unsigned(series: int) -> int:
    return series % (2 * _SIGN)
