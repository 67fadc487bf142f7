"""What Dagster's catalogue says of each asset: what it is, where it lies, its columns, how fresh, and where to look.

Add what a person should read beside an asset without opening anything else. Links lead to our pages, where their
address is known, and to the code that makes the asset; links back stand on the pages. Nothing is run here.
"""

import warnings
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any, Final

import dagster as dg

from pyro_assets.operations.runs import Step
from pyro_assets.settings import variable

SEGMENTS: Final = "segments"
#: The sensor that reports them.
LANDED: Final = "segments_landed"
#: In the order in which a job is done.
MADE: Final[tuple[Step, ...]] = ("l1_blocks", "dimension_series", "function_series")
SERIES: Final = MADE[1:]
EXPORTED: Final = "exported_series"
#: Everything that a run can make.
ASSETS: Final[tuple[str, ...]] = (*MADE, EXPORTED)
HOUR_BLOCKS: Final = "hour_blocks"
ARCHIVE: Final = "archive"
#: One group, because Dagster's graph first shows several of them as closed boxes.
GROUP: Final = "profiles"
OWNERS: Final = ["team:observability"]

#: A live run materialises the running hour every minute or so; half an hour without any is an outage, or nothing lands.
_LIVE: Final = dg.FreshnessPolicy.time_window(fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=10))
#: Those of an hour are made within half an hour after it.
_HOURLY: Final = dg.FreshnessPolicy.cron(deadline_cron="45 * * * *", lower_bound_delta=timedelta(minutes=45))
#: The scrub begins at 01:43 UTC and ends within half an hour.
_NIGHTLY: Final = dg.FreshnessPolicy.cron(deadline_cron="0 4 * * *", lower_bound_delta=timedelta(hours=4))

#: Asset -> title and address of what our pages have of it.
_PAGES: Final[Mapping[str, Mapping[str, str]]] = {
    SEGMENTS: {"Status": "/status", "Explore": "/explore"},
    "l1_blocks": {"Hours": "/status#hours", "Quarantine": "/quarantine", "Explore": "/explore"},
    "dimension_series": {"Series": "/series?kind=dimension", "Rules": "/rules", "Backfills": "/backfills"},
    "function_series": {"Series": "/series?kind=function", "Rules": "/rules", "Backfills": "/backfills"},
    HOUR_BLOCKS: {"Explore": "/explore"},
    EXPORTED: {"Receivers": "/status#receivers", "Series": "/series"},
}
#: Asset -> what makes it, and where that is written.
_CODE: Final[Mapping[str, Mapping[str, str]]] = {
    SEGMENTS: {"what a tick looks for": "planning/listing.py", "the sensor": "defs/sensors.py"},
    "l1_blocks": {"compaction": "compaction/compact.py", "the asset": "defs/assets.py"},
    "dimension_series": {"the query": "series/engine.py", "the asset": "defs/assets.py"},
    "function_series": {"which stacks contain a function": "series/stacks.py", "the asset": "defs/assets.py"},
    EXPORTED: {"sending a job": "export/send.py", "the asset": "defs/exports.py"},
    HOUR_BLOCKS: {"blocks and summaries": "compaction/hour.py", "the asset": "defs/upkeep.py"},
    ARCHIVE: {"what a scrub compares": "archive/scrub.py", "the asset": "defs/scrubbing.py"},
}

