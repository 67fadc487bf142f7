"""Real jobs in memory whose ledger's rules change: live runs, backfills, a lost database, and the rows that are stored.

Add what tests of the life of rules need to say briefly.
"""

import json
from pathlib import Path
from typing import Any

from pyro_assets.app import App
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.runs import SERIES_STEPS
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.in_force import merge_rules, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.settings import Settings
from tests.support import fakes
from tests.support.exports import HOUR, NOW_MS
from tests.support.golden_bucket import committed
from tests.support.ledgers import ledger_file
from tests.support.parquet_world import TableBucket
from tests.support.worlds import FaultyLedger

GOLDEN = committed()
FILE = parse_config(json.dumps({"recording_rules": GOLDEN.rules, "functions": {"runtime.mallocgc": "{}"}}))


class Place:
    """Source, archive and ledger with the golden jobs, and how the ledger's rules become pipelines."""

    def __init__(self, folder: Path, mode: Any = "own") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        kind = "segments" if mode == "own" else "blocks"
        paths = [path for path in sorted((GOLDEN.root / kind).rglob("*")) if path.is_file()]
        self.source = fakes.MemoryBucket({str(path.relative_to(GOLDEN.root)): path.read_bytes() for path in paths})
        self.source.url = "memory://source"
        self.archive = TableBucket(folder / "archive")
        self.folder, self.settings = folder, Settings(compaction=mode, job_seconds=0.0)
        self.ledger = FaultyLedger.open(ledger_file(folder / "ledger.db"))
        self.clock = fakes.Clock(NOW_MS)

    def pipeline(self, file: SeriesConfig = FILE) -> App:
        rules = merge_rules(file, StoredRules(self.ledger).rules())
        return App(
            self.source, self.archive, self.ledger, self.settings, rules.config, rules=rules.report(), clock=self.clock
        )

    def save(self, *rules: Rule, author: str = "ann", why: str = "") -> None:
        known = {one.name: one.version for one in StoredRules(self.ledger).rules()}
        edits = [RuleEdit(rule.name, rule_body(rule), known.get(rule.name, 0)) for rule in rules]
        StoredRules(self.ledger).edit_rules(edits, author=author, why=why, now_ms=self.clock.forward(1))

    def live(self) -> HourReport:
        pipeline = self.pipeline()
        ticks.tick(pipeline)
        report = runs.run(pipeline, [HOUR], run_id="live")[HOUR]
        assert report.run.derived == sum(report.jobs_by_state.values())
        return report

    def backfill(self, *rules: str, **how: Any) -> HourReport:
        return runs.run(self.pipeline(), [HOUR], SERIES_STEPS, run_id="backfill", rules=rules, **how)[HOUR]

    def lose_ledger(self) -> None:
        self.ledger.close()
        self.ledger = FaultyLedger.open(ledger_file(self.folder / "new.db"))
        assert not rebuild(self.ledger, self.archive, self.clock()).damaged

    def files(self) -> dict[str, bytes]:
        return {key: data for key, data in self.archive.objects.items() if key.startswith("series/")}

    def rows(self, rule: str | None = None) -> list[Any]:
        """Rows of all files in their order; of one rule, or of all."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = []
        for key, data in sorted(self.files().items()):
            rows = pq.read_table(pa.BufferReader(data)).to_pylist()
            found.append((key, [row for row in rows if rule in (None, row["rule"])]))
        return found
