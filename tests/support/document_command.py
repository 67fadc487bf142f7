"""`main`, for `forks`: a command of ours in a folder and an environment of its own, as by a new process."""

import json
import os

import polars  # noqa: F401
import pyarrow.compute
import pyarrow.parquet  # noqa: F401
import sqlalchemy  # noqa: F401

import pyro_assets.explore.preview

# What commands import when they are called, so that forks have it.
import pyro_assets.export.exporter
import pyro_assets.monitoring.doctor
import pyro_assets.operations.runs
import pyro_assets.operations.upkeep  # noqa: F401
from pyro_assets.cli.main import main as command_line


def main(folder: str, environment: str, *arguments: str) -> None:
    """Raises where the command ends with another exit status than 0."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(json.loads(environment))
    try:
        command_line(list(arguments), prog_name="pyro-assets")
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"exit status {ended.code}") from ended
