"""Series as columns of text: from groups, rules and values in arrays to one Polars frame.

Here, too:
* series as lines of JSON for people and scripts.

The schema of series stands here; a column that is added has its place in `files`, too. Strings are gathered
by Arrow from the few distinct ones, so that a series costs no Python object.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, U64
from pyro_assets.compaction.arrays import hash_columns
from pyro_assets.rules.language import OTHER
from pyro_assets.series.facts import JobInfo
from pyro_assets.series.rules import FUNCTION_VALUE, INSTANCE_VALUE, SHARD_VALUE, SeriesRule

if TYPE_CHECKING:
    import polars as pl

    from pyro_assets.series.label_sets import LabelSets

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


@dataclass(slots=True)
class Found:
    """Series of j jobs before they have names, n in all; all arrays int64[n].

    Attributes:
        rule: position among the rules.
        function: 1 + the position of the name in `shown`; 0 without one, len(shown) + 1 for the rest of a total.
        group: position among the label sets' groups.
        value, value_int: Arrow float64[n] and int64[n], null where the value is no integer.
    """

    rule: I64
    function: I64
    group: I64
    value: Any
    value_int: Any


def series_table(
    rules: Sequence[SeriesRule], sets: "LabelSets", tenants: Sequence[str], jobs: Sequence[JobInfo], shown: Sequence[str],
    found: Found,
) -> tuple[Any, U64]:  # fmt: skip
    """Put series into columns.

    Args:
        rules: r rules.
        sets: their label sets, with g groups.
        tenants: g tenants as text.
        jobs: j jobs.
        shown: names of functions.
        found: n series.

    Returns:
        An Arrow table of SCHEMA with n rows in the order given, and uint64[n], which is equal where job, tenant, metric
        and labels are (which only rules that yield can make so).
    """
    codes = [sets.memory.group_codes[number] for number in sets.groups]
    flat = np.frombuffer(b"".join(codes), dtype=np.int32).reshape(-1, 2).astype(np.int64)
    group_end = np.cumsum(np.fromiter(map(len, codes), dtype=np.int64, count=len(codes)) // 8)
    group_begin = np.append(0, group_end[:-1])
    # The few texts that are used, renumbered, and behind them those of rules, functions, tenants and jobs.
    used = np.unique(flat[flat >= 0])
    flat[flat >= 0] = np.searchsorted(used, flat[flat >= 0])
    texts = [sets.memory.texts[number] for number in used.tolist()]

    def append(more: Sequence[str]) -> I64:
        texts.extend(more)
        return np.arange(len(texts) - len(more), len(texts), dtype=np.int64)

    tenant_of_group = append(tenants)
    used_rules = np.unique(found.rule)
    chosen = [rules[position] for position in used_rules.tolist()]
    id_of_rule = append([one.id for one in chosen])
    metric_of_rule = append([one.metric or "" for one in chosen])
    own_begin = len(texts) + np.cumsum([0, *(len(one.constants) for one in chosen)], dtype=np.int64)
    append([text for one in chosen for text in one.constants])
    holes = {
        FUNCTION_VALUE: append(["", *shown, OTHER]).take(found.function),
        SHARD_VALUE: append([str(job.shard) for job in jobs]).take(sets.job_of_group.take(found.group)),
        INSTANCE_VALUE: append([job.instance for job in jobs]).take(sets.job_of_group.take(found.group)),
    }
    job = append([job.job_id for job in jobs]).take(sets.job_of_group.take(found.group))
    rule, group = np.searchsorted(used_rules, found.rule), found.group

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
        identity = hash_columns([of_labels, code.take(metric), code.take(tenant_of_group.take(group)), code.take(job)])
    timestamp_ms = np.array([job.timestamp_ms for job in jobs], dtype=np.int64)
    return pa.Table.from_arrays(
        [
            strings.take(pa.array(tenant_of_group.take(group))),
            strings.take(pa.array(metric)),
            pa.ListArray.from_arrays(pa.array(offsets), pairs, type=LABELS_TYPE),
            pa.array(timestamp_ms.take(sets.job_of_group.take(group))),
            found.value,
            found.value_int,
            strings.take(pa.array(id_of_rule.take(rule))),
            strings.take(pa.array(job)),
        ],
        schema=SCHEMA,
    ), identity


def identities(frame: "pl.DataFrame") -> "pl.Series":
    """One text per series, equal where tenant, metric and labels are."""
    import polars as pl

    label = pl.element().struct.field("name") + "\x1f" + pl.element().struct.field("value")
    labels = pl.col("labels").list.eval(label).list.join("\x1e")
    return frame.select(one=pl.concat_str("tenant", "metric", labels, separator="\x1d"))["one"]


def json_lines(frame: "pl.DataFrame") -> Iterator[str]:
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