_PROFILE_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("ID", "uuid", description="of the upload; equal for its profile types"),
        dg.TableColumn("SeriesIndex", "uint32", description="labels: number of the series in the block's own index"),
        dg.TableColumn(
            "StacktracePartition", "uint64", description="part of the block's symbols that stacks belong to"
        ),
        dg.TableColumn("TotalValue", "uint64", description="sum of the values of its samples"),
        dg.TableColumn("Samples", "list<struct<StacktraceID, Value, Labels, SpanID, TraceID>>", description="stacks"),
        dg.TableColumn("TimeNanos", "timestamp[ns, UTC]", description="when the profile was taken"),
        dg.TableColumn("DurationNanos", "int64", description="how long it was taken for"),
        dg.TableColumn("Period", "int64", description="of sampling, in the unit of the profile type"),
        dg.TableColumn("Annotations", "list<struct<Key, Value>>", description="as Pyroscope's distributor wrote them"),
    ]
)
_SERIES_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("tenant", "string", description="as in Pyroscope"),
        dg.TableColumn("metric", "string", description="Prometheus name, made from the profile type"),
        dg.TableColumn("labels", "list<struct<name, value>>", description="sorted by name, without `__name__`"),
        dg.TableColumn("timestamp_ms", "int64", description="creation of the job's first segment, Unix ms"),
        dg.TableColumn("value", "float64", description="what a receiver is sent"),
        dg.TableColumn("value_int", "int64", description="the exact value where it is an integer"),
        dg.TableColumn("rule", "string", description="the rule that asked for the series"),
        dg.TableColumn("job", "string", description="the compaction job"),
    ]
)
_SENT_COLUMNS: Final = dg.TableSchema(
    [
        dg.TableColumn("__name__", "string", description="the metric"),
        dg.TableColumn("labels", "string", description="of the series, and `tenant` where tenants share a server"),
        dg.TableColumn("timestamp_ms", "int64", description="the same for all samples of a job"),
        dg.TableColumn("value", "float64"),
    ]
)


def segments_spec(partitions: dg.PartitionsDefinition) -> dg.AssetSpec:
    """The external asset: level-0 segments, written by Pyroscope and reported by the sensor."""
    return _spec(
        SEGMENTS,
        "What Pyroscope wrote: level-0 segments in its bucket, the profiles of all tenants of a shard in one object, "
        "about two a second and shard. Only ever read.\n\n"
        f"The sensor `{LANDED}` reports what landed with every run that it requests, and at least every minute. An "
        "hour without an event had nothing when it was listed, or was not looked at yet. Nothing to press here: where "
        "nothing lands, look at the checks, and at the sensor's last ticks.",
        key="segments/{shard}/anonymous/{ULID}/block.bin",
        kinds={"source", "parquet"},
        columns=_PROFILE_COLUMNS,
        partitions_def=partitions,
    )


def made_specs() -> list[dg.AssetSpec]:
    """Level-1 blocks, both kinds of series, and what receivers have."""
    return [
        _spec(
            "l1_blocks",
            "Level-1 blocks in our archive, in Pyroscope's own format: the segments of one shard and hour, twenty at a "
            "time (a job), merged without losing a profile, one block per tenant. Written once under an id made from "
            "the sources; a repeated run changes nothing.\n\n"
            "An hour is done when its event says *complete*. *On their way*: wait, or materialize the hour. *Set "
            "aside*, *lost*: decide on the page Quarantine. A check that fails says what to do.",
            key="blocks/{shard}/{tenant}/{ULID}/block.bin",
            kinds={"parquet", "numpy"},
            columns=_PROFILE_COLUMNS,
            deps=[SEGMENTS],
        ),
        _spec(
            "dimension_series",
            "Prometheus series of every profile type and set of labels: `pyroscope_exported_metrics_<profile type>` "
            "with a sample per job, the exact sum of its profiles (of levels such as memory in use: the last profile). "
            "Which services, labels and metrics: the rules.\n\n"
            "Hours that are over are in one Delta Lake table. Materialize an hour to derive it again from its blocks.",
            key="series/kind=dimension/hour={hour}/{job}.parquet",
            kinds={"polars", "parquet"},
            columns=_SERIES_COLUMNS,
            deps=["l1_blocks"],
        ),
        _spec(
            "function_series",
            "Prometheus series of functions that rules name: `pyroscope_exported_metrics_functions_<profile type>` "
            "with the label `function`, the sum of the samples whose stack contains it. Each sample counts once, "
            "recursion and inlining included.\n\n"
            "Without a rule it is empty. A new rule holds from the next job on; the job `rules` makes its series for "
            "hours of the past.",
            key="series/kind=function/hour={hour}/{job}.parquet",
            kinds={"polars", "parquet"},
            columns=_SERIES_COLUMNS,
            deps=["l1_blocks"],
        ),
        _spec(
            EXPORTED,
            "What receivers (Prometheus, Mimir, VictoriaMetrics) have accepted of both kinds of series by remote "
            "write: each job's samples once, with a receipt per job, kind and receiver. Without a file of receivers "
            f"({variable('receivers')}) nothing is sent, and everything else works.\n\n"
            "Materialize an hour to send what is missing of it, also from before a receiver's start. "
            "`pyro-assets receivers check` asks a receiver what is wrong.",
            key="receipts/{receiver}/{hour}/{shard}/{job}-{time}.json",
            kinds={"table", "report"},
            columns=_SENT_COLUMNS,
            deps=["dimension_series", "function_series"],
        ),
    ]


