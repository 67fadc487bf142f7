"""One job as it runs in production, without storage: bytes in, finished blocks and stored series out.

Add here what a job does when the pipeline learns something new, so that the benchmark measures all of it. Loading of
data and measuring belong to the other modules.
"""

import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.tsdb.memo import Memo
from pyro_assets.compaction.compact import compact
from pyro_assets.compaction.together import compact_jobs
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.series.compiled import compile_rules
from pyro_assets.series.derive import derive, derive_jobs, instance_hash
from pyro_assets.series.facts import JobInfo
from pyro_assets.series.files import series_to_parquet

TESTS = Path(__file__).parent.parent


@dataclass(frozen=True)
class DataSet:
    """Jobs in memory; `required_ms` and `aim_ms` are per job, `original_ms` what the original takes for the same.

    None where nothing is known of such jobs.
    """

    name: str
    jobs: list[list[RawObject]]
    config: SeriesConfig
    required_ms: float | None
    aim_ms: float | None
    original_ms: float | None
    required_mib: float | None

    @property
    def size_bytes(self) -> int:
        """Bytes of all sources."""
        return sum(len(item.data) for job in self.jobs for item in job)


#: Folder -> ms a job: required, aimed at, the original's; peak MiB.
FIGURES = {
    "bucket-2026": (20.0, 16.0, 20.0, None),
    "large-2026": (160.0, 110.0, 342.0, 450.0),
}


def find_sets() -> dict[str, Path]:
    """Folders of the data sets that this machine has; the committed part stands in for the whole bucket."""
    root = Path(os.environ.get("PYRO_ASSETS_TEST_DATA", TESTS.parent.parent / "shared" / "data"))
    sets = {name: root / name for name in FIGURES if (root / name).is_dir()}
    return sets or {"bucket-2026": TESTS / "golden" / "data" / "bucket-2026"}


def load(name: str, folder: Path) -> DataSet:
    """Read a data set's objects into memory."""
    jobs = [
        [RawObject(key, (folder / key).read_bytes()) for key in job]
        for job in json.loads((folder / "jobs.json").read_text())
    ]
    config = parse_config((folder / "rules.json").read_text(), "rules.json")
    required, aim, original, mib = FIGURES.get(name, (None, None, None, None))
    return DataSet(name, jobs, config, required, aim, original, mib)


def run_job(job: list[RawObject], config: SeriesConfig) -> int:
    """Everything that a job does between reading its sources and writing its outputs; bytes that it would write."""
    result = compact(job)
    if result.set_aside:
        raise result.set_aside[0][1]
    first = result.metas[0]
    assert first is not None
    instance = instance_hash(first.shard, first.created_by_index)
    derived = derive(result.columns, JobInfo("job", first.shard, 0, instance), config)
    written = sum(len(block.data) for block in result.blocks)
    return written + sum(len(series_to_parquet(frame)) for frame in derived.frames.values())


def run_together(tasks: list[list[RawObject]], config: SeriesConfig) -> int:
    """The same for several jobs at once, as a run does them; bytes that they would write."""
    result = compact_jobs(tasks)
    jobs = []
    for number, one in enumerate(result.jobs):
        first = next(iter(one.metas.values()))
        jobs.append(JobInfo(f"job-{number}", first.shard, 0, instance_hash(first.shard, first.created_by_index)))
    derived = derive_jobs(result.columns, result.job_of_dataset, jobs, config)
    written = sum(len(block.data) for one in result.jobs for block in one.blocks)
    return written + sum(len(series_to_parquet(frame)) for one in derived for frame in one.frames.values())


def forget() -> None:
    """Empty what the package remembers of data it has seen, so that running a job again does not flatter it.

    Called before every round over all jobs: within a round, a job may profit from the jobs before it, as it does in
    production. What is known of the forms of files (not of their contents) stays.
    """
    for name, module in list(sys.modules.items()):
        if name.startswith("pyro_assets."):
            for value in list(vars(module).values()):
                if isinstance(value, Memo):
                    value.__init__(value._limit_bytes)
    for rules in compile_rules.known():
        rules.forget()


def frequent_functions(data: DataSet, number: int) -> list[str]:
    """So many of the most frequent functions of the data set's first job, rare ones among them."""
    symbols = read_blocks(data.jobs[0], isolate=False).columns.symbols
    used = symbols.line_function[symbols.line_function >= 0]
    names = symbols.strings.take(symbols.function_name.take(used))
    counts = Counter(name for name in names.to_pylist() if name)
    frequent = [name.decode(errors="replace") for name, _ in counts.most_common(4 * number)]
    # From all over the list, so that rare ones are among them.
    chosen = np.linspace(0, len(frequent) - 1, number).astype(int)
    return [frequent[i] for i in chosen]


def with_functions(data: DataSet, number: int) -> SeriesConfig:
    """No rules but so many functions."""
    return SeriesConfig(functions=dict.fromkeys(frequent_functions(data, number), "{}"))


def with_rules(data: DataSet, number: int) -> SeriesConfig:
    """So many rules of the language, as people write them: of each ten, four name functions, three a package by a glob,
    one several packages by an expression, and two a path of frames; some of self, some of one service or type.
    """
    names = frequent_functions(data, max(2 * number, 20))
    services = sorted({one.name.decode() for one in read_blocks(data.jobs[0], isolate=False).columns.datasets})
    rules = []
    for position in range(number):
        name, other = names[2 * position], names[(2 * position + 7) % len(names)]
        package, others = (text.rpartition(".")[0] or text for text in (name, other))
        kind = position % 10
        rule: dict[str, Any] = {"name": f"r{position:03d}", "by": ["service_name"], "labels": {"rule": str(position)}}
        if kind < 4:
            rule["functions"] = [name]
        elif kind < 7:
            rule["functions"] = [{"glob": f"{_plain(package, '*?')}.*"}]
        elif kind == 7:
            rule["functions"] = [{"regex": f"({re.escape(package)}|{re.escape(others)})\\.[A-Za-z(].*"}]
        else:
            rule["stack"] = [other, "...", name]
        if position % 2 and kind < 8:
            rule["match"] = "self"
        if position % 3 == 0:
            rule["selector"] = f'{{service_name="{services[position % len(services)]}"}}'
        if position % 3 == 1:
            rule["profile_types"] = ["cpu"]
        if position % 5 == 4:
            rule["combine"] = True
        rules.append(rule)
    return parse_config(json.dumps({"rules": rules}), "rules.json")


def _plain(text: str, special: str) -> str:
    return "".join(f"\\{char}" if char in special + "\\" else char for char in text)
