"""What an address of Explore says, and addresses that say something else: one data class, read and written here.

Add a choice of the page as a field here, with its name in addresses. What is shown for it is in `shown`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pyro_assets.rules.selectors import parse_selector
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.web.spans import Span, asked_refresh, asked_span, read_moment, span_of
from pyro_assets.web.wire.endpoints import whole_number

_DEFAULT_BUDGET: Final = 5
ROWS: Final = 30
_MOST_ROWS: Final = 1000
_DAY_MS: Final = 24 * HOUR_MS
#: What profiles can be compared with, in words; `labels` is another label filter in the same time.
AGAINST: Final = {
    "": "nothing",
    "before": "the time before",
    "day": "a day earlier",
    "week": "a week earlier",
    "labels": "another label filter",
}


@dataclass(frozen=True, slots=True)
class ExploreForm:
    """What the address says.

    Attributes:
        kind: the whole profile type; "" for the first one.
        last, until: the span of time, as `spans` writes it.
        split: the label by which the chart is split.
        against: a key of AGAINST; other: the other label filter.
        around: the function whose callers and callees are shown; "" for the flame graph.
        at: `path_id` of the frame that is zoomed to, hexadecimal; "" for the root.
        sort: "self" or "total".
        refresh: seconds after which the page is made anew, 0 for never.
    """

    tenant: str = ""
    kind: str = ""
    service: str = ""
    selector: str = ""
    last: str = "1h"
    until: str = ""
    split: str = ""
    against: str = ""
    other: str = ""
    around: str = ""
    search: str = ""
    sort: str = "self"
    at: str = ""
    rows: int = ROWS
    budget: int = _DEFAULT_BUDGET
    refresh: int = 0

    def pairs(self, **changes: Any) -> list[tuple[str, str]]:
        """Names and values of an address of the same with changes."""
        changed = replace(self, **changes)
        plain = ExploreForm()
        names = [one for one in ExploreForm.__slots__ if getattr(changed, one) != getattr(plain, one)]
        return [("type" if one == "kind" else one, str(getattr(changed, one))) for one in names]

    def address(self, path: str = "/explore", fragment: str = "", **changes: Any) -> str:
        """The address of the same with changes."""
        query = urlencode(self.pairs(**changes), errors="surrogatepass")
        return path + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")

    def span(self, now_ms: int) -> Span:
        """The span of time that is meant."""
        return span_of(self.last, read_moment(self.until) if self.until else None, now_ms)

    def baseline(self, now_ms: int) -> "ExploreForm":
        """What it is compared with."""
        span = self.span(now_ms)
        if self.against == "labels":
            return replace(self, selector=self.other)
        if self.against == "before":
            return replace(self, until=span.before().until)
        back_ms = _DAY_MS * (7 if self.against == "week" else 1)
        return replace(self, until=Span(span.minutes, span.end_ms - back_ms, 0, 0).until)


def read_asked(request: Request) -> ExploreForm:
    """What the address says.

    Raises:
        HTTPException: a number or a time cannot be read.
    """
    query = request.query_params
    at = query.get("at", "")
    if at and (len(at) > 16 or not set(at) <= set("0123456789abcdef")):
        raise HTTPException(400, f"at={at[:50]!r} names no frame; follow the links of the flame graph")
    span = asked_span(request, 0)
    return ExploreForm(
        tenant=query.get("tenant", ""),
        kind=query.get("type", ""),
        service=query.get("service", ""),
        selector=query.get("selector", "").strip(),
        last=span.last,
        until=span.until,
        split=query.get("split", ""),
        against=query.get("against", "") if query.get("against", "") in AGAINST else "",
        other=query.get("other", "").strip(),
        around=query.get("around", ""),
        search=query.get("search", "").strip(),
        sort="total" if query.get("sort") == "total" else "self",
        at=at,
        rows=whole_number(request, "rows", ROWS, least=1, most=_MOST_ROWS),
        budget=whole_number(request, "budget", _DEFAULT_BUDGET, least=1, most=600),
        refresh=asked_refresh(request),
    )


def hours_of(span: Span, known: Sequence[str]) -> list[str]:
    """The hours, of those with sources, whose blocks may hold profiles of a span: a profile is older than its block."""
    starts = ((hour, hour_start_ms(hour)) for hour in known)
    return [hour for hour, start_ms in starts if span.begin_ms - HOUR_MS < start_ms < span.end_ms + HOUR_MS]


def full_selector(asked: ExploreForm) -> str:
    """Service and label filter as one selector.

    >>> full_selector(ExploreForm(service="shop")), full_selector(ExploreForm(service="shop", selector='pod="a"'))
    ('{service_name="shop"}', '{service_name="shop", pod="a"}')

    Raises:
        SelectorError: the filter does not parse.
    """
    text = asked.selector
    text = text if text.startswith("{") else f"{{{text}}}"
    parse_selector(text)
    inner = text[1:].rstrip().removesuffix("}").strip().strip(",").strip()
    service = f"service_name={json.dumps(asked.service, ensure_ascii=False)}" if asked.service else ""
    return "{" + ", ".join(part for part in (service, inner) if part) + "}"


def with_label(asked: ExploreForm, name: str, value: str) -> str:
    """The address of the same with one more condition."""
    quoted = name if name.isidentifier() and name.isascii() else json.dumps(name, ensure_ascii=False)
    condition = f"{quoted}={json.dumps(value, ensure_ascii=False)}"
    inner = asked.selector.strip().removeprefix("{").removesuffix("}").strip().strip(",").strip()
    return asked.address(selector="{" + ", ".join(part for part in (inner, condition) if part) + "}", at="")
