"""A rule that existed all along and one that was backfilled give identical files of series."""

import json
from pathlib import Path

import golden_bucket

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.rules import RuleEdit
from pyro_assets.pipeline.pipeline import open_pipeline
from pyro_assets.pipeline.rules import merge_rules, rule_body
from pyro_assets.pipeline.settings import Settings
from pyro_assets.series.config import SeriesConfig, parse_config
from pyro_assets.series.language import Rule
from pyro_assets.series.patterns import Pattern

GOLDEN = golden_bucket.committed()
RULE = Rule(name="main", functions=[Pattern(glob="main.*")], by=["service_name"])


def run(folder: Path, config: SeriesConfig, *, now: bool = True) -> dict[str, bytes]:
    """Does all jobs, or (`now` False) only their series again; the files of series by name."""
    where = (str(GOLDEN.root), str(folder / "archive"), str(folder / "ledger.db"))
    with open_pipeline(*where, settings=Settings(mode="own"), config=config) as pipeline:
        pipeline.tick()
        steps = {"dimension_series", "function_series"} | ({"l1_blocks"} if now else set())
        reports = pipeline.run(pipeline.hours(), frozenset(steps), run_id="run")
        assert not any(report.run.failed for report in reports.values() if report.run)
    files = (folder / "archive" / "series").rglob("*.parquet")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def save(folder: Path, rule: Rule) -> None:
    ledger = Ledger.open(str(folder / "ledger.db"))
    ledger.edit_rules([RuleEdit(rule.name, rule_body(rule), 0)], author="ann", why="", now_ms=1)
    ledger.close()


def test_live_and_backfilled_are_the_same(tmp_path: Path):
    config = parse_config(json.dumps({"recording_rules": GOLDEN.rules}))
    save(tmp_path / "live", RULE)
    live = run(tmp_path / "live", config)
    before = run(tmp_path / "late", config)
    assert before != live
    save(tmp_path / "late", RULE)
    assert run(tmp_path / "late", config, now=False) == live
    # The file's own rule of that name wins.
    own = config.model_copy(update={"rules": [RULE.model_copy(update={"match": "self"})]})
    ledger = Ledger.open(str(tmp_path / "late" / "ledger.db"))
    merged = merge_rules(own, ledger.rules())
    ledger.close()
    assert [(one.origin, bool(one.problem)) for one in merged.known] == [("file", False), ("ledger", True)]
    assert merged.config.hash == own.hash


def test_what_the_ledger_cannot_mean_breaks_nothing(tmp_path: Path):
    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    bodies = {"a": '{"name": "a", "by": ["tenant"]}', "b": "no json", "c": '{"name": "c"}', "d": '{"name": "d"}'}
    ledger.edit_rules([RuleEdit(name, body, 0) for name, body in bodies.items()], author="x", why="", now_ms=1)
    merged = merge_rules(SeriesConfig(), ledger.rules())
    ledger.close()
    assert [(one.name, bool(one.problem)) for one in merged.known] == [
        ("a", True),
        ("b", True),
        ("c", False),
        ("d", True),
    ]
    assert [rule.name for rule in merged.config.rules] == ["c"]
    assert "must give the same series" in merged.known[3].problem
