"""A whole object as plain values: metadata, datasets, series and the functions that weigh most.

Add what `inspect` should tell; showing it is the business of `inspect.py`, reading the business of `block`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_assets.block.columns import BlockColumns
from pyro_assets.block.metadata import BlockMeta
from pyro_assets.block.object import parse_object
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.explore.functions import top_functions
from pyro_assets.storage.shown import show_bytes
from pyro_assets.storage.ulid import is_ulid, ulid_time_ms

if TYPE_CHECKING:
    from pyro_assets.block.columns import Labels


def describe(item: RawObject, top: int, only_type: str | None = None) -> dict[str, Any]:
    """Everything that `inspect` shows of an object, in values that JSON knows.

    Args:
        item: the whole object.
        top: functions per profile type.
        only_type: leave out series of other profile types.

    Raises:
        BlockError: the object is not what the format says.
    """
    meta = parse_object(item.data, item.object_key, item.meta)
    columns = read_blocks([item], isolate=False).columns
    chosen = np.array(
        [only_type is None or show_bytes(profile_type(labels)) == only_type for labels in columns.series.labels],
        np.bool_,
    )
    return {
        "key": item.object_key,
        "metadata": _metadata(meta, len(item.data)),
        "datasets": _datasets(meta, columns),
        "series": _series(columns, chosen),
        "functions": _functions(columns, top, only_type),
    }


def _metadata(meta: BlockMeta, size_bytes: int) -> dict[str, Any]:
    return {
        "id": meta.id,
        "created_ms": ulid_time_ms(meta.id) if is_ulid(meta.id) else None,
        "level": meta.level,
        "shard": meta.shard,
        "tenant": show_bytes(meta.tenant),
        "created_by": show_bytes(meta.created_by),
        "min_time_ms": meta.min_time_ms,
        "max_time_ms": meta.max_time_ms,
        "format_version": meta.format_version,
        "size_bytes": size_bytes,
        "metadata_offset": meta.metadata_offset,
    }


def _datasets(meta: BlockMeta, columns: BlockColumns) -> list[dict[str, Any]]:
    """The datasets in the order of the metadata; indices have no profiles of their own."""
    rows, symbols = columns.rows, columns.symbols
    place = {(info.tenant, info.name): position for position, info in enumerate(columns.datasets)}
    described = []
    for dataset in meta.datasets:
        ends = (*dataset.toc[1:], dataset.toc[0] + dataset.size)
        sizes = [end - begin for begin, end in zip(dataset.toc, ends, strict=True)]
        names = ("profiles", "tsdb", "symbols") if dataset.format == 0 else ("dataset_index",)
        one: dict[str, Any] = {
            "tenant": show_bytes(dataset.tenant),
            "service": show_bytes(dataset.name),
            "format": dataset.format,
            "min_time_ms": dataset.min_time_ms,
            "max_time_ms": dataset.max_time_ms,
            "size_bytes": dataset.size,
            "sections_bytes": dict(zip(names, sizes, strict=True)),
            "labels": [_labels(labels) for labels in dataset.label_sets],
        }
        if dataset.format == 0:
            position = place[dataset.tenant, dataset.name]
            begin, end = rows.dataset_start[position : position + 2].tolist()
            units = np.flatnonzero(symbols.unit_dataset == position)
            one |= {
                "series": int(np.diff(columns.series.dataset_start)[position]),
                "profiles": end - begin,
                "samples": int(rows.sample_start[end] - rows.sample_start[begin]),
                "partitions": len(units),
                "stacks": int(np.diff(symbols.node_start).take(units).sum()),
                "functions": int(np.diff(symbols.function_start).take(units).sum()),
                "dangling": int(symbols.dangling.take(units).sum()),
            }
        described.append(one)
    return described


def _series(columns: BlockColumns, chosen: Any) -> list[dict[str, Any]]:
    rows, series = columns.rows, columns.series
    count = len(series.labels)
    profiles = np.bincount(rows.series, minlength=count).tolist()
    samples = np.bincount(rows.series, weights=np.diff(rows.sample_start), minlength=count).astype(np.int64).tolist()
    totals = [0] * count
    # Python's integers do not wrap, and a command may be slow.
    for position, value in zip(rows.series.tolist(), rows.total_value.tolist(), strict=True):
        totals[position] += value
    dataset = np.repeat(np.arange(len(columns.datasets)), np.diff(series.dataset_start)).tolist()
    return [
        {
            "tenant": show_bytes(columns.datasets[dataset[position]].tenant),
            "service": show_bytes(columns.datasets[dataset[position]].name),
            "labels": _labels(series.labels[position]),
            "fingerprint": f"{int(series.fingerprint[position]):016x}",
            "profiles": profiles[position],
            "samples": samples[position],
            "total": totals[position],
            "min_time_ms": int(series.min_time_ns[position]) // 1_000_000,
            "max_time_ms": int(series.max_time_ns[position]) // 1_000_000,
        }
        for position in np.flatnonzero(chosen).tolist()
    ]


def _functions(columns: BlockColumns, top: int, only_type: str | None) -> list[dict[str, Any]]:
    """Per tenant, service and profile type: the functions with the largest totals, and those with the largest self."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in top_functions(columns).iter_rows(named=True):
        if only_type is None or row["profile_type"] == only_type:
            group = groups.setdefault((row["tenant"], row["service"], row["profile_type"]), [])
            group.append({"function": row["function"], "total": row["total"], "self": row["self"]})
    return [
        {
            "tenant": tenant,
            "service": service,
            "profile_type": kind,
            "functions": len(rows),
            "by_total": rows[:top],
            "by_self": sorted(rows, key=lambda row: (-row["self"], row["function"]))[:top],
        }
        for (tenant, service, kind), rows in groups.items()
    ]


def _labels(labels: "Labels") -> dict[str, str]:
    return {show_bytes(name): show_bytes(value) for name, value in labels}
