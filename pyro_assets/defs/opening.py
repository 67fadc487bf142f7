"""Opening the pipeline inside a run: a wrong setting ends it with one sentence, and it says that it is alive.

Add here what every run must have before its first job. Ticks open the pipeline themselves: a tick that fails is seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pyro_assets.defs.silent import beating
from pyro_assets.errors import ConfigError, SettingsError
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.resources.pipeline import PipelineResource


@contextmanager
def opening(pipeline: PipelineResource, run_id: str, *, series: bool = False) -> Iterator[Pipeline]:
    """The open pipeline, closed at the end; while the block runs, the run says that it is alive.

    Args:
        pipeline: the resource.
        run_id: of the run that opens it.
        series: the run derives: rules are read, and the archive must take what is made.

    Raises:
        dagster.Failure: settings or a file that they name cannot be used; a retry would not help.
    """
    try:
        opened = pipeline.open(series=series)
    except (SettingsError, ConfigError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    with opened, beating(opened, run_id):
        yield opened
