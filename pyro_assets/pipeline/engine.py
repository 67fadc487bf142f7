"""The functions of compaction and series that a job calls, gathered so that tests can put others in their place.

The defaults import what they call when they are called: a tick needs neither Arrow nor Polars, and process start is
part of the lag. Work does not belong here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.block.reader import RawObject, ReadResult
    from pyro_assets.compaction.compact import Compacted
    from pyro_assets.pipeline.summary import Summary
    from pyro_assets.series.config import SeriesConfig
    from pyro_assets.series.derive import Derived, JobInfo


def _compact(objects: "Sequence[RawObject]", dedup: Any) -> "Compacted":
    from pyro_assets.compaction.compact import compact

    return compact(objects, dedup=dedup)


def _read_blocks(objects: "Sequence[RawObject]") -> "ReadResult":
    from pyro_assets.block.reader import read_blocks

    return read_blocks(objects)


def _summarise(columns: "BlockColumns") -> "Summary":
    from pyro_assets.pipeline.summary import summarise

    return summarise(columns)


def _derive(columns: "BlockColumns", job: "JobInfo", config: "SeriesConfig", kinds: frozenset[str]) -> "Derived":
    from pyro_assets.series.derive import derive

    return derive(columns, job, config, kinds)


def _series_to_parquet(frame: Any) -> bytes:
    from pyro_assets.series.store import series_to_parquet

    return series_to_parquet(frame)


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns bytes into blocks and series; see the functions of the same names.

    Attributes:
        compact: (objects, dedup) -> Compacted.
        read_blocks: objects -> ReadResult.
        summarise: columns -> Summary.
        derive: (columns, job, config, kinds) -> Derived.
        series_to_parquet: frame -> bytes.
    """

    compact: "Callable[[Sequence[RawObject], str], Compacted]" = _compact
    read_blocks: "Callable[[Sequence[RawObject]], ReadResult]" = _read_blocks
    summarise: "Callable[[BlockColumns], Summary]" = _summarise
    derive: "Callable[[BlockColumns, JobInfo, SeriesConfig, frozenset[str]], Derived]" = _derive
    series_to_parquet: Callable[[Any], bytes] = _series_to_parquet
