"""Series as a receiver has them: stored rows get its names and labels, matchers are asked, samples get numbers.

Names, labels and what is refused are those of sending (`export`), asked of the distinct series of a slice, so that a
copy that was sent and one that is read are the same series. Files and bytes are not known here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from pyro_assets.block.columns import I64
from pyro_assets.errors import BadQuery
from pyro_assets.explore.remote_read.rows import IDENTITY, View
from pyro_assets.explore.remote_read.wire import label_fields
from pyro_assets.export.remote_write.validate import validate
from pyro_assets.export.samples import Samples, dress, read_samples, selected
from pyro_assets.rules.selectors import Matcher, Selector

_NOW_MS: Final = 0  # nothing is refused for its age


@dataclass(frozen=True, slots=True)
class SampleColumns:
    """Samples of n series, m in all.

    Attributes:
        series: int64[n], numbers of `QueriedSeries`, ascending.
        begins: int64[n], the first sample of each.
        time_ms, value: of samples, those of a series side by side and in the order of time.
    """

    series: I64
    begins: I64
    time_ms: I64
    value: npt.NDArray[np.float64]

    def portions(self, most: int) -> "Iterator[SampleColumns]":
        """The same in portions of so many samples at most; a series may begin in one and go on in the next."""
        for begin in range(0, len(self.time_ms), most):
            end = min(begin + most, len(self.time_ms))
            first = np.searchsorted(self.begins, begin, side="right") - 1
            last = np.searchsorted(self.begins, end, side="left")
            begins = np.maximum(self.begins[first:last] - begin, 0)
            yield SampleColumns(self.series[first:last], begins, self.time_ms[begin:end], self.value[begin:end])


@dataclass(slots=True)
class QueriedSeries:
    """The series of one query, as they are found.

    Attributes:
        view: whose names and labels they have.
        matchers: all must hold.
        labels: of each series, as they stand in a message.
    """

    view: View
    matchers: tuple[Matcher, ...]
    labels: list[bytes] = field(default_factory=list)
    _numbers: dict[bytes, int] = field(default_factory=dict)
    _orgs: set[str] = field(default_factory=set)

    def order(self) -> I64:
        """int64[n]: the series by their labels, as Prometheus compares them: names and values by their bytes."""
        keys = list(self._numbers)
        return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)

    def add(self, rows: pl.DataFrame) -> SampleColumns:
        """Numbers the series of some rows of `matching_rows`, and puts their samples into columns.

        Raises:
            BadQuery: tenants would be taken for each other.
        """
        dressed = self._dressed(rows)
        series = np.fromiter(map(self._number, *self._keys_and_labels(dressed)), np.int64, len(dressed))
        order = np.argsort(series, kind="stable")
        series, rows = series.take(order), rows[(dressed.timestamp_ms - 1).take(order)]
        lists = rows["timestamp_ms"].to_arrow()
        counts, time_ms = np.diff(lists.offsets.to_numpy()), lists.flatten().to_numpy()
        value = rows["value"].to_arrow().flatten().to_numpy()
        row = np.repeat(np.arange(len(rows)), counts)
        good = np.flatnonzero(np.isfinite(value))
        if len(good) < len(value):  # receivers get none of the others
            row, time_ms, value = row.take(good), time_ms.take(good), value.take(good)
        of_sample = series.take(row)
        is_same = of_sample[1:] == of_sample[:-1]
        if (is_same & (time_ms[1:] <= time_ms[:-1])).any():
            owner = rows.select(owner=pl.struct("tenant", "rule").rank("dense"))["owner"].to_numpy()
            of_sample, time_ms, value = _settled(of_sample, owner.take(row), time_ms, value)
        present, begins = np.unique(of_sample, return_index=True)
        return SampleColumns(present, begins, time_ms, value)

    def _dressed(self, rows: pl.DataFrame) -> Samples:
        """The series of rows that a receiver has and matchers select; the place of a row, from 1, is their time."""
        receiver = self.view.receiver
        places = pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("timestamp_ms")
        nothing = (pl.lit(0.0).alias("value"), pl.lit(None, pl.Int64).alias("value_int"))
        named = dress(read_samples(rows.select(*IDENTITY, places, *nothing)), receiver)
        if self.matchers:
            named = named.take(np.flatnonzero(selected(named, [Selector("", self.matchers)])))
        good = validate(named, receiver, _NOW_MS, ageless=True).samples
        if receiver.effective_tenant_label is None:
            self._orgs |= {receiver.org_of(good.tenants[number]) for number in np.unique(good.tenant).tolist()}
            if len(self._orgs) > 1:
                shown = ", ".join(sorted(self._orgs)[:5])
                raise BadQuery(f"series of several tenants ({shown}) have no label that says so; send X-Scope-OrgID")
        return good

    def _keys_and_labels(self, samples: Samples) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Of each series what it is compared by, and its labels in a message; made once per distinct label."""
        pairs = [
            (samples.names[name], samples.values[value])
            for name, value in zip(samples.pair_name.tolist(), samples.pair_value.tolist(), strict=True)
        ]
        keys = [_comparable(name) + _comparable(value) for name, value in pairs]
        fields = [label_fields([pair]) for pair in pairs]
        own, ends = samples.pair.tolist(), samples.offsets.tolist()
        spans = list(pairwise(ends))
        return (
            [b"".join([keys[pair] for pair in own[begin:end]]) for begin, end in spans],
            [b"".join([fields[pair] for pair in own[begin:end]]) for begin, end in spans],
        )

    def _number(self, key: bytes, labels: bytes) -> int:
        number = self._numbers.setdefault(key, len(self.labels))
        if number == len(self.labels):
            self.labels.append(labels)
        return number


def _comparable(text: str) -> bytes:
    """Bytes of a text that compare like it, whatever stands behind them."""
    return text.encode().replace(b"\0", b"\0\xff") + b"\0\0"


def _settled(
    series: I64, owner: I64, time_ms: I64, value: npt.NDArray[np.float64]
) -> tuple[I64, I64, npt.NDArray[np.float64]]:
    """Samples by series and time, one each: as when they are sent, those of one rule and tenant are added up.

    Those that several rules or tenants give are left out: nobody can say which is meant.
    """
    frame = pl.DataFrame({"series": series, "owner": owner, "time": time_ms, "value": value})
    added = frame.group_by("series", "time", "owner", maintain_order=True).agg(pl.col("value").sum())
    one = added.filter(pl.len().over("series", "time") == 1).sort("series", "time")
    return one["series"].to_numpy(), one["time"].to_numpy(), one["value"].to_numpy()
