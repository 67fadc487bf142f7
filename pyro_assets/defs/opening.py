"""Opening the pipeline inside a run: what is wrong with settings ends it with one sentence, and is not tried again.

Add here what every run must have before its first job. Ticks open the pipeline themselves: a tick that fails is seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pyro_assets.errors import ConfigError, SettingsError
from pyro_assets.pipeline.pipeline import Pipeline
from resources.pipeline import PipelineResource


@contextmanager
def opening(pipeline: PipelineResource, *, series: bool) -> Iterator[Pipeline]:
    """The open pipeline, closed at the end.

    Raises:
        dagster.Failure: settings or a file that they name cannot be used; a retry would not help.
    """
    try:
        opened = pipeline.open(series=series)
    except (SettingsError, ConfigError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    with opened:
        yield opened
