"""Series as columns of text: from groups, rules and values in arrays to one Polars frame.

The schema of series stands here; add a column here and in `store` alike. Strings are gathered by Arrow from the few
distinct ones, so that a series costs no Python object.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64
from pyro_assets.series.rule_set import Memory
from pyro_assets.series.rules import Rule

if TYPE_CHECKING:
    import polars as pl

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


def series_table(
    rules: Sequence[Rule],
    constants: Sequence[Sequence[str]],
    memory: Memory,
    groups: Sequence[int],
    tenants: Sequence[str],
    rule: I64,
    group: I64,
    value: I64,
    timestamp_ms: int,
    job_id: str,
) -> Any:
    """Put series into columns.

    Args:
        rules: r rules.
        constants: per rule the values of its own labels.
        memory: what the groups' numbers refer to.
        groups: g numbers of groups.
        tenants: g tenants, one per group.
        rule: int64[n], the rule of each series.
        group: int64[n], the group of each series, a position in `groups`.
        value: int64[n].
        timestamp_ms: of all series.
        job_id: of all series.

    Returns:
        An Arrow table of SCHEMA with n rows in the order given.
    """
    codes = [memory.group_codes[number] for number in groups]
    flat = np.frombuffer(b"".join(codes), dtype=np.int32).reshape(-1, 2).astype(np.int64)
    group_end = np.cumsum(np.fromiter(map(len, codes), dtype=np.int64, count=len(codes)) // 8)
    group_begin = np.append(0, group_end[:-1])
    # The few texts that are used, renumbered, and behind them those of rules, tenants and the job.
    used = np.unique(flat[flat >= 0])
    flat[flat >= 0] = np.searchsorted(used, flat[flat >= 0])
    texts = [memory.texts[number] for number in used.tolist()]

    def append(more: Sequence[str]) -> I64:
        texts.extend(more)
        return np.arange(len(texts) - len(more), len(texts), dtype=np.int64)

    tenant_of_group = append(tenants)
    used_rules = np.unique(rule)
    chosen = [rules[position] for position in used_rules.tolist()]
    id_of_rule = append([one.id for one in chosen])
    metric_of_rule = append([one.metric or "" for one in chosen])
    own_texts = [constants[position] for position in used_rules.tolist()]
    own_begin = len(texts) + np.cumsum([0, *map(len, own_texts)], dtype=np.int64)
    append([text for own in own_texts for text in own])
    job = append([job_id])
    rule = np.searchsorted(used_rules, rule)

    count = group_end.take(group) - group_begin.take(group) - 1  # the metric stands before the labels
    offsets = np.zeros(len(group) + 1, dtype=np.int32)
    np.cumsum(count, out=offsets[1:])
    label = np.arange(offsets[-1], dtype=np.int64) + np.repeat(group_begin.take(group) + 1 - offsets[:-1], count)
    name, text = flat[:, 0].take(label), flat[:, 1].take(label)
    own_labels = np.flatnonzero(text < 0)
    text[own_labels] = np.repeat(own_begin.take(rule), count).take(own_labels) - 1 - text.take(own_labels)
    metric = flat[:, 0].take(group_begin.take(group))
    metric = np.where(metric < 0, metric_of_rule.take(rule), metric)

    strings = pa.array(texts, type=pa.large_string())
    pairs = pa.StructArray.from_arrays(
        [strings.take(pa.array(name)), strings.take(pa.array(text))], fields=list(LABELS_TYPE.value_type)
    )
    return pa.Table.from_arrays(
        [
            strings.take(pa.array(tenant_of_group.take(group))),
            strings.take(pa.array(metric)),
            pa.ListArray.from_arrays(pa.array(offsets), pairs, type=LABELS_TYPE),
            pa.array(np.full(len(group), timestamp_ms, dtype=np.int64)),
            pa.array(value.astype(np.float64)),
            pa.array(value),
            strings.take(pa.array(id_of_rule.take(rule))),
            strings.take(pa.array(np.repeat(job, len(group)))),
        ],
        schema=SCHEMA,
    )


def to_polars(table: Any) -> "pl.DataFrame":
    """An Arrow table of SCHEMA as a Polars frame."""
    import polars as pl

    frame = pl.from_arrow(table, rechunk=False)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a table is a frame")
    return frame


def identities(frame: "pl.DataFrame") -> "pl.Series":
    """One text per series, equal where tenant, metric and labels are."""
    import polars as pl

    label = pl.element().struct.field("name") + "\x1f" + pl.element().struct.field("value")
    labels = pl.col("labels").list.eval(label).list.join("\x1e")
    return frame.select(one=pl.concat_str("tenant", "metric", labels, separator="\x1d"))["one"]
