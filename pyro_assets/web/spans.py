"""Hours and spans of time as people write them in forms and addresses, always UTC.

Add a notation here when people want it; every page then takes it. What a span is for is the pages' business.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.web.wire.endpoints import Parameter, whole_number

_FORMATS: Final = ("%Y-%m-%d-%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H", "%Y-%m-%d %H", "%Y-%m-%d")
MOST_HOURS: Final = 24 * 62
PARAMETERS: Final = (
    Parameter("hours", "length of the span, which ends at `until`", "integer"),
    Parameter("until", "end of the span (exclusive), an hour such as 2026-11-25T13 (UTC); now by default"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Some hours before a moment.

    Attributes:
        hours: how many.
        until: an hour (partition key) whose begin is the end; "" for now.
        begin_ms, end_ms: half-open, Unix ms.
    """

    hours: int
    until: str
    begin_ms: int
    end_ms: int


def read_hour(text: str) -> str | None:
    """The hour (partition key) that a text means, None where it means none.

    >>> read_hour("2026-11-25 13:00"), read_hour("2026-11-25T13:40"), read_hour("2026-11-25"), read_hour("soon")
    ('2026-11-25-13:00', '2026-11-25-13:00', '2026-11-25-00:00', None)
    """
    text = text.strip()
    for form in _FORMATS:
        try:
            return _hour(datetime.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    try:
        return _hour(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def asked_hour(text: str, name: str) -> str:
    """The same where it must be one.

    Raises:
        HTTPException: it means none.
    """
    hour = read_hour(text)
    if hour is None:
        raise HTTPException(400, f"{name}={text[:50]!r} is no hour; write one such as 2026-11-25 13:00 (UTC)")
    return hour


def asked_span(request: Request, now_ms: int, default_hours: int) -> Span:
    """The span in an address: `hours` before `until`.

    Raises:
        HTTPException: one of them cannot be read.
    """
    hours = whole_number(request, "hours", default_hours, least=1, most=MOST_HOURS)
    text = request.query_params.get("until", "")
    until = asked_hour(text, "until") if text else ""
    # What is sampled in this very millisecond belongs to it.
    end_ms = hour_start_ms(until) if until else now_ms + 1
    return Span(hours, until, end_ms - hours * HOUR_MS, end_ms)


def _hour(time: datetime) -> str:
    moment = time if time.tzinfo else time.replace(tzinfo=UTC)
    seconds = moment.timestamp()
    if seconds < 0:
        raise ValueError("before 1970")
    return hour_of(int(seconds * 1000))
