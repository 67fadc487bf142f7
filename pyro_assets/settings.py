"""Every setting, once: its default, what it may be, what it means, and why the default is what it is.

Environment variables, fields of Dagster's resources, options of commands and the table in the documents are made from
these classes. Add a setting when a person may need another value; where values come from is the business of
`resources`, and nothing is read here.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal, Self, get_args

from annotated_types import Ge
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError
from pydantic import model_validator as validator
from pydantic.fields import FieldInfo

from pyro_assets.errors import SettingsError
from pyro_assets.storage.keys import hour_start_ms

#: Kinds of series that a job must have to be derived.
KINDS: Final = frozenset({"dimension", "function"})
#: What the names of our environment variables begin with.
PREFIX: Final = "PYRO_ASSETS_"

#: A level-1 block appears when its segments are half a minute old, and later where compaction is behind.
_OBSERVED_LOOKBACK_MS: Final = 600_000
#: What a process takes before it has read anything, about; to cut jobs below that gains nothing.
_LEAST_MEMORY_BYTES: Final = 64 << 20
_KINDS: Final[dict[Any, str]] = {
    bool: "0 or 1",
    int: "a whole number",
    float: "a number",
    str: "an hour such as 2026-11-25-09:00",
}


def variable(name: str) -> str:
    """The environment variable of a setting.

    >>> variable("job_blocks") == PREFIX + "JOB_BLOCKS"
    True
    """
    return PREFIX + name.upper()


def written(value: Any) -> str:
    """A value as people write it into a variable.

    >>> written(5.0), written(0.5), written(True), written("own")
    ('5', '0.5', '1', 'own')
    """
    if isinstance(value, bool):
        return f"{value:d}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def accepted(field: FieldInfo) -> str:
    """What a setting may be, for messages.

    >>> accepted(JobSettings.model_fields["lanes"]), accepted(JobSettings.model_fields["order"])
    ('a whole number, 1 or more', 'oldest or newest')
    """
    least = [f", {bound.ge} or more" for bound in field.metadata if isinstance(bound, Ge)]
    return " or ".join(get_args(field.annotation)) or _KINDS[field.annotation] + "".join(least)


def _refusals(fields: dict[str, FieldInfo], error: ValidationError) -> Iterator[tuple[str, str]]:
    for one in error.errors():
        name = str(one["loc"][0])
        field = fields.get(name)
        if field is None:
            yield name, f"there is no setting {name!r}"
        elif field.description is None:
            yield name, f"{name} is {one['input']!r}; it must be {accepted(field)}"
        else:
            yield name, f"{variable(name)} is {one['input']!r}; it must be {accepted(field)} ({field.description})"


def _is_hour(text: str) -> str:
    if text:
        hour_start_ms(text)
    return text


def _setting(default: Any, meaning: str, why: str, **more: Any) -> Any:
    return Field(default, description=meaning, json_schema_extra={"why": why}, **more)


_Hour = Annotated[str, AfterValidator(_is_hour)]
_Count = Annotated[int, Ge(1)]
_Span = Annotated[int, Ge(0)]
_Amount = Annotated[float, Ge(0)]


class SettingsGroup(BaseModel):
    """Settings that belong together; what cannot be used is refused by a sentence with the name of its variable."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @validator(mode="wrap")
    @classmethod
    def _refuse(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            refusals = dict(_refusals(cls.model_fields, error))
            raise SettingsError("; ".join(refusals.values()), names=tuple(refusals)) from None


class Places(SettingsGroup):
    """Where things are."""

    source_url: str = _setting(
        "data/bucket", "Pyroscope's bucket; only ever read", "your bucket; a first try is a folder"
    )
    archive_url: str = _setting(
        "data/archive",
        "where level-1 blocks, commits and series go",
        "apart from the source, which nothing may write to",
    )
    ledger_url: str = _setting(
        "sqlite:///data/ledger.db",
        "SQLAlchemy URL of the ledger",
        "SQLite needs nothing; Postgres from the second machine on",
        repr=False,
    )
    config: str = _setting(
        "",
        "YAML file of series; empty: dimension series of everything",
        "dimension series cost little and answer most questions",
    )
    receivers: str = _setting(
        "", "YAML file of receivers; empty: nothing is sent", "nothing leaves before you say where to"
    )


class JobSettings(SettingsGroup):
    """How jobs are made and computed."""

    compaction: Literal["own", "observe"] = _setting(
        "own",
        "own: compact segments; observe: use Pyroscope's level-1 blocks",
        "beside a Pyroscope that compacts, own would race with its deletions",
    )
    dedup: Literal["exact", "original"] = _setting(
        "exact",
        "exact, or original to reproduce Pyroscope's rule",
        "original drops distinct profiles of equal time; it is for comparison",
    )
    start_date: _Hour = _setting(
        "2024-01-01-00:00",
        "hours before it are left alone (UTC); partitions begin with the first hour seen since",
        "a clock that is years off would make years of partitions",
        min_length=1,
    )
    job_blocks: _Count = _setting(
        20, "a job is due at this many sources", "as Pyroscope's own policy; larger jobs make fewer, later samples"
    )
    job_mib: float = _setting(
        64.0,
        "a job is due at this size of its sources, in MiB",
        "bounds the memory of a job: sources whose symbols need more than this are cut into smaller jobs",
        ge=0.001,
    )
    job_age_seconds: _Amount = _setting(
        4.0,
        "a job is due when its oldest source is this old",
        "lag against cost: it is most of the lag; a job costs about 10 ms beside its bytes, and a live run lists the "
        "shards twice in that time, at most every 2 s",
    )
    order: Literal["oldest", "newest"] = _setting(
        "oldest",
        "hour that a backlog begins with, oldest or newest; the live edge goes first",
        "oldest keeps samples in the order that receivers without a window need",
    )
    lanes: _Count = _setting(
        1,
        "live runs at the same time, each with its share of the shards",
        "one lane keeps up with hundreds of segments a second",
    )
    workers: int = _setting(
        1,
        "processes that compute jobs at the same time; 0: one for each core",
        "a live run is idle most of the time; more help backfills",
        ge=0,
    )
    job_seconds: _Amount = _setting(
        600.0,
        "a job that takes longer is ended, by itself at the next attempt, and split; 0: no limit",
        "hundreds of times what the largest job needs: only what hangs takes so long",
    )
    job_memory_mib: _Amount = _setting(
        0.0,
        "a job whose process uses more memory is stopped and split; 0: no limit",
        "set it where the kernel would end the run instead; jobs then need processes of their own",
    )


class RunSettings(SettingsGroup):
    """What runs of Dagster take."""

    live_since: _Hour = _setting(
        "",
        "hour from which the sensor processes by itself; empty: that of its first tick",
        "history is a decision of yours, and waits for a backfill",
    )
    live_budget_seconds: _Amount = _setting(
        60.0,
        "a live run takes what becomes due for so long, then the next one relieves it",
        "a process start costs 3 s of lag; a run that stays shares it",
    )
    backfill_budget_seconds: _Amount = _setting(
        18_000.0,
        "any other run takes no further job after this time",
        "below Dagster's limit of six hours, so that a run ends in order",
    )
    backfill_hours: _Count = _setting(
        12,
        "a backfill of more hours becomes several runs of so many; read when the code location is loaded",
        "a run costs 3 s to start; several are what a run launcher can spread over machines",
    )


class RetentionSettings(SettingsGroup):
    """How long things are kept, and how fast the slow sweep goes."""

    keep_runs_minutes: _Amount = _setting(
        60.0,
        "finished live runs are deleted after this time; 0: never",
        "a live run leaves 100 kB of events: 0.6 GB a day",
    )
    keep_backfill_runs_days: _Amount = _setting(
        0.0,
        "other finished runs are deleted after so many days; 0: never",
        "backfills are few, and people look them up",
    )
    keep_blocks_days: _Amount = _setting(
        0.0,
        "blocks of the archive, level 1 and of hours, are removed after so many days; 0: never",
        "nothing is removed before you say so",
    )
    keep_level1_days: _Amount = _setting(
        0.0,
        "level-1 blocks that a block of their hour holds, too, are removed after so many days; 0: as keep_blocks_days",
        "backfills of rules need level-1 blocks; everything else reads blocks of hours",
    )
    keep_series_days: _Amount = _setting(
        0.0, "files of series are removed after so many days; 0: never", "series are small: keep them longest"
    )
    keep_ledger_days: _Amount = _setting(
        0.0,
        "rows of hours are removed from the ledger after so many days; 0: never",
        "0.4 kB a segment; figures of hours are kept",
    )
    keep_temporary_days: _Amount = _setting(
        0.0,
        "what crashed writers left in the archive is removed after so many days",
        "only what no writer can still be at",
    )
    sweep_keys: int = _setting(
        20_000,
        "keys that the slow sweep lists every ten minutes, for late uploads; 0: none",
        "twenty requests in ten minutes find what every window missed",
        ge=0,
    )


class PageSettings(SettingsGroup):
    """The pages, and what Dagster's pages show beside."""

    reconcile: bool = _setting(
        False,
        "1: a check after each run asks receivers for what they hold and compares it",
        "reads back all that was sent: for trying out receivers",
    )
    web_url: str = _setting(
        "", "address of the pages of `pyro-assets web`; Dagster's pages link to it", "unknown to us behind a proxy"
    )
    dagster_url: str = _setting(
        "", "address of Dagster's webserver; our pages start backfills there", "unknown to us behind a proxy"
    )
    prometheus_url: str = _setting(
        "", "address of a Prometheus for people; our pages open queries there", "receivers may be reached otherwise"
    )
    grafana_url: str = _setting(
        "", "address of a Grafana; our pages open queries there, with its default data source", "unknown to us"
    )
    speedscope_url: str = _setting(
        "",
        "address of a speedscope; the page Explore opens profiles there, which that page may then fetch",
        "whom to trust with profiles is yours to say; its makers' is https://www.speedscope.app",
    )
    web_token: str = _setting(
        "",
        "token that `pyro-assets web` asks for; empty: none",
        "needed as soon as others than this machine reach the pages",
        repr=False,
    )


class Settings(JobSettings):
    """How to plan, run and retry: what people set, in the units of the code, and what only the code and tests set.

    Attributes:
        future_ms: a source created later than this after now is `out_of_range` (a clock far off).
        lookback_ms: uploads may appear so much later than their key says; the window is listed at every tick.
        list_page_keys: keys in one request.
        tick_keys: keys beyond the cursor that a tick takes at most, over all shards: bounds its time and memory.
        lease_ms: a worker that does not say anything for so long has lost its job.
        max_attempts: a job that failed so often is quarantined.
        retry_base_ms, retry_cap_ms: the first delay after a failure, doubled each time up to the cap.
        settle_ms: an hour may be called complete so long after its end (late uploads, look-back).
    """

    future_ms: _Span = 3_600_000
    lookback_ms: _Span = 60_000
    list_page_keys: _Count = 1_000
    tick_keys: _Count = 20_000
    lease_ms: _Count = 60_000
    max_attempts: _Count = 5
    retry_base_ms: _Count = 5_000
    retry_cap_ms: _Count = 300_000
    settle_ms: _Span = 120_000

    @property
    def max_bytes(self) -> int:
        """A job has at most so many bytes, unless a single source is larger; see also `most_memory_bytes`."""
        return int(self.job_mib * 2**20)

    @property
    def most_memory_bytes(self) -> int:
        """What the symbols of a job's sources may need together; most segments need three to six times their bytes."""
        return max(self.max_bytes, _LEAST_MEMORY_BYTES)

    @property
    def max_age_ms(self) -> int:
        """The oldest source waits at most so long for others."""
        return round(self.job_age_seconds * 1000)

    @property
    def job_memory_bytes(self) -> int:
        """A job that takes more is stopped and split; with a limit every job has a process that can be stopped."""
        return int(self.job_memory_mib * 2**20)

    @property
    def window_ms(self) -> int:
        """How long before a cursor ticks list again: Pyroscope's blocks come later after their time than segments."""
        own = self.compaction == "own"
        return self.lookback_ms if own else max(self.lookback_ms, _OBSERVED_LOOKBACK_MS)

    @property
    def start_ms(self) -> int:
        """The first millisecond of the first partition."""
        return hour_start_ms(self.start_date)
