"""What a client asks for, checked: whose profiles, of which time, type and labels.

Add what several methods ask for here. Refusals say what the original says, because its clients show that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pyro_assets.errors import BadQuery, SelectorError
from pyro_assets.rules.selectors import Selector, parse_selector

_HOUR_MS: Final = 3_600_000
#: Of times that fit 64 bits as nanoseconds.
_LAST_MS: Final = (2**63 - 1) // 1_000_000
_TYPE_FORM: Final = "<name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta)"
_NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A time range in Unix milliseconds, both ends included, as the original counts.

    What lies before 1970 or after the year 2262 is left out: clients name such times when they mean all.
    """

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.start_ms > self.end_ms:
            raise BadQuery("query start time is after end time")
        object.__setattr__(self, "start_ms", min(max(self.start_ms, 0), _LAST_MS))
        object.__setattr__(self, "end_ms", min(max(self.end_ms, 0), _LAST_MS))

    @property
    def ends_ns(self) -> tuple[int, int]:
        """First and last nanosecond."""
        return self.start_ms * _NS_PER_MS, self.end_ms * _NS_PER_MS

    def has_hour(self, start_ms: int) -> bool:
        """Whether blocks that were made in an hour may hold profiles of this time: a profile is older than its block.

        Those that were uploaded more than an hour after they were taken are not looked for.
        """
        return start_ms + _HOUR_MS > self.start_ms and start_ms - _HOUR_MS <= self.end_ms


@dataclass(frozen=True, slots=True)
class ProfileKind:
    """A profile type in its parts.

    >>> ProfileKind.parse("process_cpu:cpu:nanoseconds:cpu:nanoseconds").sample_unit
    'nanoseconds'
    """

    text: str
    name: str
    sample_type: str
    sample_unit: str
    period_type: str
    period_unit: str

    @classmethod
    def parse(cls, text: str) -> "ProfileKind":
        """A type as it is written.

        Raises:
            BadQuery: it has other parts.
        """
        parts = text.split(":")
        if len(parts) not in (5, 6) or (len(parts) == 6 and parts[5] != "delta"):
            raise BadQuery(f'profile-type selection must be of the form {_TYPE_FORM}, got({len(parts)}): "{text}"')
        return cls(text, *parts[:5])


@dataclass(frozen=True, slots=True)
class ProfileQuery:
    """Which profiles are meant.

    Attributes:
        tenant: as the ledger shows it.
        kind: the profile type.
        selector: label matchers.
        span: when they were taken.
    """

    tenant: str
    kind: ProfileKind
    selector: Selector
    span: TimeRange


def label_selector(text: str) -> Selector:
    """A client's selector; an empty one means everything.

    Raises:
        BadQuery: it does not parse.
    """
    try:
        return parse_selector(text or "{}")
    except SelectorError as error:
        raise BadQuery(f'parsing label selector "{text}": {parse_words(error)}') from error


def all_of(texts: Sequence[str]) -> Selector:
    """Selectors of which all must hold, as one.

    Raises:
        BadQuery: one does not parse.
    """
    parts = [label_selector(text) for text in texts]
    return Selector(", ".join(texts), tuple(matcher for part in parts for matcher in part.matchers))


def parse_words(error: SelectorError) -> str:
    """Where a selector fails and why, as the original's parser writes it."""
    before = error.selector[: error.position]
    line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
    is_open = error.position >= len(error.selector.rstrip()) and error.selector.lstrip().startswith("{")
    return f"{line}:{column}: parse error: {'unexpected end of input inside braces' if is_open else error.why}"
