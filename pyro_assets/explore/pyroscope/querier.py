"""The methods of querier.v1.QuerierService: a message in, a message out.

Add a method here, in METHODS, and what it computes in a module of its own. Whatever a method is asked that it does
not do is refused by name; nothing is answered in part.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.message import Message

from pyro_assets.block.columns import Labels
from pyro_assets.errors import BadQuery, NotOffered
from pyro_assets.explore.call_tree import TreeBuilder
from pyro_assets.explore.pyroscope import labels as choices
from pyro_assets.explore.pyroscope.archive import ProfileArchive
from pyro_assets.explore.pyroscope.asked import ProfileKind, ProfileQuery, TimeRange, all_of, label_selector
from pyro_assets.explore.pyroscope.flame_graph import flame_graph, flame_graph_diff, tree_bytes
from pyro_assets.explore.pyroscope.go_pgo import GoPgo
from pyro_assets.explore.pyroscope.messages import querier_pb2, types_pb2
from pyro_assets.explore.pyroscope.messages.profile_pb2 import Profile
from pyro_assets.explore.pyroscope.points import TimeLine, lines
from pyro_assets.explore.pyroscope.pprof import pprof
from pyro_assets.explore.pyroscope.stacks import Stacks, cut, named, over

#: Nodes of a flame graph where nobody says how many.
DEFAULT_MAX_NODES: Final = 8192
_FORMATS: Final = querier_pb2.ProfileFormat
#: Points of one line; the original's clients ask for some hundreds.
_MOST_STEPS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        tenant: whose profiles are meant.
        any_label_name: takes names of labels that Prometheus does not allow.
    """

    tenant: str
    any_label_name: bool = False


class Querier:
    """Answers from one archive; safe to use from many threads."""

    def __init__(self, archive: ProfileArchive) -> None:
        self._archive = archive

    def profile_types(self, asked: querier_pb2.ProfileTypesRequest, caller: Caller) -> Message:
        """Profile types that have profiles in a span."""
        series = self._archive.series(caller.tenant, all_of(()), TimeRange(asked.start, asked.end))
        return querier_pb2.ProfileTypesResponse(profile_types=choices.profile_types(series))

    def label_names(self, asked: types_pb2.LabelNamesRequest, caller: Caller) -> Message:
        """Names of labels of selected series."""
        series = self._series(asked, caller)
        names = choices.label_names(series, any_name=caller.any_label_name)
        return types_pb2.LabelNamesResponse(names=names)

    def label_values(self, asked: types_pb2.LabelValuesRequest, caller: Caller) -> Message:
        """Values of a label of selected series."""
        if not asked.name:
            raise BadQuery("name is required")
        return types_pb2.LabelValuesResponse(names=choices.label_values(self._series(asked, caller), asked.name))

    def series(self, asked: querier_pb2.SeriesRequest, caller: Caller) -> Message:
        """Label sets of selected series."""
        found = self._series(asked, caller)
        sets = choices.label_sets(found, asked.label_names, any_name=caller.any_label_name)
        return querier_pb2.SeriesResponse(labels_set=sets)

    def profile_stats(self, _: types_pb2.GetProfileStatsRequest, caller: Caller) -> Message:
        """When the first and the last profile were taken."""
        ends = self._archive.ends_ms(caller.tenant)
        if ends is None:
            return types_pb2.GetProfileStatsResponse()
        return types_pb2.GetProfileStatsResponse(
            data_ingested=True, oldest_profile_time=ends[0], newest_profile_time=ends[1]
        )

    def merge_stacktraces(self, asked: querier_pb2.SelectMergeStacktracesRequest, caller: Caller) -> Message:
        """Profiles as a flame graph, as a tree or as a pprof profile."""
        _refuse(asked, is_pprof=asked.format == _FORMATS.PROFILE_FORMAT_PPROF)
        answer = querier_pb2.SelectMergeStacktracesResponse()
        if asked.format == _FORMATS.PROFILE_FORMAT_PPROF:
            answer.pprof.profile.CopyFrom(self._pprof(asked, caller))
            return answer
        if asked.format == _FORMATS.PROFILE_FORMAT_DOT:
            raise NotOffered("profiles are not drawn in the dot language here; ask for a flame graph, tree or pprof")
        stacks = cut(self._stacks(asked, caller), _nodes_of(asked))
        if asked.format == _FORMATS.PROFILE_FORMAT_TREE:
            answer.tree = tree_bytes(stacks)
        else:
            answer.flamegraph.CopyFrom(flame_graph(stacks))
        return answer

    def merge_profile(self, asked: querier_pb2.SelectMergeProfileRequest, caller: Caller) -> Message:
        """Profiles as a pprof profile."""
        _refuse(asked, is_pprof=True)
        return self._pprof(asked, caller)

    def diff(self, asked: querier_pb2.DiffRequest, caller: Caller) -> Message:
        """The flame graphs of two selections, one over the other."""
        for side in (asked.left, asked.right):
            _refuse(side)
        both = over(self._stacks(asked.left, caller), self._stacks(asked.right, caller))
        nodes = max(_nodes_of(asked.left), _nodes_of(asked.right))
        return querier_pb2.DiffResponse(flamegraph=flame_graph_diff(cut(both, nodes)))

    def select_series(self, asked: querier_pb2.SelectSeriesRequest, caller: Caller) -> Message:
        """Profiles as points over time."""
        _refuse(asked)
        if asked.exemplar_type not in (types_pb2.EXEMPLAR_TYPE_UNSPECIFIED, types_pb2.EXEMPLAR_TYPE_NONE):
            raise NotOffered("points have no exemplars here; ask for EXEMPLAR_TYPE_NONE")
        meant = self._asked(asked, caller)
        found = self.lines(meant, asked.step, asked.group_by, asked.limit)
        return querier_pb2.SelectSeriesResponse(series=[_series_of(one) for one in found])

    def lines(self, meant: ProfileQuery, step: float, group_by: Sequence[str] = (), limit: int = 0) -> list[TimeLine]:
        """Points over time.

        Raises:
            BadQuery: the step (in seconds) is too short.
        """
        step_ms = round(step * 1000) if 0 < step < 2**40 else 0
        if step_ms < 1:
            raise BadQuery("step must be >= 1ms")
        if (meant.span.end_ms - meant.span.start_ms) // step_ms > _MOST_STEPS:
            raise BadQuery(f"a step of {step:g} s cuts this time into more than {_MOST_STEPS} points; make it longer")
        return lines(self._archive.read(meant, names=False), meant.span, step_ms, group_by, limit)

    def stacks(self, meant: ProfileQuery) -> Stacks:
        """The whole call tree."""
        builder = TreeBuilder()
        for one in self._archive.read(meant):
            builder.add(one.columns, one.rows)
        return named(builder.finish())

    def _stacks(self, asked: querier_pb2.SelectMergeStacktracesRequest, caller: Caller) -> Stacks:
        return self.stacks(self._asked(asked, caller))

    def _pprof(self, asked: Any, caller: Caller) -> Profile:
        meant = self._asked(asked, caller)
        pgo = None
        if asked.stack_trace_selector.HasField("go_pgo"):
            given = asked.stack_trace_selector.go_pgo
            pgo = GoPgo(given.keep_locations, given.aggregate_callees)
        return pprof(self._archive.read(meant, everything=True), meant, asked.max_nodes, pgo)

    def _series(self, asked: Any, caller: Caller) -> list[Labels]:
        return self._archive.series(caller.tenant, all_of(asked.matchers), TimeRange(asked.start, asked.end))

    def _asked(self, asked: Any, caller: Caller) -> ProfileQuery:
        kind = ProfileKind.parse(asked.profile_typeID)
        return ProfileQuery(
            caller.tenant, kind, label_selector(asked.label_selector), TimeRange(asked.start, asked.end)
        )


