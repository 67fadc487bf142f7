"""Numbers, times and names in words, as the pages show them; `FILTERS` has them under the names templates use.

Add a filter here when a second page needs it. Only `breaks` makes HTML: templates escape what comes out, and control
characters, which no escaping makes visible, are spelled by `visible`.
"""

import re
import unicodedata
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

from pyro_assets.rules.names import METRIC_PREFIX
from pyro_assets.storage.shown import counted

_NANO: Final = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_PREFIXES: Final = ("", "k", "M", "G", "T", "P", "E")
#: Profile types (name and sample type) that most programs have.
_TYPES: Final = {
    "process_cpu:cpu": "CPU time",
    "process_cpu:samples": "CPU samples",
    "wall:wall": "wall time",
    "memory:alloc_space": "memory allocated",
    "memory:alloc_objects": "objects allocated",
    "memory:inuse_space": "memory in use",
    "memory:inuse_objects": "objects in use",
    "goroutines:goroutine": "goroutines",
    "mutex:contentions": "waits for locks",
    "mutex:delay": "time waiting for locks",
    "block:contentions": "waits",
    "block:delay": "time waiting",
}
#: Categories (Unicode) whose characters do not show, or turn the text around them.
_TURNS: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MARKUP_OR_TURN: Final = re.compile(rf"(<textarea\b.*?</textarea>|<[^>]*>)|({_TURNS.pattern})", re.DOTALL)
#: After these a name may be broken; not inside of an escaped character, which ends with a semicolon.
_BREAKS: Final = re.compile(r"([_./:]+)(?=[^_./:])")
_PARTS: Final = "_./: "
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def number(value: float | None) -> str:
    """A number, exactly.

    >>> number(1234567), number(0.5), number(2.0), number(None)
    ('1,234,567', '0.5', '2', '–')
    """
    if value is None:
        return "–"
    if isinstance(value, int) or (value.is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A number of anything, to three digits.

    >>> short(999), short(12_345), short(-3_400_000), short(0.25), short(None)
    ('999', '12.3 k', '-3.4 M', '0.25', '–')
    """
    return "–" if value is None else _scaled(value, "").rstrip()


def size(size_bytes: float | None) -> str:
    """Bytes.

    >>> size(999), size(22_528), size(7_340_032), size(None)
    ('999 B', '22.5 kB', '7.34 MB', '–')
    """
    return "–" if size_bytes is None else _scaled(size_bytes, "B")


def duration(seconds: float | None) -> str:
    """A length of time.

    >>> duration(0.0000012), duration(0.35), duration(1.24), duration(200), duration(7500), duration(200_000)
    ('1.2 µs', '350 ms', '1.24 s', '3 min 20 s', '2 h 5 min', '2 d 8 h')
    >>> duration(0), duration(-2), duration(None)
    ('0 s', '-2 s', '–')
    """
    if seconds is None:
        return "–"
    if seconds < 0:
        return "-" + duration(-seconds)
    if 0 < seconds < 1:
        for factor, unit in ((1e3, "ms"), (1e6, "µs")):
            if seconds * factor >= 0.9995:
                return f"{_digits(seconds * factor)} {unit}"
        return f"{_digits(seconds * 1e9)} ns"
    if seconds < 99.95:
        return f"{_digits(seconds)} s"
    for large, small, size_large, size_small in (("min", "s", 60, 1), ("h", "min", 3600, 60), ("d", "h", 86400, 3600)):
        if seconds < size_large * (60 if large == "min" else 24) or large == "d":
            whole = round(seconds / size_small)
            rest = whole % (size_large // size_small)
            first = f"{whole // (size_large // size_small):,} {large}"
            return f"{first} {rest} {small}" if rest else first
    raise AssertionError("days have no end")


def age(time_ms: int | None, now_ms: int) -> str:
    """How long ago something was.

    >>> age(1_000, 191_000), age(None, 0), age(5_000, 1_000)
    ('3 min 10 s ago', 'never', 'in 4 s')
    """
    if time_ms is None:
        return "never"
    seconds = (now_ms - time_ms) / 1000
    if abs(seconds) >= 10:
        seconds = float(round(seconds))
    return f"in {duration(-seconds)}" if seconds < 0 else f"{duration(seconds)} ago"


def time(time_ms: int | None, *, seconds: bool = True) -> str:
    """A moment in UTC.

    >>> time(1795600274692), time(1795600274692, seconds=False), time(None), time(10**18)
    ('2026-11-25 09:51:14', '2026-11-25 09:51', '–', '1000000000000000000 ms')
    """
    if time_ms is None:
        return "–"
    try:
        return datetime.fromtimestamp(time_ms // 1000, UTC).strftime(
            "%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M"
        )
    except (OverflowError, OSError, ValueError):
        return f"{time_ms} ms"


def hour(key: str) -> str:
    """An hour's partition key.

    >>> hour("2026-11-25-13:00")
    '2026-11-25 13:00'
    """
    return f"{key[:10]} {key[11:]}" if key[10:11] == "-" else key


def hours(keys: Sequence[str]) -> str:
    """The first and the last of some hours, by their partition keys.

    >>> hours(["2026-11-25-13:00"]), hours(["2026-11-25-13:00", "2026-11-25-14:00"])
    ('2026-11-25 13:00', '2026-11-25 13:00 to 2026-11-25 14:00')
    """
    return " to ".join(dict.fromkeys(hour(key) for key in (keys[0], keys[-1])))


def share(part: float | None) -> str:
    """A share, 0 to 1.

    >>> share(0.1234), share(0.00838), share(1), share(0.00001), share(0), share(None)
    ('12.3 %', '0.84 %', '100 %', '<0.01 %', '0 %', '–')
    """
    if part is None:
        return "–"
    if 0 < part < 0.0001:
        return "<0.01 %"
    return f"{round(100 * part, 2 if abs(part) < 0.1 else 1):g} %"


def change(part: float) -> str:
    """By how much a share has changed, in percentage points.

    >>> change(0.034), change(-0.5), change(0.00001)
    ('+3.4 points', '-50 points', 'as before')
    """
    points = round(100 * part, 2 if abs(part) < 0.01 else 1)
    return f"{points:+g} points" if points else "as before"


def unit_of(profile_type: str) -> str:
    """The unit of a profile type's values, "" where it has none.

    >>> unit_of("process_cpu:cpu:nanoseconds:cpu:nanoseconds"), unit_of("made up")
    ('nanoseconds', '')
    """
    return "".join(profile_type.split(":")[2:3])


def seconds_of(unit: str) -> float:
    """How many seconds one of a unit is, 0 where it is no time.

    >>> seconds_of("milliseconds"), seconds_of("bytes")
    (0.001, 0.0)
    """
    return _NANO.get(unit, 0) / 1e9


def amount(value: float | None, unit: str = "") -> str:
    """A value in its unit: what a profile type measures, or what a rule makes of it.

    >>> amount(1_240_000_000, "nanoseconds"), amount(3_400_000_000, "bytes"), amount(1234, "count")
    ('1.24 s', '3.4 GB', '1,234')
    >>> amount(2.5, "seconds"), amount(12, "lock contentions"), amount(12_345_678, "objects")
    ('2.5 s', '12 lock contentions', '12.3 M objects')
    >>> amount(0.25, "cores"), amount(2_500_000, "B/s"), amount(12, "/s"), amount(0.00002, "s/s")
    ('0.25 cores', '2.5 MB/s', '12/s', '0.00002 s/s')
    """
    if value is None:
        return "–"
    if unit in _NANO:
        return duration(value * _NANO[unit] / 1e9)
    if unit in ("bytes", "byte"):
        return size(value)
    if unit.endswith("/s"):
        return f"{_scaled(value, 'B')}/s" if unit == "B/s" else f"{short(value)}{' ' * (unit != '/s')}{unit}"
    text = number(value) if abs(value) < 1e6 and float(value).is_integer() else short(value)
    return f"{text} {unit}" if unit not in ("", "count", "none", "short") else text


def amount_of(value: float | None, profile_type: str) -> str:
    """A value of a profile type.

    >>> amount_of(1_500_000, "process_cpu:cpu:nanoseconds:cpu:nanoseconds")
    '1.5 ms'
    """
    return amount(value, unit_of(profile_type))


def type_words(profile_type: str) -> str:
    """A profile type for people.

    >>> type_words("process_cpu:cpu:nanoseconds:cpu:nanoseconds"), type_words("jemalloc:held:bytes:a:b")
    ('CPU time', 'held (jemalloc)')
    >>> type_words("odd")
    'odd'
    """
    parts = profile_type.split(":")
    if len(parts) != 5:
        return visible(profile_type)
    return _TYPES.get(f"{parts[0]}:{parts[1]}") or visible(f"{parts[1]} ({parts[0]})")


def rate_of(profile_type: str, *, is_gauge: bool = False) -> tuple[float, str]:
    """What values per second are multiplied by, and the unit they then have; levels stay what they are.

    >>> rate_of("process_cpu:cpu:nanoseconds:cpu:nanoseconds"), rate_of("memory:alloc_space:bytes:space:bytes")
    ((1e-09, 'cores'), (1.0, 'B/s'))
    >>> rate_of("mutex:delay:nanoseconds:contentions:count"), rate_of("memory:alloc_objects:count:space:bytes")
    ((1e-09, 's/s'), (1.0, '/s'))
    >>> rate_of("memory:inuse_space:bytes:space:bytes", is_gauge=True)
    (1.0, 'bytes')
    """
    unit = unit_of(profile_type)
    return (1.0, unit) if is_gauge else rate_of_unit(unit, is_cpu=profile_type.startswith("process_cpu:cpu:"))


def rate_of_unit(unit: str, *, is_cpu: bool = False) -> tuple[float, str]:
    """The same by the unit alone.

    >>> rate_of_unit("seconds"), rate_of_unit("seconds", is_cpu=True), rate_of_unit("")
    ((1.0, 's/s'), (1.0, 'cores'), (1.0, '/s'))
    """
    if unit in _NANO:
        return _NANO[unit] / 1e9, "cores" if is_cpu else "s/s"
    return 1.0, "B/s" if unit in ("bytes", "byte") else "/s" if unit in ("", "count", "none", "short") else f"{unit}/s"


def visible(text: str) -> str:
    r"""Text without characters that do not show or that turn the text around them; these are spelled.

    >>> visible("a\nb\u202ec\x00 d"), visible("grün ☂ (a, b)")
    ('a\\nb\\u202ec\\x00 d', 'grün ☂ (a, b)')
    """
    if text.isprintable():
        return text
    return "".join(_spelled(one) if unicodedata.category(one) in _HIDDEN else one for one in text)


def spell_turns(page: str) -> str:
    r"""A page in which characters that turn the direction of the text around them are spelled, wherever people read.

    Attributes and fields that are edited keep them: what somebody sends back must be what it was.

    >>> ascii(spell_turns("a\u202eb <b title='\u202e'>c</b>"))
    '"a\\\\u202eb <b title=\'\\u202e\'>c</b>"'
    """
    if not _TURNS.search(page):
        return page
    return _MARKUP_OR_TURN.sub(lambda found: found[1] or _spelled(found[2]), page)


def shorten(text: str, length: int = 80) -> str:
    """Visible text of at most so many characters: its middle makes room, as names differ at both ends.

    It is cut between the parts of a name where there are some.

    >>> shorten("github.com/very/long/path/to.Function", 20), shorten("short"), shorten("x" * 30, 9)
    ('github.com/…Function', 'short', 'xxxxx…xxx')
    >>> shorten("process_cpu_cpu_nanoseconds_cpu_nanoseconds", 32)
    'process_cpu_cpu_…_nanoseconds'
    """
    text = visible(text)
    if len(text) <= length:
        return text
    end = max(0, (length - 1) // 2 - 1)
    head, tail = text[: length - 1 - end], text[len(text) - end :]
    last = max(map(head.rfind, _PARTS))
    first = min((place for place in map(tail.find, _PARTS) if place >= 0), default=-1)
    head = head[: last + 1] if last >= len(head) // 2 else head
    return f"{head}…{tail[first:] if 0 <= first <= len(tail) // 2 else tail}"


def short_metric(metric: str) -> str:
    """A metric without what all of ours begin with.

    >>> short_metric("pyroscope_exported_metrics_goroutines_goroutine_count_goroutine_count"), short_metric("mine")
    ('goroutines_goroutine_count_goroutine_count', 'mine')
    """
    return metric.removeprefix(METRIC_PREFIX)


def breaks(text: str) -> Markup:
    """A name that may be broken after `_`, `.`, `/` and `:`, and nowhere else where it can be helped.

    >>> breaks("a_b/<c>")
    Markup('a_<wbr>b/<wbr>&lt;c&gt;')
    """
    return Markup(_BREAKS.sub(r"\1<wbr>", str(escape(visible(text)))))  # noqa: S704 - escaped just before


def _digits(value: float) -> str:
    """Three digits, no trailing zeros, no exponent."""
    if 0 < abs(value) < 0.0001:
        return f"{float(f'{value:.3g}'):.12f}".rstrip("0").rstrip(".")
    return f"{value:.3g}" if value < 999.5 else f"{value:,.0f}"


def _scaled(value: float, unit: str) -> str:
    size_of_unit, prefix = abs(value), 0
    while size_of_unit >= 999.5 and prefix < len(_PREFIXES) - 1:
        size_of_unit /= 1000
        prefix += 1
    sign = "-" if value < 0 else ""
    return f"{sign}{_digits(size_of_unit)} {_PREFIXES[prefix]}{unit}"


def _spelled(one: str) -> str:
    return one.encode("unicode_escape").decode("ascii") if ord(one) < 0x10000 else f"\\U{ord(one):08x}"


#: By the names that templates use.
FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "number": number,
    "short": short,
    "size": size,
    "duration": duration,
    "age": age,
    "time": time,
    "hour": hour,
    "hours": hours,
    "share": share,
    "change": change,
    "amount": amount,
    "amount_of": amount_of,
    "unit_of": unit_of,
    "type_words": type_words,
    "visible": visible,
    "shorten": shorten,
    "breaks": breaks,
    "short_metric": short_metric,
    "plural": counted,
}
