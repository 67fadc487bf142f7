"""Partitions begin with the first hour ever seen: remembered, moved backwards only, read without touching a bucket."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest

from pyro_assets.archive.rebuild import rebuild
from pyro_assets.definitions import build_defs
from pyro_assets.defs.due import Watch
from pyro_assets.ledger.database import Ledger, fact
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.schema import sources
from pyro_assets.operations import ticks
from pyro_assets.planning.report import TickReport
from pyro_assets.storage.keys import HOUR_FORMAT, hour_start_ms
from tests.support.fake_pipeline import FakePipeline, resources_with
from tests.support.ledgers import HOUR, HOUR_START_MS, NOW_MS, found, ledger_file, record
from tests.support.worlds import World

BEFORE = "2026-11-25-12:00"
EARLIER = (HOUR_START_MS - NOW_MS) / 1000 - 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A ledger's file that is not there yet; its source is a bucket that nobody may ask."""
    for name in ("START_DATE", "LIVE_SINCE"):
        monkeypatch.delenv(f"PYRO_ASSETS_{name}", raising=False)
    monkeypatch.setenv("PYRO_ASSETS_SOURCE_URL", "s3://not-to-be-asked")
    monkeypatch.setenv("PYRO_ASSETS_LEDGER_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    return tmp_path / "ledger.db"


def first_partition() -> str:
    definitions = build_defs()
    for name in ("segments", "l1_blocks", "exported_series"):
        partitions = definitions.resolve_asset_graph().get(dg.AssetKey(name)).partitions_def
        assert isinstance(partitions, dg.HourlyPartitionsDefinition)
    return partitions.start.strftime(HOUR_FORMAT)


def seen(path: Path, *seconds: float) -> None:
    ledger = Ledger.open(ledger_file(path))
    record(ledger, [found(second) for second in seconds])
    ledger.close()


def test_before_anything_is_seen_the_running_hour_is_the_first(place: Path):
    before, now, after = datetime.now(UTC), first_partition(), datetime.now(UTC)
    assert now in {before.strftime("%Y-%m-%d-%H:00"), after.strftime("%Y-%m-%d-%H:00")}
    # Loading makes no ledger where there is none.
    assert not place.exists()


def test_before_anything_is_seen_a_setting_may_name_an_earlier_hour(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYRO_ASSETS_LIVE_SINCE", HOUR)
    assert first_partition() == HOUR
    monkeypatch.setenv("PYRO_ASSETS_START_DATE", BEFORE)
    assert first_partition() == BEFORE


def test_the_first_hour_is_the_first_one_seen_and_moves_backwards(place: Path, monkeypatch: pytest.MonkeyPatch):
    seen(place, -3)
    assert first_partition() == HOUR
    seen(place, EARLIER)
    assert first_partition() == BEFORE
    monkeypatch.setenv("PYRO_ASSETS_START_DATE", HOUR)
    assert first_partition() == HOUR


def test_it_is_remembered_when_the_rows_are_gone(place: Path):
    ledger = Ledger.open(ledger_file(place))
    record(ledger, [found(EARLIER), found(-3)])
    HourRecords(ledger).remember_first_hour(NOW_MS)
    with ledger.write() as connection:
        connection.execute(sources.delete().where(sources.c.hour == BEFORE))
    HourRecords(ledger).remember_first_hour(NOW_MS)
    assert HourRecords(ledger).first_hour() == first_partition() == BEFORE
    ledger.close()


def test_what_is_out_of_range_is_no_partition(place: Path):
    seen(place, -400 * 86_400, -3)
    assert first_partition() == HOUR


def test_a_ledger_that_does_not_answer_hides_no_hour(place: Path, caplog: pytest.LogCaptureFixture):
    place.write_bytes(b"this is no database, and long enough to be taken for one" * 100)
    assert first_partition() == "2024-01-01-00:00"
    assert "the ledger's file is damaged" in caplog.text


def test_ticks_remember_it_and_a_rebuilt_ledger_knows_it(tmp_path: Path):
    world = World(tmp_path)
    world.segment(EARLIER, "acme 1")
    world.segment(-30, "acme 2")
    ticks.tick(world.pipeline)
    with world.ledger.read() as connection:
        assert fact(connection, "first_hour") == BEFORE
    world.tick_and_run(hours=(BEFORE, HOUR))
    again = Ledger.open(ledger_file(tmp_path / "again.db"))
    rebuild(again, world.archive, world.clock())
    with again.read() as connection:
        assert fact(connection, "first_hour") == BEFORE
    again.close()
    world.ledger.close()


def test_hours_that_came_to_light_since_the_load_are_not_asked_for_but_told(place: Path):
    fake = FakePipeline({}, [TickReport(hour_start_ms(HOUR) + 1, due={BEFORE: 3, HOUR: 1}, unfinished_jobs=4)])
    resources = resources_with(fake)
    definitions = build_defs(resources, start_hour=HOUR)
    sensor = definitions.resolve_sensor_def("segments_landed")
    for due in ({BEFORE: 3, HOUR: 1}, {BEFORE: 3}):
        fake.ticks = [TickReport(hour_start_ms(HOUR) + 1, due=due, unfinished_jobs=4)]
        with dg.DagsterInstance.ephemeral() as instance:
            cursor = Watch(BEFORE).to_cursor()
            context = dg.build_sensor_context(
                instance=instance, cursor=cursor, definitions=definitions, resources=resources
            )
            result = sensor(context)
        assert isinstance(result, dg.SensorResult)
        assert [request.partition_key for request in result.run_requests or ()] == [HOUR] * (HOUR in due)
    assert f"{BEFORE} came to light since this code location was loaded" in result.skip_reason.skip_message
    assert "reload it" in result.skip_reason.skip_message
