"""What there is to choose from: profile types, names and values of labels, label sets, and the times of the archive.

Names that Prometheus does not allow are shown to clients that say that they take them.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from pyro_assets.block.columns import Labels
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.explore.pyroscope.messages.types_pb2 import LabelPair, ProfileType
from pyro_assets.explore.pyroscope.messages.types_pb2 import Labels as LabelSet
from pyro_assets.storage.shown import show_bytes

_PARTS: Final = 5
_LEGAL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*\Z")


def profile_types(series: Iterable[Labels]) -> list[ProfileType]:
    """The distinct profile types of series, sorted; what stands for none in five parts is left out."""
    found = []
    for kind in sorted({show_bytes(profile_type(labels)) for labels in series}):
        parts = kind.split(":")
        if len(parts) == _PARTS:
            name, sample_type, sample_unit, period_type, period_unit = parts
            found.append(
                ProfileType(
                    ID=kind, name=name, sample_type=sample_type, sample_unit=sample_unit,
                    period_type=period_type, period_unit=period_unit,
                )
            )  # fmt: skip
    return found


def label_names(series: Iterable[Labels], *, any_name: bool) -> list[str]:
    """The distinct names of labels, sorted; `any_name`: those that Prometheus does not allow, too."""
    names = {show_bytes(name) for labels in series for name, _ in labels}
    return sorted(name for name in names if any_name or is_legal(name))


def label_values(series: Iterable[Labels], name: str) -> list[str]:
    """The distinct values of a label, sorted."""
    key = name.encode("utf-8", "replace")
    return sorted({show_bytes(value) for labels in series for one, value in labels if one == key})


def label_sets(series: Iterable[Labels], names: Sequence[str], *, any_name: bool) -> list[LabelSet]:
    """The distinct label sets, of which only some names are shown (none given: all), sorted."""
    wanted = set(names)
    found = set()
    for labels in series:
        shown = sorted((show_bytes(name), show_bytes(value)) for name, value in labels)
        found.add(
            tuple(pair for pair in shown if (not wanted or pair[0] in wanted) and (any_name or is_legal(pair[0])))
        )
    return [LabelSet(labels=[LabelPair(name=name, value=value) for name, value in pairs]) for pairs in sorted(found)]


def is_legal(name: str) -> bool:
    """Whether Prometheus always took such a name.

    >>> is_legal("service_name"), is_legal("service.version")
    (True, False)
    """
    return _LEGAL.match(name) is not None
