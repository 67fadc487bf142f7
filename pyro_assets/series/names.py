"""Names as Prometheus allows them: metrics of profile types, and the labels of profiles made public.

Add what decides how something is called in a series. Everything that changes a label is counted, so that two labels
never become one unnoticed. Which series exist is decided elsewhere.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pyro_assets.block.columns import Labels
from pyro_assets.storage.shown import show_bytes

METRIC_PREFIX: Final = "pyroscope_exported_metrics_"
FUNCTION_METRIC_PREFIX: Final = "pyroscope_exported_metrics_functions_"

FUNCTION_LABEL: Final = "function"
TENANT_LABEL: Final = "tenant"
#: The id of the one rule that makes dimension series.
DIMENSIONS_ID: Final = "dimensions"
SHARD_LABEL: Final = "pyroscope_shard"
RULE_ID_LABEL: Final = "profiles_rule_id"
INSTANCE_LABEL: Final = "pyroscope_instance"

#: Ours; a profile's own label of that name moves aside.
OWN_LABELS: Final = frozenset({FUNCTION_LABEL, TENANT_LABEL, SHARD_LABEL})
MOVED_PREFIX: Final = "exported_"
PRIVATE_PREFIX: Final = "__"

_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_]")
_LEGAL_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGAL_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

#: Text labels sorted by name.
TextLabels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PublicLabels:
    """The public labels of one label set.

    Attributes:
        labels: legal names and values, sorted by name; ours are not among them.
        renamed: empty where names and values are shown as they are stored; otherwise what the labels were made of, for
            telling when two label sets became one.
        collisions: messages, one per label whose legal name another label of the set already had.
    """

    labels: TextLabels
    renamed: Labels
    collisions: tuple[str, ...] = ()


def is_metric_name(text: str) -> bool:
    """Whether every Prometheus takes it as the name of a metric."""
    return _LEGAL_METRIC.fullmatch(text) is not None


def is_label_name(text: str) -> bool:
    """Whether every Prometheus takes it as the name of a label, and none keeps it for itself.

    >>> is_label_name("pod"), is_label_name("k8s.pod"), is_label_name("__name__")
    (True, False, False)
    """
    return _LEGAL_LABEL.fullmatch(text) is not None and not text.startswith(PRIVATE_PREFIX)


def legal_label_name(text: str) -> str:
    """A name that Prometheus allows: other characters become "_", a digit in front gets one before it.

    Names that begin with two underscores are Prometheus's own; a name that became one loses all but the last.

    >>> [legal_label_name(name) for name in ("a.b", "1a", "a-ü", ".-a", "..name__", "")]
    ['a_b', '_1a', 'a__', '_a', '_name__', '_']
    """
    name = _ILLEGAL.sub("_", text)
    if not name or name[0].isdigit():
        name = "_" + name
    return "_" + name.lstrip("_") if name.startswith(PRIVATE_PREFIX) else name


@lru_cache(maxsize=4096)
def _both_names(name: bytes) -> tuple[str, str]:
    """As stored and as exported; there are few names and many label sets."""
    text = show_bytes(name)
    return text, legal_label_name(text)


def metric_name(profile_type: bytes, prefix: str = METRIC_PREFIX) -> str:
    """The metric of a profile type.

    >>> metric_name(b"process_cpu:cpu:nanoseconds:cpu:nanoseconds")
    'pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds'
    >>> metric_name(b"memory:inuse_space:bytes:space:bytes", FUNCTION_METRIC_PREFIX)
    'pyroscope_exported_metrics_functions_memory_inuse_space_bytes_space_bytes'
    """
    return prefix + _ILLEGAL.sub("_", show_bytes(profile_type))


def public_labels(
    labels: Labels, *, keep: Collection[str] | None = None, drop: Collection[str] = frozenset()
) -> PublicLabels:
    """The labels of a series as Prometheus gets them, without those that a rule adds.

    Private labels (`__*`) and empty values are dropped. Labels called as one of ours, `function`, `tenant` or
    `pyroscope_shard`, become `exported_<name>`; where two labels get the same name, the one that has it by nature
    keeps it and the others, in byte order, are called `exported_<name>` and reported.

    Args:
        labels: as stored.
        keep: names of the labels to keep, as stored or as exported; None keeps all.
        drop: names of the labels to leave out, as stored or as exported.

    >>> public_labels(((b"__type__", b"cpu"), (b"a.b", b"1"), (b"function", b"f"))).labels
    (('a_b', '1'), ('exported_function', 'f'))
    """
    named = []
    for name, value in labels:
        text, legal = _both_names(name)
        if text.startswith(PRIVATE_PREFIX) or not value:
            continue
        names = {text, legal}
        if (keep is None or names & set(keep)) and not names & set(drop):
            named.append((legal != text, name, legal, value))
    named.sort()
    result: dict[str, str] = {}
    collisions = []
    for _, name, legal, value in named:
        exported = legal
        while exported in result or exported in OWN_LABELS:
            if exported in result:
                collisions.append(f"label {show_bytes(name)!r} cannot be called {exported!r}, another label is")
            exported = MOVED_PREFIX + exported
        result[exported] = show_bytes(value)
    as_stored = {name.encode(): value.encode() for name, value in result.items()}
    stored = tuple(sorted((name, value) for _, name, _, value in named))
    renamed = () if as_stored == dict(stored) else stored
    return PublicLabels(tuple(sorted(result.items())), renamed, tuple(collisions))
