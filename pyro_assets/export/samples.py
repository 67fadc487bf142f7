"""Samples in columns: the series of one job as numbers of their few distinct texts, ready to be checked and encoded.

`read_samples` takes a table of series, `dress` makes of it the samples of one receiver. Loops
run over distinct texts and labels, never over samples; what is legal is for `validate`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pyro_assets.block.columns import I64, Bool, part_sums, starts
from pyro_assets.compaction.arrays import gather_ranges
from pyro_assets.errors import DamagedSeries, SeriesError
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.receivers.model import Receiver
from pyro_assets.rules.names import LabelNames, exported_name, exported_names
from pyro_assets.rules.selectors import Selector
from pyro_assets.series.files import damage, open_checked
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.shown import show_bytes

if TYPE_CHECKING:
    import polars as pl

NAME_LABEL: Final = "__name__"
_USED: Final = ("tenant", "metric", "labels", "timestamp_ms", "value", "value_int", "rule")
_TEXTS: Final = ["tenant", "metric", "rule"]
_ROWS_AT_ONCE: Final = 16 * 1024
#: Labels whose hashes are remembered: the jobs of an hour have much the same ones. Some 15 MB at most.
_REMEMBERED: Final = 1 << 16

I32 = npt.NDArray[np.int32]
U64 = npt.NDArray[np.uint64]


@dataclass(slots=True)
class Samples:
    """n samples with m labels in all, those of one sample side by side.

    Attributes:
        tenants, rules: distinct texts.
        names: distinct label names, in byte order, so that a smaller number is a smaller name.
        values: distinct label values.
        tenant, rule: int32[n], positions in `tenants` and `rules`.
        pair_name, pair_value: int32[p], the distinct labels: positions in `names` and `values`.
        offsets: int64[n + 1], the labels of sample i are [offsets[i], offsets[i + 1]).
        pair: int32[m], positions in pair_name and pair_value; of one sample in byte order of the names.
        timestamp_ms: int64[n].
        value: float64[n].
    """

    tenants: Sequence[str]
    rules: Sequence[str]
    names: Sequence[str]
    values: Sequence[str]
    tenant: I32
    rule: I32
    pair_name: I32
    pair_value: I32
    offsets: I64
    pair: I32
    timestamp_ms: I64
    value: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.value)

    def take(self, rows: I64) -> "Samples":
        """The samples at these rows, in this order."""
        offsets, label = gather_ranges(self.offsets, rows)
        return replace(
            self,
            tenant=self.tenant.take(rows),
            rule=self.rule.take(rows),
            offsets=offsets,
            pair=self.pair.take(label),
            timestamp_ms=self.timestamp_ms.take(rows),
            value=self.value.take(rows),
        )

    def of_tenants(self, wanted: Callable[[str], bool]) -> Bool:
        """bool[n]: which samples are of tenants that are wanted; each tenant is asked for once."""
        return np.array([wanted(tenant) for tenant in self.tenants], dtype=np.bool_).take(self.tenant)

    def of_rules(self, wanted: Callable[[str], bool]) -> Bool:
        """bool[n]: which samples are of rules that are wanted; each rule is asked for once."""
        return np.array([wanted(rule) for rule in self.rules], dtype=np.bool_).take(self.rule)

    @property
    def name_code(self) -> int:
        """The position of `__name__` in `names`, -1 where no sample has it."""
        return self.names.index(NAME_LABEL) if NAME_LABEL in self.names else -1

    def labels(self, row: int) -> dict[str, str]:
        """Labels of one sample, for messages and rare paths."""
        pairs = self.pair[self.offsets[row] : self.offsets[row + 1]]
        return {self.names[self.pair_name[pair]]: self.values[self.pair_value[pair]] for pair in pairs}

    def series_hash(self, owners: Sequence[str]) -> U64:
        """uint64[n]: equal for equal label sets of one owner, in every process.

        Labels are hashed as a set, so it does not matter how they are ordered.

        Args:
            owners: one text per tenant; label sets of tenants with the same text are the same series.
        """
        pairs = list(zip(self.pair_name.tolist(), self.pair_value.tolist(), strict=True))
        of_pair = np.array([_hash_of(self.names[name], self.values[value]) for name, value in pairs], dtype=np.uint64)
        of_tenant = np.array([xxhash.xxh3_64_intdigest(owner.encode()) for owner in owners], dtype=np.uint64)
        return part_sums(of_pair.take(self.pair), self.offsets) + of_tenant.take(self.tenant)


@lru_cache(_REMEMBERED)
def _hash_of(name: str, value: str) -> int:
    """Hash of a label; the length says where the name ends."""
    return xxhash.xxh3_64_intdigest(f"{len(name)}:{name}{value}".encode())


def open_series(data: bytes | memoryview, name: str = "<memory>") -> Samples:
    """Read one Parquet file of series.

    Args:
        data: the whole file.
        name: its key, for messages.

    Raises:
        DamagedSeries: it holds no series, or not those that were written.
    """
    file = open_checked(data, name, read_dictionary=_TEXTS)
    with damage(name):
        read = file.iter_batches(_ROWS_AT_ONCE, columns=list(_USED), use_threads=False)
        # Numbers instead of texts as soon as a part is read, so that the texts of a job are never there at once.
        return _number([_part(batch, name) for batch in read])


def samples_of(reader: SeriesFiles, file: SeriesFile) -> Samples:
    """The series of a job as samples to send.

    Raises:
        StorageError, SeriesError: see `SeriesFiles.read`.
    """
    found = reader.read(file)
    return open_series(found, file.key) if isinstance(found, bytes) else read_samples(found.table, file.key)


def read_samples(series: "pl.DataFrame | pa.Table", name: str = "<memory>") -> Samples:
    """Put series into columns of numbers, in the order given.

    Args:
        series: the columns of stored series, as `Derived.frames` has them and `series.frame` reads them.
        name: where they are from, for messages.

    Raises:
        SeriesError: a column is missing, of another type or has gaps.
    """
    table: Any = series if isinstance(series, pa.Table) else series.to_arrow()
    missing = [column for column in _USED if column not in table.column_names]
    if missing:
        raise SeriesError(f"{name} holds no series: the column {missing[0]!r} is missing")
    return _number([_part(batch, name) for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE)])


def _part(batch: Any, name: str) -> dict[str, Any]:
    """The columns of some rows: texts as dictionaries, labels taken apart into `name`, `text` and `count`."""
    columns = {column: batch.column(column) for column in _USED}
    labels = columns.pop("labels")
    if not (pa.types.is_list(labels.type) or pa.types.is_large_list(labels.type)):
        raise SeriesError(f"{name} holds no series: labels are {labels.type}")
    pairs = labels.flatten()
    texts = {"name": pairs.field("name"), "text": pairs.field("value")}
    texts |= {column: columns[column] for column in _TEXTS}
    exact = columns.pop("value_int")
    for column, array in {**columns, **texts, "labels": labels, "pairs": pairs}.items():
        if array.null_count:
            raise SeriesError(f"{name} holds no series: {column} has gaps")
    part = {
        column: array if pa.types.is_dictionary(array.type) else array.cast(pa.string()).dictionary_encode()
        for column, array in texts.items()
    }
    part["count"] = np.diff(labels.offsets.to_numpy()).astype(np.int64)
    part["timestamp_ms"] = columns["timestamp_ms"].cast(pa.int64()).to_numpy(zero_copy_only=False)
    part["value"] = columns["value"].cast(pa.float64()).to_numpy(zero_copy_only=False)
    _compare(part["value"], exact, name)
    return part


def _compare(value: npt.NDArray[np.float64], exact: Any, name: str) -> None:
    """Each value is written twice; two that differ are rot that no checksum covered."""
    is_there = exact.is_valid().to_numpy(zero_copy_only=False)
    integers = exact.fill_null(0).cast(pa.int64()).to_numpy()
    different = np.flatnonzero(is_there & (integers.astype(np.float64) != value))
    if len(different):
        row = int(different[0])
        raise DamagedSeries(name, f"has the value {value[row]!r} and, for the same sample, the integer {integers[row]}")


def _number(parts: list[dict[str, Any]]) -> Samples:
    """Parts of a table as samples; the metric's name is a label like the others from here on."""
    if not parts:
        parts = [_part(pa.RecordBatch.from_pylist([], schema=SCHEMA), "nothing")]
    names, name_code = _codes([part["name"] for part in parts])
    values, value_code = _codes([part["text"] for part in parts])
    metrics, metric = _codes([part["metric"] for part in parts])
    tenants, tenant = _codes([part["tenant"] for part in parts])
    rules, rule = _codes([part["rule"] for part in parts])
    each = np.arange(len(metric), dtype=np.int64)
    row = np.repeat(each, np.concatenate([part["count"] for part in parts]))
    return _arrange(
        [*names, NAME_LABEL], [*values, *metrics], np.concatenate([row, each]),
        np.concatenate([name_code, np.full(len(metric), len(names), dtype=np.int32)]),
        np.concatenate([value_code, metric + np.int32(len(values))]), tenants, tenant, rules, rule,
        np.concatenate([part["timestamp_ms"] for part in parts]), np.concatenate([part["value"] for part in parts]),
    )  # fmt: skip


