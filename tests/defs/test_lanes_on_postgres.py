"""Dagster and the ledger on Postgres: two workers, each in its lane, do the real graph at the same time."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import select

from pyro_assets.definitions import build_defs
from pyro_assets.demo.proof import prove
from pyro_assets.generator.generate import generate_past
from pyro_assets.generator.manifest import ManifestWriter
from pyro_assets.generator.segments import Recipe, SegmentMaker
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import lane_of_shard
from pyro_assets.ledger.schema import jobs
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import hour_start_ms
from tests.support.lane_worker import resources_of
from tests.support.postgres_server import PostgresServer

pytestmark = pytest.mark.service

START, HOUR = "2025-03-04-00:00", "2025-03-04-08:00"
WORKER = Path(__file__).parents[1] / "support" / "lane_worker.py"
SHARDS = 6


def land(folder: Path) -> None:
    recipe = Recipe(seed=3, shards=SHARDS, uploads=2)
    manifest = ManifestWriter(folder / "manifest.jsonl", recipe.seed, recipe.functions)
    begin_ms = hour_start_ms(HOUR)
    generate_past(
        SegmentMaker(recipe),
        open_bucket(str(folder / "bucket"), writable=True),
        manifest,
        start_ms=begin_ms,
        end_ms=begin_ms + 600_000,
        rate=0.02,
        stop=threading.Event(),
    )
    manifest.close()


def test_two_lanes_at_the_same_time(postgres: PostgresServer, postgres_ledger_url: str, tmp_path: Path) -> None:
    dagster_url = postgres.new_database()
    home = tmp_path / "home"
    home.mkdir()
    storage = f"storage: {{postgres: {{postgres_url: '{dagster_url}'}}}}\ntelemetry: {{enabled: false}}\n"
    (home / "dagster.yaml").write_text(storage)
    land(tmp_path)
    fields: dict[str, Any] = {
        "source_url": str(tmp_path / "bucket"),
        "archive_url": str(tmp_path / "archive"),
        "ledger_url": postgres_ledger_url,
        "start_date": START,
        "live_since": START,
        "job_blocks": 3,
        "lanes": 2,
        # Time to import everything on a machine that does other things too; the rest of it is waited for.
        "live_budget_seconds": 20.0,
    }
    resources = resources_of(fields)
    definitions = build_defs(resources, start_hour=START)
    with dg.DagsterInstance.from_config(str(home)) as instance:
        with dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources) as context:
            tick = definitions.resolve_sensor_def("segments_landed")(context)
        # The hour is long over.
        assert [request.tags["lane"] for request in tick.run_requests] == ["live-0-late", "live-1-late"]
        run_ids = work(home, fields, tick.run_requests)
        check_runs(instance, run_ids)
    check_jobs(postgres_ledger_url, run_ids)
    proof = prove(tmp_path / "archive", tmp_path / "manifest.jsonl", {})
    assert proof.equal, proof.differences[:3]
    postgres.drop_database(dagster_url)


def work(home: Path, fields: dict[str, Any], requests: list[dg.RunRequest]) -> list[str]:
    """A worker for each request; they begin when all are ready. Gives the ids of their runs."""
    workers = [
        subprocess.Popen(
            [
                sys.executable,
                WORKER,
                json.dumps(fields),
                json.dumps({"partition_key": HOUR, "tags": dict(request.tags)}),
            ],
            env=os.environ | {"DAGSTER_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for request in requests
    ]
    try:
        for worker in workers:
            assert worker.stdout is not None
            line = worker.stdout.readline()
            assert line == "ready\n", worker.communicate()[1]
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        ended = [worker.communicate(timeout=180) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for said, errors in ended:
        assert said.strip() != "failed", errors[-3000:]
    return [said.strip() for said, _ in ended]


def check_runs(instance: dg.DagsterInstance, run_ids: list[str]) -> None:
    """Both runs are in Dagster's own Postgres, succeeded, were there at the same time, and materialised the hour."""
    records = [instance.get_run_records(dg.RunsFilter(run_ids=[run_id]))[0] for run_id in run_ids]
    assert [record.dagster_run.status for record in records] == [dg.DagsterRunStatus.SUCCESS] * 2
    begun = max(record.start_time or 0 for record in records)
    assert all(begun < (record.end_time or 0) for record in records)
    for asset in ("l1_blocks", "dimension_series", "function_series"):
        assert instance.get_materialized_partitions(dg.AssetKey(asset)) == {HOUR}
    for record in records:
        assert instance.all_logs(record.dagster_run.run_id)


def check_jobs(ledger_url: str, run_ids: list[str]) -> None:
    """Every job was done once, by the run of its shard's lane."""
    ledger = Ledger.open(ledger_url)
    with ledger.read() as connection:
        rows = connection.execute(select(jobs.c.shard, jobs.c.run_id, jobs.c.state, jobs.c.fence)).all()
    ledger.close()
    assert {row.state for row in rows} == {"derived"}
    assert {row.fence for row in rows} == {1}
    assert {(lane_of_shard(row.shard, 2), row.run_id) for row in rows} == set(enumerate(run_ids))
    assert len({row.shard for row in rows}) == SHARDS
