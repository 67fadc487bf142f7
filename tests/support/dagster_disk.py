"""Dagster's storage on disk for tests: its databases are made once and copied, which saves most of a start."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

_SILENT = {"telemetry": {"enabled": False}}


@contextmanager
def instance_in(folder: Path, **settings: Any) -> Iterator[dg.DagsterInstance]:
    """An instance whose files lie in the folder, with further settings of dagster.yaml."""
    for name, data in _empty().items():
        path = folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    with dg.DagsterInstance.local_temp(str(folder), overrides=_SILENT | settings) as instance:
        yield instance


@cache
def _empty() -> dict[str, bytes]:
    """Path below the folder -> bytes of the files that an instance makes."""
    folder = Path(tempfile.mkdtemp())
    try:
        with dg.DagsterInstance.local_temp(str(folder), overrides=_SILENT) as instance:
            instance.get_runs(limit=1)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    finally:
        shutil.rmtree(folder)
