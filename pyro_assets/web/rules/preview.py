"""The preview of a rule on a page: which hours, within which time, and its points as charts.

Add an option that a person may choose here; what a preview finds is `explore.preview`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from pyro_assets.explore.preview import closed_hours, preview_rule
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import METRIC_PREFIX
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.web.drawing.charts import Line, time_chart
from pyro_assets.web.meanings import meaning_of
from pyro_assets.web.site import Site
from pyro_assets.web.spans import Span
from pyro_assets.web.wire.requests import first

if TYPE_CHECKING:
    from pyro_assets.explore.preview import Preview

MAX_HOURS: Final = 168
MAX_SECONDS: Final = 60.0
_MAX_CHARTS: Final = 4
_BUCKETS: Final = 180


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
        ledger = site.app.ledger
        closed = closed_hours(ledger, site.clock(), wanted.hours)
        if any(map(DueJobs(ledger).committed_jobs, closed)):
            return closed
    known = HourRecords(site.app.ledger).hours() if known is None else known
    return [hour for hour in known if not wanted.last or hour <= wanted.last][-wanted.hours :]


def preview(site: Site, rule: Rule, config: SeriesConfig, hours: Sequence[str], wanted: PreviewForm) -> "Preview":
    """What the rule would give.

    Raises:
        HTTPException: others are looking at so much already.
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    with site.reading.take():
        return preview_rule(
            site.app.archive,
            site.app.ledger,
            rule,
            config,
            hours,
            tenants=wanted.tenants,
            budget_seconds=wanted.seconds,
        )


def charts(found: "Preview", rule: Rule) -> list[Markup]:
    """The points of the largest metrics, each as a chart."""
    per_metric: dict[str, dict[int, float]] = {}
    if not found.points:
        return []
    begin_ms = min(found.points[0][0], hour_start_ms(found.hours[0]))
    end_ms = max(found.points[-1][0] + 1, hour_start_ms(found.hours[-1]) + HOUR_MS)
    bucket_ms = max(1000, -(-(end_ms - begin_ms) // _BUCKETS // 1000) * 1000)
    adds_up = rule.aggregate in (None, "sum", "count")
    for time_ms, metric, value in found.points:
        buckets, at = per_metric.setdefault(metric, {}), (time_ms - begin_ms) // bucket_ms * bucket_ms + begin_ms
        buckets[at] = (buckets.get(at, 0.0) + value) if adds_up else max(buckets.get(at, value), value)
    ranked = sorted(per_metric, key=lambda metric: (-len(per_metric[metric]), metric))[:_MAX_CHARTS]
    how = "summed up" if adds_up else "the largest"
    return [
        time_chart(
            [Line(metric, sorted(per_metric[metric].items()))],
            title=f"{metric.removeprefix(METRIC_PREFIX)}: all series together, {how} per {_length(bucket_ms)}",
            begin_ms=begin_ms,
            end_ms=end_ms,
            unit=meaning_of(metric, (), [rule]).unit,
            kind="bars",
            bar_ms=bucket_ms,
            height=170,
        )
        for metric in ranked
    ]


def _is_hour(text: str) -> bool:
    try:
        hour_start_ms(text)
    except ValueError:
        return False
    return True


def _length(length_ms: int) -> str:
    seconds = length_ms // 1000
    return f"{seconds // 60} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds} s"