def dress(samples: Samples, receiver: Receiver) -> Samples:
    """The samples that a receiver gets: its tenants and metrics, with its labels, by the names that it takes.

    The order is X-Scope-OrgID, then time, then as given. Labels with an empty value, which mean nothing to
    Prometheus, are gone. Series of one rule that differ only in names which are called the same there are added up.
    """
    rows = np.flatnonzero(samples.of_tenants(receiver.takes_tenant))
    orgs = [receiver.org_of(tenant) for tenant in samples.tenants]
    rank = {org: position for position, org in enumerate(sorted(set(orgs)))}
    org = np.array([rank[name] for name in orgs], dtype=np.int64).take(samples.tenant.take(rows))
    rows = rows.take(np.lexsort((samples.timestamp_ms.take(rows), org)))
    samples = samples.take(rows)
    if receiver.selectors is not None:
        samples = samples.take(np.flatnonzero(selected(samples, receiver.selectors)))
    exported = [name if name == NAME_LABEL else exported_name(name, receiver.label_names) for name in samples.names]
    every = [*exported, *receiver.labels, receiver.effective_tenant_label]
    if len(set(every)) == len(every):
        samples = replace(samples, names=exported)
        return _with_labels(samples, receiver.labels, receiver.effective_tenant_label)
    samples = _with_labels(samples, receiver.labels, receiver.effective_tenant_label)
    return _added_up(_with_names(samples, receiver.label_names))


