"""The functions of compaction and series that a job calls, gathered so that tests can put others in their place.

The defaults import what they call when they are called: a tick needs neither Arrow nor Polars, and process start is
part of the lag. Work does not belong here.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.block.reader import RawObject, ReadResult
    from pyro_assets.compaction.compact import Compacted
    from pyro_assets.pipeline.summary import Summary
    from pyro_assets.series.config import SeriesConfig
    from pyro_assets.series.derive import Derived
    from pyro_assets.series.job_info import JobInfo


def _compact(objects: "Sequence[RawObject]", dedup: Any, most_bytes: int = 0) -> "Compacted":
    from pyro_assets.compaction.compact import compact

    return compact(objects, dedup=dedup, most_bytes=most_bytes)


def _compact_rest(
    objects: "Sequence[RawObject]", known: "Sequence[RawObject]", dedup: Any, same_level: bool, most_bytes: int = 0
) -> "Compacted":
    from pyro_assets.compaction.rest import compact_rest

    return compact_rest(objects, known, dedup=dedup, same_level=same_level, most_bytes=most_bytes)


def _read_blocks(objects: "Sequence[RawObject]") -> "ReadResult":
    from pyro_assets.block.reader import read_blocks

    return read_blocks(objects)


def _summarise(columns: "BlockColumns") -> "Summary":
    from pyro_assets.pipeline.summary import summarise

    return summarise(columns)


def _derive(columns: "BlockColumns", job: "JobInfo", config: "SeriesConfig", kinds: frozenset[str]) -> "Derived":
    from pyro_assets.series.derive import derive

    return derive(columns, job, config, kinds)


def _series_to_parquet(frame: Any, notes: Mapping[str, str]) -> bytes:
    from pyro_assets.series.store import series_to_parquet

    return series_to_parquet(frame, notes)


def _replace_rules(
    before: Mapping[str, bytes], derived: "Derived", ids: Collection[str]
) -> tuple[dict[str, Any], set[str]]:
    from pyro_assets.series.derive import note_refused
    from pyro_assets.series.replacing import replace_rules
    from pyro_assets.series.store import parquet_to_series

    frames = {kind: parquet_to_series(data, f"the file of {kind} series") for kind, data in before.items()}
    merged, refused = replace_rules(frames, derived.frames, ids)
    note_refused(refused, derived.facts)
    return merged, {kind for kind, frame in frames.items() if not frame.equals(merged[kind])}


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns bytes into blocks and series; see the functions of the same names.

    Attributes:
        compact: (objects, dedup) -> Compacted.
        compact_rest: (objects, known objects, dedup, whether to keep the level) -> Compacted.
        read_blocks: objects -> ReadResult.
        summarise: columns -> Summary.
        derive: (columns, job, config, kinds) -> Derived.
        series_to_parquet: (frame, notes) -> bytes.
        replace_rules: (files by kind, what was derived of some rules, their ids) -> all frames, and the kinds that
            changed; its facts get what other rules have given already.
    """

    compact: "Callable[[Sequence[RawObject], str], Compacted]" = _compact
    compact_rest: "Callable[[Sequence[RawObject], Sequence[RawObject], str, bool], Compacted]" = _compact_rest
    read_blocks: "Callable[[Sequence[RawObject]], ReadResult]" = _read_blocks
    summarise: "Callable[[BlockColumns], Summary]" = _summarise
    derive: "Callable[[BlockColumns, JobInfo, SeriesConfig, frozenset[str]], Derived]" = _derive
    series_to_parquet: Callable[[Any, Mapping[str, str]], bytes] = _series_to_parquet
    replace_rules: "Callable[[Mapping[str, bytes], Derived, Collection[str]], tuple[dict[str, Any], set[str]]]" = (
        _replace_rules
    )


def within(engine: Engine, most_bytes: int) -> Engine:
    """The product's own engine, for jobs that need at most so much memory for symbols; another one as it is."""
    if engine != Engine():
        return engine
    bounded = partial(_compact, most_bytes=most_bytes), partial(_compact_rest, most_bytes=most_bytes)
    return replace(engine, compact=bounded[0], compact_rest=bounded[1])
