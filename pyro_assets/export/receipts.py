"""The ledger's receipts: which samples each receiver has of each job, so that none is sent twice with another value.

A receipt is opened before the first request of a job and closed after the last answer: one that is still open says
that samples of this hash may have arrived. Add questions about receipts here; sending belongs to `export`, its order to
`operations`.
"""

import json
import os
import socket
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, or_, select

from pyro_assets.export.receipt import (
    MAX_EXAMPLES,
    DueExport,
    Receipt,
    ReceiptState,
    ReceiverHour,
    add_refusals,
    fields_of_detail,
)
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.lag import is_live
from pyro_assets.ledger.records import Lane, SeriesFile, in_lane, within
from pyro_assets.ledger.schema import OPEN_STATES, jobs, receipts, series_files

#: A process that has had a receipt open for so long is no longer waited for.
_OWNED_MS: Final = 120_000
#: States of receipts that an export goes on with.
UNCLOSED: Final = ("sending", "owed")
#: Fields that a receipt and its row have alike.
_COLUMNS: Final = ("state", "samples", "accepted", "refused", "sample_hash", "file_ms")


class ReceiptRecords(Queries):
    """The part of the ledger that keeps receipts."""

    def export_due(
        self,
        receiver: str,
        hours: Collection[str] | None,
        *,
        since_ms: int = 0,
        limit: int = 200,
        lane: Lane | None = None,
        tenant: str = "",
    ) -> list[DueExport]:
        """Jobs of which a receiver lacks something, in the order of sending: by time, then shard.

        Args:
            receiver: its name.
            hours: partition keys; None for all that are not exported to everyone yet.
            since_ms: only jobs whose samples are of this time or later; with hours, also those of which the receiver
                has something already.
            limit: the most jobs to return.
            lane: only jobs of these shards.
            tenant: what is owed to it alone; "": what is due to all others.
        """
        states = ("derived",) if hours is None else ("derived", "exported")
        query = (
            select(jobs)
            .where(jobs.c.state.in_(states), _lacks_of(receiver, tenant), in_lane(lane))
            .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
            .limit(limit)
        )
        if hours is None:
            query = query.where(jobs.c.timestamp_ms >= since_ms)
        else:
            query = query.where(jobs.c.hour.in_(list(hours)))
            query = query.where(or_(jobs.c.timestamp_ms >= since_ms, _begun(receiver)))
        with self.ledger.read() as connection:
            rows = connection.execute(query).all()
            return [_due(connection, receiver, tenant, row) for row in rows]

    def export_due_hours(
        self, receiver: str, *, since_ms: int = 0, lane: Lane | None = None, without: Collection[str] = ()
    ) -> dict[str, int]:
        """Hour -> jobs that no receiver or not this one has, oldest first; its cost does not grow with what is sent.

        What is owed only to tenants of `without` does not count.
        """
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(jobs.c.hour, func.count())
                .where(jobs.c.state == "derived", or_(jobs.c.timestamp_ms >= since_ms, _begun(receiver)))
                .where(lacks(receiver, without), in_lane(lane))
                .group_by(jobs.c.hour)
                .order_by(jobs.c.hour)
            )
            return {row[0]: row[1] for row in rows}

    def owed_tenants(
        self, receiver: str, hours: Collection[str] | None = None, lane: Lane | None = None
    ) -> dict[str, int]:
        """Tenant -> jobs that wait for it alone; of some hours and shards only."""
        query = (
            select(receipts.c.tenant, func.count(receipts.c.job_id.distinct()))
            .join(jobs, jobs.c.id == receipts.c.job_id)
            .join(series_files, _is_file(series_files))
            .where(jobs.c.state.in_(("derived",) if hours is None else ("derived", "exported")), in_lane(lane))
            .where(
                receipts.c.receiver == receiver, receipts.c.tenant != "", series_files.c.key.is_not(None), ~_closed()
            )
            .group_by(receipts.c.tenant)
            .order_by(receipts.c.tenant)
        )
        if hours is not None:
            query = query.where(jobs.c.hour.in_(list(hours)))
        with self.ledger.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def unfinished_before(self, shard: int, timestamp_ms: int, since_ms: int = 0) -> bool:
        """Whether an earlier job of a shard is not derived yet."""
        with self.ledger.read() as connection:
            found = connection.execute(
                select(jobs.c.id)
                .where(
                    jobs.c.state.in_(OPEN_STATES),
                    jobs.c.shard == shard,
                    jobs.c.timestamp_ms < timestamp_ms,
                    jobs.c.timestamp_ms >= since_ms,
                )
                .limit(1)
            )
            return found.first() is not None

    def open_receipts(self, opened: Sequence[Receipt], now_ms: int) -> bool:
        """Opens receipts of one job before its first request, unless another process is at it or has done it.

        A process of this machine that is gone is no obstacle, nor is one that has not closed for two minutes: the same
        samples are sent again then, which changes nothing.

        Returns:
            False where the job is another process's; nothing was opened then.
        """
        owner = f"{socket.gethostname()}/{os.getpid()}"
        with self.ledger.write() as connection:
            for receipt in opened:
                row = connection.execute(select(receipts).where(_same(receipt))).first()
                if row is not None and not _may_open(receipt_of(row), receipt, owner, now_ms):
                    return False
            for receipt in opened:
                _put(connection, replace(receipt, owner=owner, opened_ms=now_ms), now_ms)
        return True

    def put_receipts(
        self,
        written: Sequence[Receipt],
        now_ms: int,
        *,
        wanted_by: Sequence[str] = (),
        owed: Sequence[Receipt] = (),
        asked_ms: int | None = None,
    ) -> None:
        """Opens or closes receipts of one job, in one transaction.

        Args:
            written: as they shall be; `attempts`, `first_ms` and `last_ms` are kept up here.
            now_ms: Unix milliseconds.
            wanted_by: names of all receivers that are to get the job; when each has all of it, it is exported.
            asked_ms: when the export began, where a person asked for it: that it is late is no lag then.
            owed: receipts that tenants have from now on where they have none.
        """
        with self.ledger.write() as connection:
            if asked_ms is not None and written:
                first = and_(jobs.c.id.in_({receipt.job_id for receipt in written}), jobs.c.asked_ms.is_(None))
                connection.execute(jobs.update().where(first).values(asked_ms=asked_ms))
            for receipt in written:
                _put(connection, receipt, now_ms)
            for receipt in owed:
                if connection.execute(select(receipts.c.job_id).where(_same(receipt))).first() is None:
                    _put(connection, receipt, now_ms)
            for job_id in {receipt.job_id for receipt in written} if wanted_by else ():
                lacking = or_(*(lacks(receiver) for receiver in wanted_by))
                connection.execute(
                    jobs.update()
                    .where(jobs.c.id == job_id, jobs.c.state == "derived", ~lacking)
                    .values(state="exported", exported_ms=now_ms)
                )

    def drop_open_receipts(self, job_id: str, receiver: str, tenant: str = "") -> None:
        """Takes back what was opened for the first time, where it is certain that nothing arrived."""
        opened = and_(
            receipts.c.job_id == job_id,
            receipts.c.receiver == receiver,
            receipts.c.tenant == tenant,
            receipts.c.state == "sending",
            receipts.c.attempts <= 1,
            receipts.c.first_ms.is_(None),
        )
        back = receipts.update().values(state="owed", attempts=0) if tenant else receipts.delete()
        with self.ledger.write() as connection:
            connection.execute(back.where(opened))

    def receipts_of(self, job_id: str) -> list[Receipt]:
        """All receipts of a job, by receiver and kind."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(receipts)
                .where(receipts.c.job_id == job_id)
                .order_by(receipts.c.receiver, receipts.c.kind, receipts.c.tenant)
            )
            return [receipt_of(row) for row in rows]

    def keep_changed(self, receiver: str, begin_ms: int, end_ms: int, now_ms: int) -> int:
        """Accepts that a receiver keeps what it was sent where samples of [begin_ms, end_ms) changed afterwards.

        Returns:
            How many receipts were reported as changed and are not any more.
        """
        with self.ledger.write() as connection:
            rows = connection.execute(
                select(receipts)
                .join(jobs, jobs.c.id == receipts.c.job_id)
                .where(within(begin_ms, end_ms))
                .where(receipts.c.receiver == receiver, receipts.c.state == "changed")
            ).all()
            for row in rows:
                receipt = receipt_of(row)
                state: ReceiptState = "refused" if receipt.refused else "sent"
                _put(connection, replace(receipt, state=state, changed=(), examples=()), now_ms)
        return len(rows)

    def receiver_hours(self, hour: str, scopes: dict[str, int]) -> dict[str, ReceiverHour]:
        """Sums over the receipts of each receiver for an hour.

        Args:
            hour: partition key.
            scopes: receiver -> the time from which on it gets samples, Unix ms; others are shown by their receipts.
        """
        with self.ledger.read() as connection:
            found = _sums_of(connection, hour)
            for receiver, since_ms in scopes.items():
                in_scope = or_(jobs.c.timestamp_ms >= since_ms, _begun(receiver))
                pending = select(func.count()).where(
                    jobs.c.hour == hour, jobs.c.state.in_(("derived", "exported")), in_scope, lacks(receiver)
                )
                found.setdefault(receiver, ReceiverHour()).pending = connection.execute(pending).scalar_one()
        return dict(sorted(found.items()))

    def receipts_between(self, receiver: str, begin_ms: int, end_ms: int) -> dict[tuple[str, str], list[Receipt]]:
        """(job, kind) -> a receiver's receipts, of jobs with samples in [begin_ms, end_ms)."""
        query = (
            select(receipts)
            .join(jobs, jobs.c.id == receipts.c.job_id)
            .where(within(begin_ms, end_ms), receipts.c.receiver == receiver)
        )
        found: dict[tuple[str, str], list[Receipt]] = {}
        with self.ledger.read() as connection:
            for row in connection.execute(query):
                found.setdefault((row.job_id, row.kind), []).append(receipt_of(row))
        return found