def orgs_of(samples: Samples, receiver: Receiver) -> set[str]:
    """The X-Scope-OrgIDs that samples are sent under."""
    return {receiver.org_of(samples.tenants[number]) for number in np.unique(samples.tenant).tolist()}


def selected(samples: Samples, selectors: Iterable[Selector]) -> Bool:
    """Which samples any of the selectors selects; asks each label once per matcher, not once per sample."""
    result = np.zeros(len(samples), dtype=np.bool_)
    row = np.repeat(np.arange(len(samples), dtype=np.int64), np.diff(samples.offsets))
    for selector in selectors:
        fits = np.ones(len(samples), dtype=np.bool_)
        for matcher in selector.matchers:
            name = show_bytes(matcher.name)
            number = samples.names.index(name) if name in samples.names else -1
            candidates = np.flatnonzero(samples.pair_name == number)
            texts = [samples.values[value].encode() for value in samples.pair_value.take(candidates).tolist()]
            of_missing, *of_texts = matcher.select([b"", *texts]).tolist()
            answer = np.zeros(len(samples.pair_name), dtype=np.bool_)
            answer[candidates] = of_texts
            of_row = np.full(len(samples), of_missing, dtype=np.bool_)
            here = np.flatnonzero(samples.pair_name.take(samples.pair) == number)
            of_row[row.take(here)] = answer.take(samples.pair.take(here))
            fits &= of_row
        result |= fits
    return result


def _with_labels(samples: Samples, labels: Mapping[str, str], tenant_label: str | None) -> Samples:
    n = len(samples)
    each = np.arange(n, dtype=np.int64)
    names, values = list(samples.names), list(samples.values)
    row = [np.repeat(each, np.diff(samples.offsets))]
    name_code = [samples.pair_name.take(samples.pair)]
    value_code = [samples.pair_value.take(samples.pair)]

    def add(name: str, texts: Sequence[str], code: I32) -> None:
        row.append(each)
        name_code.append(np.full(n, len(names), dtype=np.int32))
        value_code.append(code + np.int32(len(values)))
        names.append(name)
        values.extend(texts)

    for name, text in labels.items():
        add(name, [text], np.zeros(n, dtype=np.int32))
    if tenant_label is not None:
        add(tenant_label, samples.tenants, samples.tenant)
    return _arrange(
        names, values, np.concatenate(row), np.concatenate(name_code), np.concatenate(value_code),
        samples.tenants, samples.tenant, samples.rules, samples.rule, samples.timestamp_ms, samples.value,
    )  # fmt: skip


def _with_names(samples: Samples, label_names: LabelNames) -> Samples:
    """Labels called as they are sent, where two names of some sample may be called the same."""
    exported = [name if name == NAME_LABEL else exported_name(name, label_names) for name in samples.names]
    row = np.repeat(np.arange(len(samples), dtype=np.int64), np.diff(samples.offsets))
    own = samples.pair_name.take(samples.pair)
    names, name_code = list(exported), own.copy()
    numbers = {name: number for number, name in enumerate(dict.fromkeys(exported))}
    key = row * len(exported) + np.array([numbers[name] for name in exported], dtype=np.int64).take(own)
    key.sort()
    met = np.zeros(len(samples), dtype=np.bool_)
    met[key[1:][key[1:] == key[:-1]] // max(len(exported), 1)] = True
    for labels, codes in _name_sets(samples, own, row, met):
        finals, _ = exported_names(tuple(samples.names[code] for code in codes), label_names)
        new = np.arange(len(exported), dtype=np.int32)
        for code in codes:
            if finals[samples.names[code]] != exported[code]:
                new[code] = len(names)
                names.append(finals[samples.names[code]])
        name_code[labels] = new.take(own.take(labels))
    return _arrange(
        names, samples.values, row, name_code, samples.pair_value.take(samples.pair), samples.tenants,
        samples.tenant, samples.rules, samples.rule, samples.timestamp_ms, samples.value,
    )  # fmt: skip


def _name_sets(samples: Samples, own: I32, row: I64, met: Bool) -> Iterator[tuple[I64, list[int]]]:
    """The distinct sets of names of some samples: positions in `pair` of all their labels, and the names."""
    weight = np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in samples.names], dtype=np.uint64)
    of_row = part_sums(weight.take(own), samples.offsets)
    for one in np.unique(of_row.compress(met)).tolist():
        chosen = met & (of_row == one)
        labels = np.flatnonzero(chosen.take(row))
        yield labels, [code for code in np.unique(own.take(labels)).tolist() if code != samples.name_code]


