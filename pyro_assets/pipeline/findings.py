"""What a look at an installation is about and what it finds; the checks themselves are `doctor`'s and its neighbours'.

Add a field when a check needs to know more of the installation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyro_assets.pipeline.settings import Settings

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `remedy` is "" where nothing is to be done."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What is examined.

    Attributes:
        source_url, archive_url, ledger_url: where things are.
        settings: makes the settings; whatever it raises is a finding.
        load_config, load_receivers: read their files and return how many rules and receivers there are.
        dagster_home: the folder of Dagster's configuration, None when it is not set.
        now_ms: Unix milliseconds.
    """

    source_url: str
    archive_url: str
    ledger_url: str
    settings: Callable[[], Settings]
    load_config: Callable[[], str]
    load_receivers: Callable[[], str]
    dagster_home: Path | None
    now_ms: int
