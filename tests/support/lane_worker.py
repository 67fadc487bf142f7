"""A worker of one lane: opens Dagster where DAGSTER_HOME says, and does one run when its parent says so.

`python lane_worker.py FIELDS REQUEST`, both JSON: those of the pipeline's resource, and partition key and tags.
"""

import json
import sys
from typing import Any

import dagster as dg

from pyro_assets.definitions import build_defs
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource


def resources_of(fields: dict[str, Any]) -> dict[str, Any]:
    return {"pipeline": PipelineResource(**fields), "retention": RetentionResource()}


def main(fields: dict[str, Any], request: dict[str, Any]) -> None:
    job = build_defs(resources_of(fields), start_hour=fields["start_date"]).resolve_job_def("live")
    with dg.DagsterInstance.get() as instance:
        print("ready", flush=True)
        sys.stdin.readline()
        result = job.execute_in_process(
            instance=instance, partition_key=request["partition_key"], tags=request["tags"], raise_on_error=False
        )
    print(result.run_id if result.success else "failed", flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), json.loads(sys.argv[2]))