def _is_file(files: Any) -> ColumnElement[bool]:
    """Whether a receipt is for a file of series."""
    return and_(receipts.c.job_id == files.c.job_id, receipts.c.kind == files.c.kind)


def _covers(receiver: str, tenant: str = "") -> Select[Any]:
    """Receipts of a receiver for a file of series: of one tenant, or of all that have none of their own."""
    return select(receipts.c.job_id).where(
        _is_file(series_files), receipts.c.tenant == tenant, receipts.c.receiver == receiver
    )


def _closed() -> ColumnElement[bool]:
    return and_(
        receipts.c.state.not_in(UNCLOSED),
        receipts.c.file_ms.is_not(None),
        receipts.c.file_ms == series_files.c.written_ms,
    )


def _lacks_file(receiver: str, tenant: str = "") -> ColumnElement[bool]:
    mine, is_closed = _covers(receiver, tenant), exists(_covers(receiver, tenant).where(_closed()))
    # A file without rows needs no receipt, but one that was sent before and has none now is a change.
    counts = exists(mine) if tenant else or_(series_files.c.rows > 0, exists(mine))
    return and_(series_files.c.key.is_not(None), ~is_closed, counts)


def _owes_file(receiver: str, without: Collection[str]) -> ColumnElement[bool]:
    """Whether a tenant, none of `without`, lacks what it has receipts of its own for."""
    own = select(receipts.c.job_id).where(
        _is_file(series_files), receipts.c.receiver == receiver, receipts.c.tenant != "", ~_closed()
    )
    if without:
        own = own.where(receipts.c.tenant.not_in(list(without)))
    return and_(series_files.c.key.is_not(None), exists(own))


