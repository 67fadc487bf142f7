"""What an address of Explore says, and addresses that say something else: one data class, read and written here.

Add a choice of the page as a field here, with its name in addresses. What is shown for it is in `explore`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pyro_assets.rules.selectors import parse_selector
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.web.spans import MOST_HOURS, asked_hour
from pyro_assets.web.wire.endpoints import whole_number

_DEFAULT_HOURS: Final = 3
_DEFAULT_BUDGET: Final = 5
ROWS: Final = 30
_MOST_ROWS: Final = 1000


@dataclass(frozen=True, slots=True)
class ExploreForm:
    """What the address says.

    Attributes:
        kind: the whole profile type; "" for the first one.
        until: the hour after the last one; "" for the newest there are.
        at: `path_id` of the frame that is zoomed to, hexadecimal; "" for the root.
        sort: "total" or "self".
    """

    tenant: str = ""
    kind: str = ""
    service: str = ""
    selector: str = ""
    hours: int = _DEFAULT_HOURS
    until: str = ""
    search: str = ""
    sort: str = "total"
    at: str = ""
    rows: int = ROWS
    budget: int = _DEFAULT_BUDGET

    def address(self, path: str = "/explore", fragment: str = "", **changes: Any) -> str:
        """The address of the same with changes."""
        changed = replace(self, **changes)
        plain = ExploreForm()
        names = [one for one in ExploreForm.__slots__ if getattr(changed, one) != getattr(plain, one)]
        pairs = [("type" if one == "kind" else one, str(getattr(changed, one))) for one in names]
        query = urlencode(pairs, errors="surrogatepass")
        return path + (f"?{query}" if query else "") + (f"#{fragment}" if fragment else "")


def read_asked(request: Request) -> ExploreForm:
    """What the address says.

    Raises:
        HTTPException: a number or an hour cannot be read.
    """
    query = request.query_params
    until = query.get("until", "")
    at = query.get("at", "")
    if at and (len(at) > 16 or not set(at) <= set("0123456789abcdef")):
        raise HTTPException(400, f"at={at[:50]!r} names no frame; follow the links of the flame graph")
    return ExploreForm(
        tenant=query.get("tenant", ""),
        kind=query.get("type", ""),
        service=query.get("service", ""),
        selector=query.get("selector", "").strip(),
        hours=whole_number(request, "hours", _DEFAULT_HOURS, least=1, most=MOST_HOURS),
        until=asked_hour(until, "until") if until else "",
        search=query.get("search", "").strip(),
        sort="self" if query.get("sort") == "self" else "total",
        at=at,
        rows=whole_number(request, "rows", ROWS, least=1, most=_MOST_ROWS),
        budget=whole_number(request, "budget", _DEFAULT_BUDGET, least=1, most=600),
    )


def hours_of(asked: ExploreForm, known: Sequence[str], now_ms: int) -> tuple[list[str], int, int]:
    """The hours with sources in the span, and its ends in Unix ms (half open); `known` are all with sources."""
    if asked.until:
        end_ms = hour_start_ms(asked.until)
    elif known:
        end_ms = hour_start_ms(known[-1]) + HOUR_MS
    else:
        end_ms = hour_start_ms(hour_of(now_ms)) + HOUR_MS
    begin_ms = end_ms - asked.hours * HOUR_MS
    return [hour for hour in known if begin_ms <= hour_start_ms(hour) < end_ms], begin_ms, end_ms


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
