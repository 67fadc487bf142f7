"""What a metric of ours means: its unit, whether it is a level; its rate, its PromQL, and where that is drawn.

Add what pages say of a metric by its name and rule here. Samples are what one job added (or its level), not counters.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from math import log10
from typing import Final
from urllib.parse import urlencode

from markupsafe import Markup

from pyro_assets.errors import ConfigError
from pyro_assets.explore.series import Step, Steps
from pyro_assets.export.promql import selector
from pyro_assets.rules.config import DEFAULT_GAUGES
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import FUNCTION_METRIC_PREFIX, METRIC_PREFIX, exported_name, is_metric_name
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import Line, time_chart
from pyro_assets.web.rules.listing import other_forms
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span

#: Over so many minutes queries add up: more than a job and its lag take.
_MINUTES: Final = 5
_UNITS: Final = frozenset({"nanoseconds", "microseconds", "milliseconds", "seconds", "bytes"})


@dataclass(frozen=True, slots=True)
class Drawn:
    """Points to draw: begins of steps with values in a unit, and the width of the steps."""

    points: list[tuple[int, float | None]]
    step_ms: int
    unit: str


@dataclass(frozen=True, slots=True)
class MetricMeaning:
    """What the samples of a metric are.

    Attributes:
        unit: of a value, "" where the name does not tell it.
        is_level: values are levels, not amounts that add up over time.
        is_cpu: amounts are CPU time.
    """

    metric: str
    unit: str
    is_level: bool
    is_cpu: bool

    @property
    def rate(self) -> tuple[float, str]:
        """What values (of flows, per second) are multiplied by, and their unit then."""
        return (1.0, self.unit) if self.is_level else words.rate_of_unit(self.unit, is_cpu=self.is_cpu)

    def drawn(self, steps: Steps, step_ms: int, interval_ms: float) -> "Drawn":
        """Rates of flows, or levels, over time; steps without samples are gaps.

        Args:
            steps: as they were counted.
            step_ms: their width.
            interval_ms: between two samples of a series, about; in narrower steps single amounts would look like peaks.
        """
        wide_ms = step_ms * max(1, -(-int(interval_ms) // step_ms))
        parts: dict[int, list[Step]] = {}
        for begin_ms, step in steps.items():
            parts.setdefault(begin_ms // wide_ms * wide_ms, []).append(step)
        points: list[tuple[int, float | None]] = []
        for begin_ms, own in sorted(parts.items()):
            flow = sum(step.total for step in own) * self.rate[0] / (wide_ms / 1000)
            points.append((begin_ms, sum(step.level for step in own) / len(own) if self.is_level else flow))
        return Drawn(points, wide_ms, self.rate[1])

    def promql(self, labels: Mapping[str, str] | None = None, by: Sequence[str] = ("service_name",)) -> str:
        """A query for what the pages draw.

        >>> cpu = MetricMeaning("cpu", "nanoseconds", is_level=False, is_cpu=True)
        >>> cpu.promql({"pod": "a"})
        'sum by (service_name) (sum_over_time(cpu{pod="a"}[5m])) / 300 / 1e9'
        >>> MetricMeaning("used", "bytes", is_level=True, is_cpu=False).promql(by=())
        'sum (avg without (pyroscope_shard) (avg_over_time(used[5m])))'
        """
        named = {exported_name(name): value for name, value in (labels or {}).items()}
        if is_metric_name(self.metric):
            chosen = self.metric + (selector(named) if named else "")
        else:
            chosen = selector({"__name__": self.metric} | named)
        over = f"sum by ({', '.join(exported_name(name) for name in by)})" if by else "sum"
        if self.is_level:
            # A target whose profiles went to two shards is there twice.
            return f"{over} (avg without (pyroscope_shard) (avg_over_time({chosen}[{_MINUTES}m])))"
        query = f"{over} (sum_over_time({chosen}[{_MINUTES}m])) / {_MINUTES * 60}"
        return query if self.rate[0] == 1 else f"{query} / 1e{round(-log10(self.rate[0]))}"


def meaning_of(metric: str, gauges: Sequence[str], rules: Sequence[Rule] = ()) -> MetricMeaning:
    """What a metric means by its name, which is made of its profile type unless a rule says otherwise.

    Args:
        metric: its name.
        gauges: of the configuration.
        rules: that give it, and no others.

    >>> found = meaning_of("pyroscope_exported_metrics_memory_inuse_space_bytes_space_bytes", ["inuse_*"])
    >>> found.unit, found.is_level, found.is_cpu
    ('bytes', True, False)
    >>> meaning_of("pyroscope_exported_metrics_functions_process_cpu_cpu_nanoseconds_cpu_nanoseconds_seconds", []).rate
    (1.0, 'cores')
    """
    rule = next((one for one in rules if one.metric == metric), None)
    kinds = [] if rule is None else rule.profile_types
    name = metric.removeprefix(FUNCTION_METRIC_PREFIX).removeprefix(METRIC_PREFIX)
    if rule is not None and len(kinds) == 1:
        name = kinds[0].replace(":", "_")
    is_ours = name != metric
    aggregate = next((one.aggregate for one in rules if one.aggregate), None)
    is_gauge = is_ours and any(fnmatch(f"_{name}_", f"*_{gauge}_*") for gauge in gauges)
    unit: str | None = next((one.unit for one in rules if one.unit), None)
    if unit is None and is_ours:
        third = "".join(name.split("_")[-3:-2])
        unit = "seconds" if name.endswith("_seconds") else third if third in _UNITS else ""
    return MetricMeaning(
        metric,
        "" if aggregate == "count" else unit or "",
        is_gauge if aggregate is None else aggregate not in ("sum", "count"),
        is_ours and (name == "cpu" or name.startswith("process_cpu_cpu_")),
    )


def meanings(site: Site) -> Callable[[str, Collection[str]], MetricMeaning]:
    """Says what a metric means, by the ids of its rules; by its name alone where the file of rules is refused."""
    try:
        config = site.config()
    except ConfigError:
        return lambda metric, _: meaning_of(metric, DEFAULT_GAUGES)
    known = {rule.name: rule for rule in config.rules} | dict(other_forms(config))
    return lambda metric, ids: meaning_of(metric, config.gauges, [known[one] for one in ids if one in known])


def chart_of(drawn: Drawn, span: Span, what: str) -> Markup:
    """The same as a chart."""
    title = f"{what}, mean over {words.duration(drawn.step_ms / 1000)}"
    return time_chart(
        [Line(what, drawn.points)], title=title, begin_ms=span.begin_ms, end_ms=span.end_ms, unit=drawn.unit,
        kind="bars", bar_ms=drawn.step_ms,
    )  # fmt: skip


def graph_links(query: str, last: str, *, prometheus_url: str = "", grafana_url: str = "") -> dict[str, str]:
    """Where a query is drawn, by the name of the program; only those whose address is known.

    >>> graph_links("up", "1h", prometheus_url="http://p")
    {'Prometheus': 'http://p/graph?g0.expr=up&g0.tab=0&g0.range_input=1h'}
    """
    found = {}
    if prometheus_url:
        pairs = [("g0.expr", query), ("g0.tab", "0"), ("g0.range_input", last)]
        found["Prometheus"] = f"{prometheus_url}/graph?{urlencode(pairs)}"
    if grafana_url:
        pane = {"queries": [{"refId": "A", "expr": query}], "range": {"from": f"now-{last}", "to": "now"}}
        panes = json.dumps({"one": pane}, separators=(",", ":"))
        found["Grafana"] = f"{grafana_url}/explore?{urlencode([('schemaVersion', '1'), ('panes', panes)])}"
    return found
