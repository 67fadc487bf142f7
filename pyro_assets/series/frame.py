"""Series as columns of text: from groups, rules and values in arrays to one Polars frame.

The schema of series stands here; add a column here and in `store` alike. Strings are gathered by Arrow from the few
distinct ones, so that a series costs no Python object.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64
from pyro_assets.series.rules import Group, Rule

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


class Texts:
    """Distinct strings and their numbers."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of a string, in order of first appearance."""
        return self._numbers.setdefault(text, len(self._numbers))

    def array(self) -> Any:
        """All strings, as a large_string array."""
        return pa.array(list(self._numbers), type=pa.large_string())


def series_table(
    rules: Sequence[Rule],
    constants: Sequence[Sequence[str]],
    groups: Sequence[Group],
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
        groups: g groups.
        tenants: g tenants, one per group.
        rule: int64[n], the rule of each series.
        group: int64[n], the group of each series.
        value: int64[n].
        timestamp_ms: of all series.
        job_id: of all series.

    Returns:
        An Arrow table of SCHEMA with n rows in the order given.
    """
    texts = Texts()
    used_rules, used_groups = np.unique(rule), np.unique(group)
    metric_of_group = np.full(len(groups), -1, dtype=np.int64)
    tenant_of_group = np.zeros(len(groups), dtype=np.int64)
    start_of_group = np.zeros(len(groups), dtype=np.int64)
    count_of_group = np.zeros(len(groups), dtype=np.int64)
    names: list[int] = []
    values: list[int] = []
    for position in used_groups.tolist():
        one = groups[position]
        tenant_of_group[position] = texts.number(tenants[position])
        if one.metric is not None:
            metric_of_group[position] = texts.number(one.metric)
        start_of_group[position], count_of_group[position] = len(names), len(one.labels)
        for name, text in one.labels:
            names.append(texts.number(name))
            # The rule's own values are told from texts by being negative.
            values.append(texts.number(text) if isinstance(text, str) else -1 - text)
    widest = max((len(constants[position]) for position in used_rules.tolist()), default=0)
    constant_of_rule = np.zeros((len(rules), max(widest, 1)), dtype=np.int64)
    metric_of_rule = np.zeros(len(rules), dtype=np.int64)
    id_of_rule = np.zeros(len(rules), dtype=np.int64)
    for position in used_rules.tolist():
        id_of_rule[position] = texts.number(rules[position].id)
        metric = rules[position].metric
        if metric is not None:
            metric_of_rule[position] = texts.number(metric)
        for column, text in enumerate(constants[position]):
            constant_of_rule[position, column] = texts.number(text)
    job = texts.number(job_id)

    count = count_of_group.take(group)
    offsets = np.zeros(len(group) + 1, dtype=np.int32)
    np.cumsum(count, out=offsets[1:])
    label = np.arange(offsets[-1], dtype=np.int64) + np.repeat(start_of_group.take(group) - offsets[:-1], count)
    name_code = np.array(names, dtype=np.int64).take(label)
    value_code = np.array(values, dtype=np.int64).take(label)
    own = np.flatnonzero(value_code < 0)
    value_code[own] = constant_of_rule[np.repeat(rule, count).take(own), -1 - value_code.take(own)]
    metric_code = metric_of_group.take(group)
    metric_code = np.where(metric_code < 0, metric_of_rule.take(rule), metric_code)

    strings = texts.array()
    pairs = pa.StructArray.from_arrays(
        [strings.take(pa.array(name_code)), strings.take(pa.array(value_code))], fields=list(LABELS_TYPE.value_type)
    )
    return pa.Table.from_arrays(
        [
            strings.take(pa.array(tenant_of_group.take(group))),
            strings.take(pa.array(metric_code)),
            pa.ListArray.from_arrays(pa.array(offsets), pairs, type=LABELS_TYPE),
            pa.array(np.full(len(group), timestamp_ms, dtype=np.int64)),
            pa.array(value.astype(np.float64)),
            pa.array(value),
            strings.take(pa.array(id_of_rule.take(rule))),
            strings.take(pa.array(np.full(len(group), job, dtype=np.int64))),
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