def _nodes_of(asked: querier_pb2.SelectMergeStacktracesRequest) -> int:
    return asked.max_nodes if asked.max_nodes > 0 else DEFAULT_MAX_NODES


def _refuse(asked: Any, *, is_pprof: bool = False) -> None:
    """What the messages can ask for beyond what is done here."""
    names = {field.name for field, _ in asked.ListFields()}
    if "stack_trace_selector" in names:
        stacks = asked.stack_trace_selector
        if stacks.call_site or (stacks.HasField("go_pgo") and not is_pprof):
            raise NotOffered("profiles cannot be chosen by stack_trace_selector here; pprof profiles know its go_pgo")
    for name in ("profile_id_selector", "trace_id_selector", "span_selector", "async"):
        if name in names:
            raise NotOffered(f"profiles cannot be chosen by {name} here; choose them by labels, type and time")


def _series_of(line: TimeLine) -> types_pb2.Series:
    return types_pb2.Series(
        labels=[types_pb2.LabelPair(name=name, value=value) for name, value in line.labels],
        points=[types_pb2.Point(timestamp=time_ms, value=value) for time_ms, value in line.points],
    )


Handler = Callable[[Querier, Any, Caller], Message]
#: Name -> request and what answers it.
METHODS: Final[dict[str, tuple[type[Message], Handler]]] = {
    "ProfileTypes": (querier_pb2.ProfileTypesRequest, Querier.profile_types),
    "LabelNames": (types_pb2.LabelNamesRequest, Querier.label_names),
    "LabelValues": (types_pb2.LabelValuesRequest, Querier.label_values),
    "Series": (querier_pb2.SeriesRequest, Querier.series),
    "GetProfileStats": (types_pb2.GetProfileStatsRequest, Querier.profile_stats),
    "SelectMergeStacktraces": (querier_pb2.SelectMergeStacktracesRequest, Querier.merge_stacktraces),
    "SelectMergeProfile": (querier_pb2.SelectMergeProfileRequest, Querier.merge_profile),
    "SelectSeries": (querier_pb2.SelectSeriesRequest, Querier.select_series),
    "Diff": (querier_pb2.DiffRequest, Querier.diff),
}
#: Known, and not offered.
UNIMPLEMENTED: Final = frozenset({"SelectMergeSpanProfile", "SelectHeatmap", "AnalyzeQuery"})
