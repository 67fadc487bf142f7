"""Hours, moments and spans of time as people write them in forms and addresses, always UTC.

Add a notation here when people want it; every page then takes it. What a span is for is the pages' business.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.storage.shown import counted
from pyro_assets.web import words
from pyro_assets.web.wire.endpoints import Parameter, whole_number

_FORMATS: Final = ("%Y-%m-%d-%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H", "%Y-%m-%d %H", "%Y-%m-%d")
_MINUTE_MS: Final = 60_000
_MINUTES: Final = {"m": 1, "h": 60, "d": 1440}
_LENGTH: Final = re.compile(r"([1-9][0-9]{0,4})([mhd])")
MOST_HOURS: Final = 24 * 62
#: What forms offer, and how often pages can be made anew, in seconds.
PRESETS: Final = ("15m", "1h", "3h", "6h", "12h", "1d", "2d", "7d")
REFRESHES: Final = (5, 10, 30)
PARAMETERS: Final = (
    Parameter("last", "length of the span, which ends at `until`, such as 15m, 3h or 7d"),
    Parameter("hours", "the same in hours", "integer"),
    Parameter("until", "end of the span (exclusive), such as 2026-11-25T13:40 (UTC); now by default"),
)


@dataclass(frozen=True, slots=True)
class Span:
    """Some time before a moment.

    Attributes:
        minutes: its length.
        until_ms: its end; None for now.
        begin_ms, end_ms: half-open, Unix ms.
    """

    minutes: int
    until_ms: int | None
    begin_ms: int
    end_ms: int

    @property
    def last(self) -> str:
        """The length as addresses have it.

        >>> Span(60, None, 0, 0).last, Span(90, None, 0, 0).last, Span(2880, None, 0, 0).last
        ('1h', '90m', '2d')
        """
        unit, minutes = next((unit, size) for unit, size in reversed(_MINUTES.items()) if self.minutes % size == 0)
        return f"{self.minutes // minutes}{unit}"

    @property
    def until(self) -> str:
        """The end as addresses and fields of forms have it, "" for now.

        >>> Span(60, 1795613640000, 0, 0).until
        '2026-11-25T13:34'
        """
        return "" if self.until_ms is None else f"{datetime.fromtimestamp(self.until_ms / 1000, UTC):%Y-%m-%dT%H:%M}"

    @property
    def words(self) -> str:
        """The span for people.

        >>> Span(60, None, 0, 3600000).words, Span(60, 3600000, 0, 3600000).words
        ('the last hour', '1970-01-01 00:00 to 1970-01-01 01:00 UTC')
        """
        if self.until_ms is None:
            return f"the last {length_words(self.last).removeprefix('1 ')}"
        return f"{words.time(self.begin_ms, seconds=False)} to {words.time(self.end_ms, seconds=False)} UTC"

    def before(self) -> "Span":
        """The span of this length that ends where this one begins."""
        minute_ms = self.begin_ms // _MINUTE_MS * _MINUTE_MS
        return span_of(self.last, minute_ms, 0)


def length_words(last: str) -> str:
    """A length for people.

    >>> length_words("15m"), length_words("1h"), length_words("7d")
    ('15 minutes', '1 hour', '7 days')
    """
    return counted(int(last[:-1]), {"m": "minute", "h": "hour", "d": "day"}[last[-1]])


def read_moment(text: str) -> int | None:
    """The moment (Unix ms) that a text means, None where it means none.

    >>> read_moment("2026-11-25 13:34"), read_moment("2026-11-25T13:34:00Z"), read_moment("soon")
    (1795613640000, 1795613640000, None)
    """
    text = text.strip()
    for form in _FORMATS:
        try:
            return _moment_ms(datetime.strptime(text, form))
        except (ValueError, OverflowError):
            continue
    try:
        return _moment_ms(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def hour_end(hour: str) -> str:
    """The end of an hour (a partition key), as addresses have it.

    >>> hour_end("2026-11-25-13:00")
    '2026-11-25T14:00'
    """
    return span_of("1h", hour_start_ms(hour) + HOUR_MS, 0).until


def read_hour(text: str) -> str | None:
    """The hour (partition key) that a text means, None where it means none.

    >>> read_hour("2026-11-25 13:00"), read_hour("2026-11-25T13:40"), read_hour("2026-11-25"), read_hour("soon")
    ('2026-11-25-13:00', '2026-11-25-13:00', '2026-11-25-00:00', None)
    """
    moment_ms = read_moment(text)
    return None if moment_ms is None else hour_of(moment_ms)


def asked_hour(text: str, name: str) -> str:
    """The same where it must be one.

    Raises:
        HTTPException: it means none.
    """
    hour = read_hour(text)
    if hour is None:
        raise HTTPException(400, f"{name}={text[:50]!r} is no hour; write one such as 2026-11-25 13:00 (UTC)")
    return hour


def asked_span(request: Request, now_ms: int, default: str = "1h") -> Span:
    """The span in an address: `last` (or `hours`) before `until`.

    Raises:
        HTTPException: one of them cannot be read.
    """
    last = request.query_params.get("last", "")
    found = _LENGTH.fullmatch(last)
    minutes = int(found[1]) * _MINUTES[found[2]] if found else 0
    if last and not 1 <= minutes <= MOST_HOURS * 60:
        raise HTTPException(400, f"last={last[:50]!r} is no length of time; write one such as 15m, 3h or 7d")
    hours = whole_number(request, "hours", 0, most=MOST_HOURS, least=int("hours" in request.query_params))
    text = request.query_params.get("until", "")
    until_ms = read_moment(text) if text else None
    if text and until_ms is None:
        raise HTTPException(400, f"until={text[:50]!r} is no time; write one such as 2026-11-25 13:40 (UTC)")
    return span_of(last or (f"{hours}h" if hours else default), until_ms, now_ms)


def span_of(last: str, until_ms: int | None, now_ms: int) -> Span:
    """The span of a length, as addresses have it."""
    minutes = int(last[:-1]) * _MINUTES[last[-1]]
    # What is sampled in this very millisecond belongs to it.
    end_ms = now_ms + 1 if until_ms is None else until_ms
    return Span(minutes, until_ms, end_ms - minutes * _MINUTE_MS, end_ms)


def asked_refresh(request: Request) -> int:
    """How often a page is to be made anew, in seconds; 0 for never, as for what is no number: errors are pages, too."""
    text = request.query_params.get("refresh", "")
    return min(int(text), 3600) if re.fullmatch("[0-9]{1,6}", text) else 0


def _moment_ms(time: datetime) -> int:
    moment = time if time.tzinfo else time.replace(tzinfo=UTC)
    seconds = moment.timestamp()
    if seconds < 0:
        raise ValueError("before 1970")
    return int(seconds * 1000)