def hour_blocks_spec() -> dg.AssetSpec:
    """Blocks of hours that are over."""
    return _spec(
        HOUR_BLOCKS,
        "The level-1 blocks of an hour that is over as one block for each tenant and shard: every profile of every "
        "job, and a summary from which questions about whole hours are answered, in our pages and by Pyroscope's "
        "API.\n\n"
        "Made by a schedule every hour; a job that comes later replaces them. An hour without them is read from its "
        "level-1 blocks, which takes longer. Materialize an hour to make them now; what is done is left as it is.",
        key="hour_blocks/{hour}/{shard}/{tenant}/{ULID}/block.bin",
        kinds={"parquet", "numpy"},
        columns=_PROFILE_COLUMNS,
        freshness=_HOURLY,
        deps=["l1_blocks"],
    )


def archive_spec() -> dg.AssetSpec:
    """Everything that was written, as something that is looked at."""
    return _spec(
        ARCHIVE,
        "All that this project wrote: blocks, commit records, series, receipts and rules. Every night a share of the "
        "hours is read and compared with what was written, the oldest check first; hours with damage come before all "
        "others.\n\n"
        "Where the check fails: `pyro-assets verify --archive --repair`. Materialize it to look at a share now.",
        kinds={"parquet", "deltalake"},
        freshness=_NIGHTLY,
        deps=["l1_blocks", "dimension_series", "function_series"],
    )


def linked(web_url: str) -> Callable[[dg.AssetSpec], dg.AssetSpec]:
    """Adds links to a spec: in its description for people, in its metadata for both; nothing without an address."""
    base = web_url.rstrip("/")

    def link(spec: dg.AssetSpec) -> dg.AssetSpec:
        pages = _PAGES.get(spec.key.to_user_string(), {}) if base else {}
        if not pages:
            return spec
        links = ", ".join(f"[{title}]({base}{path})" for title, path in pages.items())
        first = next(iter(pages.values()))
        return spec.replace_attributes(
            description=f"{spec.description}\n\nOn our pages: {links}.",
            metadata={**spec.metadata, "pages": dg.MetadataValue.url(base + first)},
        )

    return link


def _spec(
    name: str,
    description: str,
    *,
    kinds: set[str],
    key: str = "",
    columns: dg.TableSchema | None = None,
    freshness: dg.FreshnessPolicy = _LIVE,
    **more: Any,
) -> dg.AssetSpec:
    found: dict[str, Any] = {"key": key} if key else {}
    if columns is not None:
        found["dagster/column_schema"] = columns
    code = _code(name)
    if code is not None:
        found["dagster/code_references"] = code
    return dg.AssetSpec(
        name,
        description=description,
        group_name=GROUP,
        owners=OWNERS,
        kinds=kinds,
        metadata=found,
        freshness_policy=freshness,
        **more,
    )


def _code(name: str) -> dg.CodeReferencesMetadataValue | None:
    """Where the code of an asset can be read, by the address that the package gives of its source."""
    try:
        urls = metadata("pyro-assets").get_all("Project-URL") or []
    except PackageNotFoundError:  # run from a folder that was never installed
        return None
    source = next((url.partition(", ")[2] for url in urls if url.startswith("Source, ")), "")
    if not source:
        return None
    with warnings.catch_warnings():
        # Beta since 1.8, and the only way to say it.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.CodeReferencesMetadataValue(
            code_references=[
                dg.UrlCodeReference(url=f"{source}/blob/main/pyro_assets/{path}", label=label)
                for label, path in _CODE[name].items()
            ]
        )
