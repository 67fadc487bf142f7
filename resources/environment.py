"""Every environment variable of the project by name, with its default and what it means.

Add a variable here and nowhere else; nothing is read when this module is imported, only when `value` is called.
`python -m pyro_assets.resources.environment` prints the table for people.
"""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pyro_assets.errors import SettingsError
from pyro_assets.storage.keys import hour_start_ms


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable; `default` is what an unset or empty one means, and `reason` why it is that."""

    name: str
    default: str
    meaning: str
    reason: str = ""


SOURCE_URL = Variable(
    "PYRO_ASSETS_SOURCE_URL",
    "data/bucket",
    "Pyroscope's bucket; only ever read",
    "your bucket; a first try is a folder",
)
ARCHIVE_URL = Variable(
    "PYRO_ASSETS_ARCHIVE_URL",
    "data/archive",
    "where level-1 blocks, commits and series go",
    "apart from the source, which nothing may write to",
)
LEDGER_URL = Variable(
    "PYRO_ASSETS_LEDGER_URL",
    "sqlite:///data/ledger.db",
    "SQLAlchemy URL of the ledger",
    "SQLite needs nothing; Postgres from the second machine on",
)
CONFIG = Variable(
    "PYRO_ASSETS_CONFIG",
    "",
    "YAML file of series; empty: dimension series of everything",
    "dimension series cost little and answer most questions",
)
RECEIVERS = Variable(
    "PYRO_ASSETS_RECEIVERS",
    "",
    "YAML file of receivers; empty: nothing is sent",
    "nothing leaves before you say where to",
)
COMPACTION = Variable(
    "PYRO_ASSETS_COMPACTION",
    "own",
    "own: compact segments; observe: use Pyroscope's level-1 blocks",
    "beside a Pyroscope that compacts, own would race with its deletions",
)
DEDUP = Variable(
    "PYRO_ASSETS_DEDUP",
    "exact",
    "exact, or original to reproduce Pyroscope's rule",
    "original drops distinct profiles of equal time; it is for comparison",
)
START_DATE = Variable(
    "PYRO_ASSETS_START_DATE",
    "2024-01-01-00:00",
    "first hour that is a partition (UTC)",
    "hours before it are no partitions, so that a clock that is years off makes none",
)
JOB_BLOCKS = Variable(
    "PYRO_ASSETS_JOB_BLOCKS",
    "20",
    "a job is due at this many sources",
    "as Pyroscope's own policy; larger jobs make fewer, later samples",
)
JOB_MIB = Variable(
    "PYRO_ASSETS_JOB_MIB",
    "64",
    "a job is due at this size of its sources, in MiB",
    "bounds the memory of a job: sources whose symbols need more than four times this are cut into smaller jobs",
)
JOB_AGE_SECONDS = Variable(
    "PYRO_ASSETS_JOB_AGE_SECONDS",
    "5",
    "a job is due when its oldest source is this old",
    "lag against cost: half the age is lag, a job costs about 10 ms beside its bytes",
)
ORDER = Variable(
    "PYRO_ASSETS_ORDER",
    "oldest",
    "hour that a backlog begins with, oldest or newest; the live edge goes first",
    "oldest keeps samples in the order that receivers without a window need",
)
LANES = Variable(
    "PYRO_ASSETS_LANES",
    "1",
    "live runs at the same time, each with its share of the shards",
    "one lane keeps up with hundreds of segments a second",
)
WORKERS = Variable(
    "PYRO_ASSETS_WORKERS",
    "1",
    "processes that compute jobs at the same time; 0: one for each core",
    "a live run is idle most of the time; more help backfills",
)
JOB_SECONDS = Variable(
    "PYRO_ASSETS_JOB_SECONDS",
    "600",
    "a job that takes longer is ended, by itself at the next attempt, and split; 0: no limit",
    "hundreds of times what the largest job needs: only what hangs takes so long",
)
JOB_MEMORY_MIB = Variable(
    "PYRO_ASSETS_JOB_MEMORY_MIB",
    "0",
    "a job whose process uses more memory is stopped and split; 0: no limit",
    "set it where the kernel would end the run instead; jobs then need processes of their own",
)
LIVE_SINCE = Variable(
    "PYRO_ASSETS_LIVE_SINCE",
    "",
    "hour from which the sensor processes by itself; empty: that of its first tick",
    "history is a decision of yours, and waits for a backfill",
)
LIVE_BUDGET_SECONDS = Variable(
    "PYRO_ASSETS_LIVE_BUDGET_SECONDS",
    "60",
    "a live run takes what becomes due for so long, then the next one starts",
    "a process start costs 3 s of lag; a run that stays shares it",
)
BACKFILL_BUDGET_SECONDS = Variable(
    "PYRO_ASSETS_BACKFILL_BUDGET_SECONDS",
    "18000",
    "any other run takes no further job after this time",
    "below Dagster's limit of six hours, so that a run ends in order",
)
RECONCILE = Variable(
    "PYRO_ASSETS_RECONCILE",
    "0",
    "1: a check after each run asks receivers for what they hold and compares it",
    "reads back all that was sent: for trying out receivers",
)
KEEP_RUNS_MINUTES = Variable(
    "PYRO_ASSETS_KEEP_RUNS_MINUTES",
    "60",
    "finished live runs are deleted after this time; 0: never",
    "a live run leaves 100 kB of events: 0.6 GB a day",
)
KEEP_BACKFILL_RUNS_DAYS = Variable(
    "PYRO_ASSETS_KEEP_BACKFILL_RUNS_DAYS",
    "0",
    "other finished runs are deleted after so many days; 0: never",
    "backfills are few, and people look them up",
)
KEEP_BLOCKS_DAYS = Variable(
    "PYRO_ASSETS_KEEP_BLOCKS_DAYS",
    "0",
    "level-1 blocks of the archive are removed after so many days; 0: never",
    "nothing is removed before you say so",
)
KEEP_SERIES_DAYS = Variable(
    "PYRO_ASSETS_KEEP_SERIES_DAYS",
    "0",
    "files of series are removed after so many days; 0: never",
    "series are small: keep them longest",
)
KEEP_LEDGER_DAYS = Variable(
    "PYRO_ASSETS_KEEP_LEDGER_DAYS",
    "0",
    "rows of hours are removed from the ledger after so many days; 0: never",
    "0.4 kB a segment; figures of hours are kept",
)
KEEP_TEMPORARY_DAYS = Variable(
    "PYRO_ASSETS_KEEP_TEMPORARY_DAYS",
    "0",
    "what crashed writers left in the archive is removed after so many days",
    "only what no writer can still be at",
)
SWEEP_KEYS = Variable(
    "PYRO_ASSETS_SWEEP_KEYS",
    "20000",
    "keys that the slow sweep lists every ten minutes, for late uploads; 0: none",
    "twenty requests in ten minutes find what every window missed",
)
WEB_URL = Variable(
    "PYRO_ASSETS_WEB_URL",
    "",
    "address of the pages of `pyro-assets web`; Dagster's pages link to it",
    "unknown to us behind a proxy",
)
DAGSTER_URL = Variable(
    "PYRO_ASSETS_DAGSTER_URL",
    "",
    "address of Dagster's webserver; our pages start backfills there",
    "unknown to us behind a proxy",
)
WEB_TOKEN = Variable(
    "PYRO_ASSETS_WEB_TOKEN",
    "",
    "token that `pyro-assets web` asks for; empty: none",
    "needed as soon as others than this machine reach the pages",
)

VARIABLES: tuple[Variable, ...] = (
    SOURCE_URL,
    ARCHIVE_URL,
    LEDGER_URL,
    CONFIG,
    RECEIVERS,
    COMPACTION,
    DEDUP,
    START_DATE,
    JOB_BLOCKS,
    JOB_MIB,
    JOB_AGE_SECONDS,
    ORDER,
    LANES,
    WORKERS,
    JOB_SECONDS,
    JOB_MEMORY_MIB,
    LIVE_SINCE,
    LIVE_BUDGET_SECONDS,
    BACKFILL_BUDGET_SECONDS,
    KEEP_RUNS_MINUTES,
    KEEP_BACKFILL_RUNS_DAYS,
    KEEP_BLOCKS_DAYS,
    KEEP_SERIES_DAYS,
    KEEP_LEDGER_DAYS,
    KEEP_TEMPORARY_DAYS,
    SWEEP_KEYS,
    RECONCILE,
    WEB_URL,
    DAGSTER_URL,
    WEB_TOKEN,
)


def value(variable: Variable, environ: Mapping[str, str] | None = None) -> str:
    """What the variable says, or its default where it is unset or empty.

    >>> value(DEDUP, {"PYRO_ASSETS_DEDUP": "original"})
    'original'
    >>> value(DEDUP, {"PYRO_ASSETS_DEDUP": ""})
    'exact'
    """
    return (os.environ if environ is None else environ).get(variable.name) or variable.default


def number(variable: Variable, environ: Mapping[str, str] | None = None) -> float:
    """The variable as a number that is not negative.

    Raises:
        SettingsError: it is no number, or a negative one.

    >>> number(JOB_AGE_SECONDS, {"PYRO_ASSETS_JOB_AGE_SECONDS": "2.5"})
    2.5
    """
    text = value(variable, environ)
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise SettingsError(f"{variable.name} is {text!r}; it must be a number, 0 or more ({variable.meaning})")
    return amount


def usable_number(variable: Variable, refusals: list[str]) -> float:
    """The variable as a number; its default where it is refused, which is added to `refusals`.

    >>> refusals = []
    >>> usable_number(Variable("X", "5", "how much"), refusals), refusals
    (5.0, [])
    """
    try:
        return number(variable)
    except SettingsError as error:
        refusals.append(str(error))
        return float(variable.default)


def start_hour(environ: Mapping[str, str] | None = None) -> str:
    """The first partition; the default where the variable names no hour, which the pipeline's settings refuse.

    >>> start_hour({"PYRO_ASSETS_START_DATE": "yesterday"})
    '2024-01-01-00:00'
    """
    text = value(START_DATE, environ)
    try:
        hour_start_ms(text)
    except ValueError:
        return START_DATE.default
    return text


def dagster_home(environ: Mapping[str, str] | None = None) -> Path | None:
    """The folder of Dagster's own configuration, None when its variable is not set."""
    home = (os.environ if environ is None else environ).get("DAGSTER_HOME")
    return Path(home) if home else None


def table() -> str:
    """All variables as a Markdown table, for README.md."""
    lines = [
        f"| `{one.name}` | {f'`{one.default}`' if one.default else '(none)'} | {one.meaning} | {one.reason} |\n"
        for one in VARIABLES
    ]
    return "".join(["| variable | default | meaning | why so |\n|---|---|---|---|\n", *lines])


def main() -> None:
    """Print the variables as a Markdown table."""
    sys.stdout.write(table())


if __name__ == "__main__":
    main()
