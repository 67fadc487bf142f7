"""A program that works on the golden bucket and hangs over one of its segments, deaf to signals and other threads.

`python hanging_run.py cli ARGUMENT…` is the command line; `python hanging_run.py dagster HOUR` a run of Dagster's. The
settings are the environment's.
"""

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyro_assets import app
from pyro_assets.block.reader import RawObject
from pyro_assets.cli.main import main
from pyro_assets.compaction.compact import Compacted, compact
from pyro_assets.jobs.compact import summarise
from pyro_assets.jobs.derive import Engine
from pyro_assets.series.derive import derive
from pyro_assets.series.files import series_to_parquet
from tests.support import golden_bucket

GUILTY = golden_bucket.committed().jobs[0][2]


def hang(objects: Sequence[RawObject], dedup: Any) -> Compacted:
    """Compacts, but for one object: no thread of Python goes on while a pattern is matched."""
    if any(GUILTY.endswith(item.object_key) for item in objects):
        re.match(r"(a+)+$", "a" * 60 + "!")
    return compact(objects, dedup=dedup)


def hanging() -> Engine:
    """What a pipeline computes with; imported already, which on a busy machine takes longer than the limit."""
    return Engine(compact=hang, derive=derive, summarise=summarise, series_to_parquet=series_to_parquet)


if __name__ == "__main__":
    app.App = partial(app.App, engine=hanging())  # type: ignore[assignment, misc]
    face, *arguments = sys.argv[1:]
    if face == "cli":
        main(arguments)
    import dagster as dg

    from pyro_assets.definitions import build_defs
    from pyro_assets.resources.pipeline import production_resources

    with dg.DagsterInstance.ephemeral() as instance:
        job = build_defs(production_resources()).resolve_job_def("backfill")
        job.execute_in_process(instance=instance, partition_key=arguments[0], run_id=arguments[1])
