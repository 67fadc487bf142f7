"""The settings of jobs, made from what people write: variables, fields of a resource, options.

Units are turned into the pipeline's here, for Dagster and the command line alike. Add a setting when
`pipeline.settings` has it and a variable of `environment` names it; what it does is said there.
"""

from typing import TYPE_CHECKING, Any

from pyro_assets.resources import environment as env

if TYPE_CHECKING:
    from pyro_assets.settings import Settings


def make_settings(
    *,
    compaction: str,
    dedup: str,
    start_date: str,
    job_blocks: float,
    job_mib: float,
    job_age_seconds: float,
    order: str,
    lanes: float,
    workers: float,
    job_seconds: float,
    job_memory_mib: float,
) -> "Settings":
    """Settings from the values of the variables of these names; no workers are as many as there are cores.

    Raises:
        SettingsError: a value cannot be used.
    """
    from pyro_assets.jobs.pool import cores
    from pyro_assets.settings import Settings

    choices: dict[str, Any] = {"mode": compaction, "dedup": dedup, "order": order}
    return Settings(
        **choices,
        start_hour=start_date,
        max_blocks=int(job_blocks),
        max_bytes=int(job_mib * 2**20),
        max_age_ms=round(job_age_seconds * 1000),
        lanes=int(lanes),
        workers=int(workers) or cores(),
        job_seconds=job_seconds,
        job_memory_bytes=int(job_memory_mib * 2**20),
    )


def environment_settings(*, mode: str = "", dedup: str = "") -> "Settings":
    """Settings from the environment; what is given wins.

    Raises:
        SettingsError: a value cannot be used.
    """
    return make_settings(
        compaction=mode or env.value(env.COMPACTION),
        dedup=dedup or env.value(env.DEDUP),
        start_date=env.value(env.START_DATE),
        job_blocks=env.number(env.JOB_BLOCKS),
        job_mib=env.number(env.JOB_MIB),
        job_age_seconds=env.number(env.JOB_AGE_SECONDS),
        order=env.value(env.ORDER),
        lanes=env.number(env.LANES),
        workers=env.number(env.WORKERS),
        job_seconds=env.number(env.JOB_SECONDS),
        job_memory_mib=env.number(env.JOB_MEMORY_MIB),
    )
