"""The preview of a rule on a page: which hours, within which time, and its points as charts.

Add an option that a person may choose here; what a preview finds is `explore.preview`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from pyro_assets.explore.preview import closed_hours, preview_rule
from pyro_assets.explore.series import Step
from pyro_assets.operations import runs
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.language import Rule
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.web import words
from pyro_assets.web.drawing.charts import Line, bin_times, time_chart
from pyro_assets.web.meanings import meaning_of
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span
from pyro_assets.web.wire.requests import first

if TYPE_CHECKING:
    from pyro_assets.explore.preview import Preview

MAX_HOURS: Final = 168
MAX_SECONDS: Final = 60.0
_MAX_CHARTS: Final = 4
_BINS: Final = 80


@dataclass(frozen=True, slots=True)
class PreviewForm:
    """What to look at.

    Attributes:
        hours: how many; last: the newest of them, "" for the last one that is over.
        tenants: only these; empty means all that the rule means.
        seconds: no further job is read after this time.
    """

    hours: int = 3
    last: str = ""
    tenants: tuple[str, ...] = ()
    seconds: float = 10.0


def read_wanted(fields: Mapping[str, Sequence[str]]) -> tuple[PreviewForm, list[str]]:
    """What a form asks for, and what is wrong with it."""
    problems = []

    def number(name: str, default: float, most: float) -> float:
        text = first(fields, name).strip()
        try:
            found = float(text) if text else default
        except ValueError:
            found = -1.0
        if not 1 <= found <= most:
            problems.append(f"{text[:30]!r} is no number from 1 to {most:g}; took {default:g}")
            return default
        return found

    last = first(fields, "preview_last").strip()
    if last and not _is_hour(last):
        problems.append(f"{last[:40]!r} is no hour such as 2026-11-25-09:00; took the last one that is over")
        last = ""
    tenants = tuple(first(fields, "preview_tenants").replace(",", " ").split())
    hours, seconds = number("preview_hours", 3, MAX_HOURS), number("preview_seconds", 10, MAX_SECONDS)
    return PreviewForm(int(hours), last, tenants, seconds), problems


def wanted_of(span: Span, tenants: Sequence[str] = ()) -> PreviewForm:
    """The hours that hold a span."""
    first_ms, last_ms = hour_start_ms(hour_of(span.begin_ms)), hour_start_ms(hour_of(span.end_ms - 1))
    hours = min((last_ms - first_ms) // HOUR_MS + 1, MAX_HOURS)
    return PreviewForm(hours, hour_of(last_ms), tuple(tenants))


def hours_of(site: Site, wanted: PreviewForm, known: Sequence[str] | None = None) -> list[str]:
    """The hours to look at: the last ones that are over, and the running one where those hold nothing yet.

    Args:
        site: of the pages.
        wanted: how many hours, and up to which one.
        known: all hours with sources; None where the caller has not asked for them, which takes long with many.
    """
    if not wanted.last:
        ledger = site.pipeline.ledger
        closed = closed_hours(ledger, site.clock(), wanted.hours)
        if any(map(DueJobs(ledger).committed_jobs, closed)):
            return closed
    known = runs.hours(site.pipeline) if known is None else known
    return [hour for hour in known if not wanted.last or hour <= wanted.last][-wanted.hours :]


def preview(site: Site, rule: Rule, config: SeriesConfig, hours: Sequence[str], wanted: PreviewForm) -> "Preview":
    """What the rule would give.

    Raises:
        HTTPException: others are looking at so much already.
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    with site.reading.take():
        return preview_rule(
            site.pipeline.archive,
            site.pipeline.ledger,
            rule,
            config,
            hours,
            tenants=wanted.tenants,
            budget_seconds=wanted.seconds,
        )


def charts(found: "Preview", rule: Rule, gauges: Sequence[str] = ()) -> list[Markup]:
    """The largest series of the largest metrics, each metric as a chart: rates of flows, or levels."""
    if not found.split:
        return []
    begin_ms = min(found.split[0][0], hour_start_ms(found.hours[0]))
    end_ms = max(found.split[-1][0] + 1, hour_start_ms(found.hours[-1]) + HOUR_MS)
    step_ms, _ = bin_times(begin_ms, end_ms, _BINS)
    # Of a job's timestamps each series has one, so many milliseconds apart.
    interval_ms = (end_ms - begin_ms) * found.series / max(found.samples, 1)
    values: dict[str, dict[str, dict[int, list[float]]]] = {}
    for time_ms, metric, name, value in found.split:
        steps = values.setdefault(metric, {}).setdefault(name, {})
        steps.setdefault(time_ms // step_ms * step_ms, []).append(value)
    ranked = sorted(values, key=lambda metric: (-sum(map(len, values[metric].values())), metric))[:_MAX_CHARTS]
    drawings = []
    for metric in ranked:
        meaning, lines = meaning_of(metric, gauges, [rule]), []
        for name, bins in sorted(values[metric].items(), key=lambda one: (not one[0], one[0])):
            steps_of = {at: Step(sum(own), sum(own) / len(own)) for at, own in bins.items()}
            drawn = meaning.drawn(steps_of, step_ms, interval_ms)
            lines.append(Line(name or "all others", drawn.points))
        title = f"{words.short_metric(metric)}, mean over {words.duration(drawn.step_ms / 1000)}"
        drawings.append(
            time_chart(
                lines, title=title, begin_ms=begin_ms, end_ms=end_ms, unit=drawn.unit, kind="bars",
                bar_ms=drawn.step_ms, height=170,
            )
        )  # fmt: skip
    return drawings


def _is_hour(text: str) -> bool:
    try:
        hour_start_ms(text)
    except ValueError:
        return False
    return True
