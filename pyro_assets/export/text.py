"""Samples as lines of text: the exposition format of Prometheus and OpenMetrics, by columns.

Add what concerns one line or one name here; files, sorting and days are `openmetrics`'s.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.export.samples import NAME_LABEL, Samples

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def escape(value: str) -> str:
    r"""A label's value as it stands between quotes.

    >>> print(escape('a"b\\c'))
    a\"b\\c
    """
    return value.translate(_ESCAPES)


def quote_name(name: str) -> str:
    """A label's name as it stands in a line or a selector: in quotes where it is not legal everywhere.

    >>> quote_name("pod"), quote_name("__name__"), quote_name("k8s.pod")
    ('pod', '__name__', '"k8s.pod"')
    """
    return name if name.isidentifier() and name.isascii() else f'"{escape(name)}"'


def series_lines(samples: Samples) -> Any:
    """The series of each sample as text, `metric{name="value",...}`, labels in byte order: Arrow strings, n."""
    import pyarrow.compute as pc

    number = samples.names.index(NAME_LABEL) if NAME_LABEL in samples.names else -1
    pieces = [
        f'{quote_name(samples.names[name])}="{escape(samples.values[value])}"'
        for name, value in zip(samples.pair_name.tolist(), samples.pair_value.tolist(), strict=True)
    ]
    is_name = (samples.pair_name == number).take(samples.pair) if len(samples.pair) else np.zeros(0, dtype=np.bool_)
    kept = np.zeros(len(samples.pair) + 1, dtype=np.int64)
    np.cumsum(~is_name, out=kept[1:])
    offsets = kept.take(samples.offsets)
    labels = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)),
        pa.array(pieces, type=pa.string()).take(pa.array(samples.pair.compress(~is_name))),
    )
    return pc.binary_join_element_wise(metrics(samples), "{", pc.binary_join(labels, ","), "}", "")


def metrics(samples: Samples) -> Any:
    """The name of each sample's metric: Arrow strings, n. Every sample must have one."""
    number = samples.names.index(NAME_LABEL) if NAME_LABEL in samples.names else -1
    is_name = (samples.pair_name == number).take(samples.pair) if len(samples.pair) else np.zeros(0, dtype=np.bool_)
    values = samples.pair_value.take(samples.pair.compress(is_name))
    return pa.array(samples.values, type=pa.string()).take(pa.array(values))


def seconds_text(timestamp_ms: Any) -> Any:
    """Milliseconds, int64 from 0, as seconds with three decimals: Arrow strings.

    >>> seconds_text(pa.array([1_795_600_276_005, 7])).to_pylist()
    ['1795600276.005', '0.007']
    """
    import pyarrow.compute as pc

    # pyarrow has no remainder.
    seconds = pc.divide(timestamp_ms, 1000)
    rest = pc.subtract(timestamp_ms, pc.multiply(seconds, 1000))
    padded = pc.utf8_lpad(rest.cast(pa.string()), 3, padding="0")
    return pc.binary_join_element_wise(seconds.cast(pa.string()), padded, ".")


def value_text(values: Any) -> Any:
    """Doubles in the shortest form that reads back as the same double: Arrow strings."""
    return values.cast(pa.string())
