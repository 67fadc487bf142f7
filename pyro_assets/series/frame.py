"""Series as columns of text: from groups, rules and values in arrays to one Polars frame.

Here, too:
* series as lines of JSON for people and scripts.

The schema of series stands here; a column that is added has its place in `files`, too. Strings are gathered
by Arrow from the few distinct ones, so that a series costs no Python object.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from pyro_assets.block.columns import I64, U64
from pyro_assets.compaction.arrays import hash_columns
from pyro_assets.rules.language import OTHER
from pyro_assets.series.facts import JobInfo
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.rules import FUNCTION_VALUE, INSTANCE_VALUE, SHARD_VALUE, SeriesRule

LABELS_TYPE: Final = pa.list_(pa.struct([pa.field("name", pa.large_string()), pa.field("value", pa.large_string())]))
#: The columns of series. Labels are sorted by name and do not hold the metric's name.
SCHEMA: Final = pa.schema(
    [
        pa.field("tenant", pa.large_string()),
        pa.field("metric", pa.large_string()),
        pa.field("labels", LABELS_TYPE),
        pa.field("timestamp_ms", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("value_int", pa.int64()),
        pa.field("rule", pa.large_string()),
        pa.field("job", pa.large_string()),
    ]
)


def name_series(
    series: pl.DataFrame,
    rules: Sequence[SeriesRule],
    sets: LabelSets,
    jobs: Sequence[JobInfo],
    shown: Sequence[str],
) -> tuple[pl.DataFrame, U64]:
    """Give series their texts.

    Args:
        series: n series as `engine.settle` gives them. Their function is 1 + the position of the name in `shown`; 0
            without one, len(shown) + 1 for the rest of a total.
        rules: r rules.
        sets: their label sets, with g groups.
        jobs: j jobs.
        shown: names of functions.

    Returns:
        The columns of SCHEMA with n rows in the order given, and uint64[n], which is equal where job, tenant, metric
        and labels are (which only rules that yield can make so).
    """
    codes = [sets.memory.group_codes[number] for number in sets.groups]
    flat = np.frombuffer(b"".join(codes), dtype=np.int32).reshape(-1, 2).astype(np.int64)
    group_end = np.cumsum(np.fromiter(map(len, codes), dtype=np.int64, count=len(codes)) // 8)
    group_begin = np.append(0, group_end[:-1])
    # The few texts that are used, renumbered, and behind them those of rules, functions and jobs.
    used = np.unique(flat[flat >= 0])
    flat[flat >= 0] = np.searchsorted(used, flat[flat >= 0])
    texts = [sets.memory.texts[number] for number in used.tolist()]

    def append(more: Sequence[str]) -> I64:
        texts.extend(more)
        return np.arange(len(texts) - len(more), len(texts), dtype=np.int64)

    group, job, function = (series[name].to_numpy() for name in ("group", "job", "function"))
    used_rules, rule = np.unique(series["rule"].to_numpy(), return_inverse=True)
    chosen = [rules[position] for position in used_rules.tolist()]
    id_of_rule = append([one.id for one in chosen])
    metric_of_rule = append([one.metric or "" for one in chosen])
    own_begin = len(texts) + np.cumsum([0, *(len(one.constants) for one in chosen)], dtype=np.int64)
    append([text for one in chosen for text in one.constants])
    holes = {
        FUNCTION_VALUE: append(["", *shown, OTHER]).take(function),
        SHARD_VALUE: append([str(one.shard) for one in jobs]).take(job),
        INSTANCE_VALUE: append([one.instance for one in jobs]).take(job),
    }
    id_of_job = append([one.job_id for one in jobs]).take(job)

    count = group_end.take(group) - group_begin.take(group) - 1  # the metric stands before the labels
    offsets = np.zeros(len(group) + 1, dtype=np.int32)
    np.cumsum(count, out=offsets[1:])
    label = np.arange(offsets[-1], dtype=np.int64) + np.repeat(group_begin.take(group) + 1 - offsets[:-1], count)
    name, text = flat[:, 0].take(label), flat[:, 1].take(label)
    own_labels = np.flatnonzero(text < 0)
    row = np.repeat(np.arange(len(group), dtype=np.int64), count).take(own_labels)
    own = own_begin.take(rule.take(row)) - 1 - text.take(own_labels)
    hole_of_text = np.zeros(len(texts), dtype=np.int64)
    for number, (hole, values) in enumerate(holes.items(), 1):
        hole_of_text[[position for position in range(own_begin[0], own_begin[-1]) if texts[position] == hole]] = number
        is_hole = hole_of_text.take(own) == number
        own[is_hole] = values.take(row[is_hole])
    text[own_labels] = own
    metric = flat[:, 0].take(group_begin.take(group))
    metric = np.where(metric < 0, metric_of_rule.take(rule), metric)
    is_scaled = np.array([one.is_scaled and one.metric is None for one in chosen], dtype=np.bool_).take(rule)
    if is_scaled.any():
        plain, metric[is_scaled] = np.unique(metric[is_scaled], return_inverse=True)
        metric[is_scaled] += append([f"{texts[number]}_seconds" for number in plain.tolist()])[0]

    strings = pa.array(texts, type=pa.large_string())
    pairs = pa.StructArray.from_arrays(
        [strings.take(pa.array(name)), strings.take(pa.array(text))], fields=list(LABELS_TYPE.value_type)
    )
    identity = np.arange(len(group), dtype=np.uint64)
    if any(one.yields for one in chosen):
        code = strings.dictionary_encode().indices.to_numpy().astype(np.int64)
        hashes = hash_columns([code.take(name), code.take(text)])
        labels = np.append(np.uint64(0), np.cumsum(hashes, dtype=np.uint64))
        of_labels = (labels.take(offsets[1:]) - labels.take(offsets[:-1])).view(np.int64)
        tenant = series["tenant_rank"].cast(pl.Int64).to_numpy()
        identity = hash_columns([of_labels, code.take(metric), tenant, job])
    of_text = pl.Series(texts, dtype=pl.String)
    timestamps = pl.Series([one.timestamp_ms for one in jobs], dtype=pl.Int64)
    named = series.select("tenant", "value", "value_int").hstack(
        [
            of_text.gather(metric).alias("metric"),
            pl.Series("labels", pa.ListArray.from_arrays(pa.array(offsets), pairs, type=LABELS_TYPE)),
            timestamps.gather(job).alias("timestamp_ms"),
            of_text.gather(id_of_rule.take(rule)).alias("rule"),
            of_text.gather(id_of_job).alias("job"),
        ]
    )
    return named.select(SCHEMA.names), identity


def identities(frame: pl.DataFrame) -> pl.Series:
    """One text per series, equal where tenant, metric and labels are."""
    return frame.select(one=pl.concat_str("tenant", "metric", labels_key(), separator="\x1d"))["one"]


def labels_key() -> pl.Expr:
    """Labels as one text that no other labels have: every name and value with its length before it."""
    parts = []
    for name in ("name", "value"):
        text = pl.element().struct.field(name)
        parts += [text.str.len_bytes().cast(pl.String), pl.lit(":"), text]
    labels = pl.col("labels").list.eval(pl.concat_str(parts)).list.join("")
    return pl.concat_str([labels])


def json_lines(frame: pl.DataFrame) -> Iterator[str]:
    r"""Series as JSON objects, one a line, without the newline.

    Each has labels (with `__name__`), tenant, timestamp_ms and value (the exact integer where it is one), by key.

    Args:
        frame: at least the columns tenant, metric, labels, timestamp_ms, value and value_int.
    """
    columns = [frame[name].to_list() for name in ("tenant", "metric", "labels", "timestamp_ms", "value", "value_int")]
    for tenant, metric, labels, timestamp_ms, rounded, exact in zip(*columns, strict=True):
        value = rounded if exact is None else exact
        named = {"__name__": metric} | {label["name"]: label["value"] for label in labels}
        yield json.dumps(
            {"labels": named, "tenant": tenant, "timestamp_ms": timestamp_ms, "value": value}, sort_keys=True
        )
