"""Names as Prometheus allows them: metrics of profile types, and the labels of profiles made public.

Add what decides how something is called in a series. Stored series have the profiles' own names; what a receiver gets
is a function of the name alone, see `exported_name`, so that a series is called the same whatever other series there
are. Two labels of one series never become one, and collisions of names are counted. Which series exist is decided
elsewhere.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

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
#: How label names that are not legal are sent: with underscores, as they are, or as Prometheus's value encoding.
LabelNames = Literal["underscores", "utf8", "values"]
_ILLEGAL: Final = re.compile(r"[^a-zA-Z0-9_]")
_UNESCAPED: Final = re.compile(r"\A[0-9]|[^a-zA-Z0-9_]")
#: ASCII without letters, digits and the underscore.
_SEPARATOR: Final = re.compile(r"[^a-zA-Z0-9_\x80-\U0010ffff]")
_LEGAL_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LEGAL_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
#: Text labels sorted by name.
TextLabels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class PublicLabels:
    """The public labels of one label set.

    Attributes:
        labels: own names and values as text, sorted by name; ours are not among them.
        renamed: empty where names and values are sent as they stand in the profile; otherwise what the labels were
            made of, for telling when two label sets became one.
        collisions: messages, one per label whose name another label of the set had already.
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


@lru_cache(maxsize=4096)
def exported_name(name: str, label_names: LabelNames = "underscores") -> str:
    """The name under which a label is sent, a function of its own name alone. Legal names stay.

    "underscores": ASCII characters that are not legal (`.`, `-`, `/`, space and the like) become "_", others their code
    point between underscores; a name of which nothing else is left is written by code points alone. "values":
    Prometheus's escaping, https://prometheus.io/docs/instrumenting/escaping_schemes/. Names that would begin with two
    underscores, which are Prometheus's own, begin with one.

    >>> [exported_name(name) for name in ("k8s.pod", "1a", "größe", "имя", "/", "..name__", "")]
    ['k8s_pod', '_1a', 'gr_f6__df_e', '_438__43c__44f_', '_2f_', '_name__', '_']
    >>> [exported_name(name, "values") for name in ("pod", "k8s.pod_name", "имя")]
    ['pod', 'U__k8s_2e_pod__name', 'U___438__43c__44f_']
    """
    if is_label_name(name) or (label_names == "utf8" and name and not name.startswith(PRIVATE_PREFIX)):
        return name
    if label_names == "values":
        return escaped_name(name)
    legal = _legal(name)
    if not legal.strip("_"):
        legal = _ILLEGAL.sub(_code_point, name)
    if not legal or legal[0].isdigit():
        legal = "_" + legal
    return "_" + legal.lstrip("_") if legal.startswith(PRIVATE_PREFIX) else legal


@lru_cache(maxsize=4096)
def exported_names(
    names: tuple[str, ...], label_names: LabelNames = "underscores"
) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """The names under which the labels of one series are sent, no two alike, and a message for each collision.

    Legal names stay, and then the first in byte order has a name; the others are escaped by values.

    >>> names, collisions = exported_names(("a.b", "a_b", "c.d"))
    >>> names
    {'a_b': 'a_b', 'a.b': 'U__a_2e_b', 'c.d': 'c_d'}
    >>> collisions
    ("label 'a.b' cannot be called 'a_b', another label is: it is called 'U__a_2e_b'",)
    """
    order = sorted((exported_name(name, label_names) != name, name) for name in set(names))
    finals, collisions = _settled([(name, exported_name(name, label_names)) for _, name in order])
    return {name: final for (_, name), final in zip(order, finals, strict=True)}, collisions


def escaped_name(name: str) -> str:
    """Any name, a legal one too, by Prometheus's escaping of values; different names stay different."""
    return "U__" + _UNESCAPED.sub(_code_point, name.replace("_", "__"))


