"""Exports in tests: three real jobs in an archive, receivers of any kind, and what a receiver got or holds.

The jobs are the committed part of bucket-2026 with the original's rules, processed anew for each test.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyro_assets.app import App, open_app
from pyro_assets.archive.hours import compact_hour_blocks
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs
from pyro_assets.receivers.model import Receiver
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.settings import Settings
from tests.support import golden_bucket
from tests.support.golden_bucket import GoldenBucket
from tests.support.ledgers import ledger_file
from tests.support.scripted_server import ScriptedServer

GOLDEN = golden_bucket.committed()
HOUR = "2026-11-25-09:00"
#: Half an hour after the golden jobs: their samples are young enough for any receiver.
NOW_MS = 1_795_600_274_692 + 1_800_000

_BEGUN_MS = time.time_ns() // 1_000_000

Held = dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]


def config(
    rules: Sequence[Mapping[str, Any]] | None = None, *, functions: Sequence[str] = (), **more: Any
) -> SeriesConfig:
    """The original's recording rules, and dimension series."""
    rules = GOLDEN.rules if rules is None else rules
    return parse_config(json.dumps({"recording_rules": rules, "functions": dict.fromkeys(functions, "{}")} | more))


def opened(
    folder: Path,
    *receivers: Receiver,
    golden: GoldenBucket = GOLDEN,
    series: SeriesConfig | None = None,
    ledger: str = "ledger.db",
    secrets: Mapping[str, str] | None = None,
    now_ms: int = NOW_MS,
    **settings: Any,
) -> App:
    """A pipeline over the golden bucket."""
    pipeline = open_app(
        str(golden.root),
        str(folder / "archive"),
        ledger_file(folder / ledger),
        settings=Settings(start_date="2020-01-01-00:00", dedup="original", **settings),
        config=series if series is not None else config(),
        secrets=secrets,
        clock=lambda: now_ms + time.time_ns() // 1_000_000 - _BEGUN_MS,
    )
    return replace(pipeline, receivers=lambda: receivers)


def derive(pipeline: App, golden: GoldenBucket = GOLDEN) -> None:
    """Do the golden jobs."""
    for report in runs.run_exact(pipeline, golden.jobs, run_id="run").values():
        assert not report.run.errors


def scripted(server: ScriptedServer, name: str = "r", **fields: Any) -> Receiver:
    """A receiver of history that is a scripted server."""
    plain = {"name": name, "url": f"{server.url}/api/v1/write", "kind": "prometheus", "start": HOUR}
    return Receiver.model_validate({**plain, "out_of_order_window": "30d", **fields})


def got(server: ScriptedServer) -> Held:
    """Series of all requests of a scripted server."""
    found: Held = {}
    for request in server.requests:
        for labels, value, timestamp_ms in request.series:
            found.setdefault(labels, []).append((timestamp_ms, value))
    return {labels: sorted(samples) for labels, samples in found.items()}


def stored(folder: Path) -> Iterator[dict[str, Any]]:
    """Rows of all series files."""
    import pyarrow.parquet as pq

    for path in sorted((folder / "archive" / "series").rglob("*.parquet")):
        yield from pq.read_table(path, partitioning=None).to_pylist()


def expected(folder: Path, *, tenant_label: str | None = "tenant") -> Held:
    """What a receiver of everything is to hold, from the archive."""
    found: Held = {}
    for row in stored(folder):
        labels = {"__name__": row["metric"]}
        labels |= {pair["name"].replace(".", "_"): pair["value"] for pair in row["labels"]}  # as underscores
        if tenant_label:
            labels[tenant_label] = row["tenant"]
        key = tuple(sorted((name, value) for name, value in labels.items() if value))
        found.setdefault(key, []).append((row["timestamp_ms"], row["value"]))
    return {labels: sorted(samples) for labels, samples in found.items()}


def compacted(pipeline: App) -> None:
    """Has all hours compacted to blocks of their own."""
    for hour in HourRecords(pipeline.ledger).hours():
        report = compact_hour_blocks(pipeline.archive, pipeline.ledger, hour, pipeline.clock())
        assert report.is_done
        assert report.units
