"""Durations as people write them in configuration files and receivers in theirs: 500ms, 5m, 1h30m, 30d, 10y.

Nothing else belongs here.
"""

import re
from typing import Final

_UNIT_MS: Final = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1000,
    "ms": 1,
}
_PART: Final = re.compile(r"([0-9]{1,15})(ms|[ywdhms])")
_WHOLE: Final = re.compile(r"(?:[0-9]{1,15}(?:ms|[ywdhms]))+")


def parse_duration_ms(text: str) -> int:
    """Milliseconds of a duration in Prometheus's notation; "0" needs no unit.

    >>> parse_duration_ms("1h30m"), parse_duration_ms("30d"), parse_duration_ms("250ms"), parse_duration_ms("0")
    (5400000, 2592000000, 250, 0)

    Raises:
        ValueError: it is no duration.
    """
    if text == "0":
        return 0
    if not _WHOLE.fullmatch(text):
        raise ValueError("write a duration such as 500ms, 30s, 5m, 1h or 30d")
    return sum(int(number) * _UNIT_MS[unit] for number, unit in _PART.findall(text))


def show_duration(duration_ms: int) -> str:
    """The shortest notation of whole milliseconds.

    >>> show_duration(5_400_000), show_duration(2_592_000_000), show_duration(0)
    ('1h30m', '30d', '0s')
    """
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, duration_ms = divmod(duration_ms, _UNIT_MS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
