"""The pipeline's settings as commands want them: from the environment, with what an option says instead.

Add a setting when `pipeline.settings` has it and an environment variable names it.
"""

from typing import TYPE_CHECKING, Any

from resources import environment as env

if TYPE_CHECKING:
    from pyro_assets.pipeline.settings import Settings


def settings_of(**chosen: Any) -> "Settings":
    """Settings from the environment; keyword arguments win.

    Raises:
        SettingsError: a value cannot be.
    """
    from pyro_assets.pipeline.pool import cores
    from pyro_assets.pipeline.settings import Settings

    of_environment: dict[str, Any] = {
        "mode": env.value(env.COMPACTION),
        "dedup": env.value(env.DEDUP),
        "start_hour": env.value(env.START_DATE),
        "max_blocks": int(env.number(env.JOB_BLOCKS)),
        "max_bytes": int(env.number(env.JOB_MIB) * 2**20),
        "max_age_ms": round(env.number(env.JOB_AGE_SECONDS) * 1000),
        "workers": int(env.number(env.WORKERS)) or cores(),
        "job_seconds": env.number(env.JOB_SECONDS),
        "job_memory_bytes": int(env.number(env.JOB_MEMORY_MIB) * 2**20),
    }
    return Settings(**of_environment | chosen)