def _some_file(lacking: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(series_files.c.job_id).where(series_files.c.job_id == jobs.c.id, lacking).correlate(jobs))


def _lacks_of(receiver: str, tenant: str) -> ColumnElement[bool]:
    return _some_file(_lacks_file(receiver, tenant))


def lacks(receiver: str, without: Collection[str] = ()) -> ColumnElement[bool]:
    """Whether a receiver lacks some of a job, of whichever tenant; what tenants of `without` lack alone left out."""
    return _some_file(or_(_lacks_file(receiver), _owes_file(receiver, without)))


def _begun(receiver: str) -> ColumnElement[bool]:
    mine = (receipts.c.job_id == jobs.c.id) & (receipts.c.receiver == receiver)
    return exists(select(receipts.c.job_id).where(mine).correlate(jobs))


def _due(connection: Connection, receiver: str, tenant: str, row: Any) -> DueExport:
    files = connection.execute(
        select(series_files)
        .where(series_files.c.job_id == row.id, _lacks_file(receiver, tenant))
        .order_by(series_files.c.kind)
    )
    mine = and_(receipts.c.job_id == row.id, receipts.c.receiver == receiver, receipts.c.tenant == tenant)
    known = connection.execute(select(receipts).where(mine))
    return DueExport(
        job_id=row.id,
        hour=row.hour,
        shard=row.shard,
        timestamp_ms=row.timestamp_ms,
        derived_ms=row.derived_ms or 0,
        first_created_ms=row.first_created_ms,
        files=tuple(map(SeriesFile.from_row, files)),
        receipts={one.kind: receipt_of(one) for one in known},
        tenant=tenant,
    )