def _settled(wanted: Iterable[tuple[str, str]]) -> tuple[list[str], tuple[str, ...]]:
    """Names for labels that are pairs of their own name and the one they want; the first that wants one has it."""
    result: dict[str, None] = {}
    collisions = []
    for own, name in wanted:
        final = escaped_name(own) if name in result else name
        while final in result:
            final = escaped_name(final)
        if final != name:
            why = f"label {own!r} cannot be called {name!r}, another label is: it is called {final!r}"
            collisions.append(why)
        result[final] = None
    return list(result), tuple(collisions)


def _legal(text: str) -> str:
    return _ILLEGAL.sub(_code_point, _SEPARATOR.sub("_", text))


def _code_point(character: re.Match[str]) -> str:
    return f"_{ord(character[0]):x}_"


def metric_name(profile_type: bytes, prefix: str = METRIC_PREFIX) -> str:
    """The metric of a profile type, whatever other types there are; always a legal name.

    >>> metric_name(b"process_cpu:cpu:nanoseconds:cpu:nanoseconds")
    'pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds'
    >>> metric_name(b"memory:inuse_space:bytes:space:bytes", FUNCTION_METRIC_PREFIX)
    'pyroscope_exported_metrics_functions_memory_inuse_space_bytes_space_bytes'
    """
    return prefix + _legal(show_bytes(profile_type))


def public_labels(
    labels: Labels, *, keep: Collection[str] | None = None, drop: Collection[str] = frozenset()
) -> PublicLabels:
    """The labels of a series by their own names, without those that a rule adds.

    Private labels (`__*`) and empty values are dropped. Labels called as one of ours, `function`, `tenant` or
    `pyroscope_shard`, become `exported_<name>`; where that is another label's name, or one name stands twice, the
    others are called as `escaped_name` has it, and reported. So are names that meet where they are sent.

    Args:
        labels: as stored in the profile.
        keep: own names of the labels to keep, or what they became; None keeps all.
        drop: own names of the labels to leave out, or what they became.

    >>> public_labels(((b"__type__", b"cpu"), (b"a.b", b"1"), (b"function", b"f"))).labels
    (('a.b', '1'), ('exported_function', 'f'))
    """
    kept = [label for label in labels if label[1]]
    called = _called(tuple(name for name, _ in kept), None if keep is None else frozenset(keep), frozenset(drop))
    shown = tuple([(name, show_bytes(kept[place][1])) for name, place in called.places])
    stored: Labels = ()
    if not called.is_as_stored or any(
        text.encode() != kept[place][1] for (_, text), (_, place) in zip(shown, called.places, strict=True)
    ):
        stored = tuple(sorted(kept[place] for _, place in called.places))
    return PublicLabels(shown, stored, called.collisions)


@dataclass(frozen=True, slots=True)
class _PublicNames:
    """The names of the public labels of some label sets.

    Attributes:
        places: of the labels that stay, in the order of their names: the name, and which one it is.
        is_as_stored: all are sent under the names that stand in the profile.
    """

    places: tuple[tuple[str, int], ...]
    is_as_stored: bool
    collisions: tuple[str, ...]


@lru_cache(maxsize=4096)
def _called(names: tuple[bytes, ...], keep: frozenset[str] | None, drop: frozenset[str]) -> _PublicNames:
    """See `public_labels`; remembered, because there are many label sets and few sets of names."""
    named = []
    for place, name in enumerate(names):
        text = show_bytes(name)
        wanted = MOVED_PREFIX + text if text in OWN_LABELS else text
        either = {text, wanted}
        if not text.startswith(PRIVATE_PREFIX) and (keep is None or either & keep) and not either & drop:
            named.append((wanted != text, text, wanted, place))
    named.sort()  # of a name that stands twice the first has it, as in selectors
    finals, collisions = _settled([(text, wanted) for _, text, wanted, _ in named])
    sent, sent_collisions = exported_names(tuple(finals))
    places = [place for *_, place in named]
    is_as_stored = all(sent[name].encode() == names[place] for name, place in zip(finals, places, strict=True))
    return _PublicNames(tuple(sorted(zip(finals, places, strict=True))), is_as_stored, collisions + sent_collisions)
