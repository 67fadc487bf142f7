"""Which blocks are in blocks of their hour, on every kind of database; what is read of an hour counts each job once."""

from pyro_assets.explore.read import ArchivedJob, ArchivedJobs
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords, HourObject, HourOrder, HourUnit
from pyro_assets.ledger.upkeep import UpkeepRecords
from tests.ledger.test_upkeep import LATER_MS, jobs_done
from tests.support.ledgers import HOUR, NOW_MS

TENANT = "acme"


def unit_of(order: HourOrder, first_ms: int = 1_000, last_ms: int = 2_000) -> HourUnit:
    objects = (
        HourObject("block", "B" * 26, f"block-{order.shard}", 70, 1),
        HourObject("summary", "B" * 26, "sum", 7, 2),
    )
    jobs = tuple(one.job for one in order.blocks)
    return HourUnit(HOUR, order.shard, order.tenant, jobs, order.blocks[0].job_ms, 9, 99, first_ms, last_ms, objects)


def shown(jobs: list[ArchivedJob]) -> list[tuple[int, bool, int]]:
    return [(one.shard, one.is_summary, one.jobs) for one in jobs]


def test_units_take_the_place_of_blocks(ledger: Ledger):
    jobs_done(ledger)
    records, reading = HourBlockRecords(ledger), ArchivedJobs(ledger)
    orders = records.orders(HOUR, LATER_MS)
    assert orders is not None
    assert [(one.shard, one.tenant, len(one.blocks)) for one in orders] == [(4, TENANT, 1), (5, TENANT, 1)]
    assert shown(reading.explorable([HOUR], TENANT)) == [(4, False, 1), (5, False, 1)]
    unit = unit_of(orders[0])
    assert records.commit(orders[0], [unit])
    assert records.units(HOUR) == records.units(HOUR, TENANT) == [unit]
    assert records.units(HOUR, "nobody") == []
    assert shown(reading.explorable([HOUR], TENANT)) == [(4, True, 1), (5, False, 1)]
    assert shown(reading.explorable([HOUR], "nobody")) == shown(reading.explorable([], TENANT)) == []
    assert not records.mark_done(HOUR, LATER_MS)
    # Again, in its place.
    assert records.commit(orders[0], [unit])
    assert records.units(HOUR) == [unit]
    assert records.commit(orders[1], [unit_of(orders[1])])
    assert records.orders(HOUR, LATER_MS) == []
    assert records.mark_done(HOUR, LATER_MS)
    assert UpkeepRecords(ledger).upkeep_states()[HOUR].hour_blocks_ms == LATER_MS


def test_parts_of_hours_are_read_job_by_job_while_they_are_there(ledger: Ledger):
    jobs_done(ledger)
    records, reading = HourBlockRecords(ledger), ArchivedJobs(ledger)
    for order in records.orders(HOUR, LATER_MS) or ():
        assert records.commit(order, [unit_of(order)])
    whole, part = (1_000, 2_000), (1_000, 1_999)
    assert shown(reading.explorable([HOUR], TENANT, whole)) == [(4, True, 1), (5, True, 1)]
    assert shown(reading.explorable([HOUR], TENANT, part)) == [(4, False, 1), (5, False, 1)]
    assert reading.explorable([HOUR], TENANT, (2_001, 3_000)) == []
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET blocks_removed_ms = 1 WHERE shard = 4")
    block, job = sorted(reading.explorable([HOUR], TENANT, part), key=lambda one: one.shard)
    assert ([one.key for one in block.outputs], block.is_summary) == (["block-4"], False)
    assert job.id in records.units(HOUR)[1].jobs
    # What is about to be removed is not read any more.
    records.mark_removed(HOUR, LATER_MS)
    assert records.units(HOUR) == []
    assert len(records.objects(HOUR)) == 4
    assert not records.forget_if_there(HOUR)
    records.forget(HOUR)
    assert (records.objects(HOUR), records.hours_with_units(HOUR)) == ([], [])


def test_an_order_that_is_out_of_date_changes_nothing(ledger: Ledger):
    jobs_done(ledger)
    records = HourBlockRecords(ledger)
    (order, *_) = records.orders(HOUR, LATER_MS) or ()
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE outputs SET crc32c = crc32c + 1")
    assert not records.commit(order, [unit_of(order)])
    assert records.units(HOUR) == []


def test_an_hour_with_open_jobs_has_no_orders(ledger: Ledger):
    jobs_done(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'planned' WHERE shard = 4")
    assert HourBlockRecords(ledger).orders(HOUR, NOW_MS) is None
    assert not HourBlockRecords(ledger).mark_done(HOUR, NOW_MS)