def _may_open(there: Receipt, wanted: Receipt, owner: str, now_ms: int) -> bool:
    if there.state == "owed":
        return True
    if there.state != "sending":
        return there.file_ms != wanted.file_ms  # else another process has sent it
    if there.owner in ("", owner) or now_ms - there.opened_ms >= _OWNED_MS:
        return True
    host, _, pid = there.owner.rpartition("/")
    return host == owner.rpartition("/")[0] and not _is_running(pid)


def _is_running(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _key(receipt: Receipt) -> dict[str, str]:
    return {"job_id": receipt.job_id, "kind": receipt.kind, "tenant": receipt.tenant, "receiver": receipt.receiver}


def _same(receipt: Receipt) -> ColumnElement[bool]:
    return and_(*(receipts.c[name] == value for name, value in _key(receipt).items()))


def _put(connection: Connection, receipt: Receipt, now_ms: int) -> None:
    key, same = _key(receipt), _same(receipt)
    before = connection.execute(select(receipts.c.attempts, receipts.c.first_ms).where(same)).first()
    is_open = receipt.state in UNCLOSED
    first_ms = before.first_ms if before is not None else None
    if not is_open and first_ms is None:
        first_ms = receipt.first_ms if receipt.first_ms is not None else now_ms
    values = {name: getattr(receipt, name) for name in _COLUMNS} | {
        "attempts": (before.attempts if before is not None else 0) + (receipt.state == "sending"),
        "first_ms": first_ms,
        "last_ms": None if is_open else now_ms,
        "detail": receipt.detail(),
    }
    if before is None:
        connection.execute(receipts.insert().values(**key, **values))
    else:
        connection.execute(receipts.update().where(same).values(values))


def receipt_of(row: Any) -> Receipt:
    """A row of the table as a receipt."""
    return Receipt(
        **{name: getattr(row, name) for name in ("job_id", "kind", "receiver", "first_ms", "last_ms", "attempts")},
        **{name: getattr(row, name) for name in _COLUMNS} | {"sample_hash": row.sample_hash or ""},
        **fields_of_detail(json.loads(row.detail or "{}")) | {"tenant": row.tenant},
    )


def _sums_of(connection: Connection, hour: str) -> dict[str, ReceiverHour]:
    """Receiver -> what its receipts of an hour say."""
    query = (
        select(receipts, jobs.c.first_created_ms, is_live(receipts.c.first_ms).label("is_live"))
        .join(jobs, jobs.c.id == receipts.c.job_id)
        .where(jobs.c.hour == hour)
        .order_by(receipts.c.receiver, jobs.c.timestamp_ms)
    )
    rows: Iterable[Any] = connection.execute(query)
    return {receiver: _receiver_hour(its) for receiver, its in groupby(rows, lambda row: str(row.receiver))}


def _receiver_hour(rows: Iterable[Any]) -> ReceiverHour:
    status = ReceiverHour()
    # A job has receipts of two kinds, and of tenants apart: it is as far as the least of them.
    closed, is_open, owed, waiting = set[str](), set[str](), set[str](), set[tuple[str, str]]()
    lags: dict[str, int] = {}
    for row in rows:
        receipt = receipt_of(row)
        {"sending": is_open, "owed": owed}.get(receipt.state, closed).add(row.job_id)
        if receipt.tenant and receipt.state in UNCLOSED:
            waiting.add((receipt.tenant, row.job_id))
        _add(status, receipt)
        if row.first_ms is not None and row.accepted and row.is_live:
            lags[row.job_id] = max(row.first_ms - row.first_created_ms, lags.get(row.job_id, 0))
    status.open, status.jobs = len(is_open), len(closed - is_open - owed)
    status.owed = Counter(tenant for tenant, _ in waiting)
    status.lags_ms = list(lags.values())
    return status


def _add(status: ReceiverHour, receipt: Receipt) -> None:
    status.samples += receipt.samples
    status.accepted += receipt.accepted
    status.refused += receipt.refused
    status.changed += receipt.state == "changed"
    status.reasons.update(receipt.reasons)
    add_refusals(status.tenants, receipt.tenants)
    for name in ("bytes", "requests", "retries"):
        setattr(status, name, getattr(status, name) + int(receipt.cost.get(name, 0)))
    status.seconds += receipt.cost.get("seconds", 0.0)
    status.examples += receipt.examples[: MAX_EXAMPLES - len(status.examples)]