def _added_up(samples: Samples) -> Samples:
    """Samples of one rule, tenant, time and label set as one; there were none before names were changed."""
    if not len(samples):
        return samples
    series = samples.series_hash(samples.tenants)
    order = np.lexsort((samples.rule, samples.timestamp_ms, series))
    same = np.ones(len(order), dtype=np.bool_)
    for column in (samples.rule, samples.timestamp_ms, series):
        ordered = column.take(order)
        same[1:] &= ordered[1:] == ordered[:-1]
    same[0] = False
    for place in np.flatnonzero(same).tolist():  # equal hashes are compared in full
        same[place] = samples.labels(int(order[place])) == samples.labels(int(order[place - 1]))
    if not same.any():
        return samples
    first = np.flatnonzero(~same)
    value = np.add.reduceat(samples.value.take(order), first)
    kept = np.sort(order.take(first))  # sorting is stable: the first of each stays where it was
    rank = np.searchsorted(kept, order.take(first))
    result = samples.take(kept)
    result.value[rank] = value
    return result


def _arrange(
    names: Sequence[str], values: Sequence[str], row: I64, name_code: I32, value_code: I32,
    tenants: Sequence[str], tenant: I32, rules: Sequence[str], rule: I32, timestamp_ms: I64,
    value: npt.NDArray[np.float64],
) -> Samples:  # fmt: skip
    """Labels in any order, with texts that may repeat, in their place: by row, then by name in byte order."""
    distinct_names = sorted(set(names), key=str.encode)
    number = {name: position for position, name in enumerate(distinct_names)}
    name_code = np.array([number[name] for name in names], dtype=np.int32).take(name_code)
    distinct_values = list(dict.fromkeys(values))
    number = {text: position for position, text in enumerate(distinct_values)}
    value_code = np.array([number[text] for text in values], dtype=np.int32).take(value_code)
    if "" in number:
        there = np.flatnonzero(value_code != number[""])
        row, name_code, value_code = row.take(there), name_code.take(there), value_code.take(there)
    place = row * len(distinct_names) + name_code
    # Sixteen bits are sorted by counting them.
    is_small = len(value) * len(distinct_names) <= 1 << 16
    order = np.argsort(place.astype(np.uint16) if is_small else place, kind="stable")
    key = name_code.take(order).astype(np.int64) * len(distinct_values) + value_code.take(order)
    distinct, pair = _distinct(key, len(distinct_names) * len(distinct_values))
    offsets = starts(np.bincount(row, minlength=len(value)))
    return Samples(
        tenants=tenants,
        rules=rules,
        names=distinct_names,
        values=distinct_values,
        tenant=tenant,
        rule=rule,
        pair_name=(distinct // max(1, len(distinct_values))).astype(np.int32),
        pair_value=(distinct % max(1, len(distinct_values))).astype(np.int32),
        offsets=offsets,
        pair=pair.astype(np.int32),
        timestamp_ms=timestamp_ms,
        value=value,
    )


def _distinct(key: I64, bound: int) -> tuple[I64, I64]:
    """The distinct keys, ascending, and each key's place among them; keys are below `bound`."""
    if bound > 8 * len(key) + (1 << 16):
        distinct, place = np.unique(key, return_inverse=True)
        return distinct, place
    there = np.zeros(bound, dtype=np.bool_)
    there[key] = True
    return np.flatnonzero(there), (np.cumsum(there, dtype=np.int64) - 1).take(key)


def _codes(parts: list[Any]) -> tuple[list[str], I32]:
    """Distinct texts and their numbers."""
    array: Any = pa.chunked_array(parts).unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # combining leaves one chunk, and none of none
        array = array.chunk(0) if array.num_chunks else parts[0]
    return array.dictionary.to_pylist(), array.indices.to_numpy(zero_copy_only=False).astype(np.int32)
