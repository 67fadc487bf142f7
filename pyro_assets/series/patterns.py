"""Patterns of function names: exact names, globs and regular expressions, as RE2 runs them.

Add a way to write names here. Matching takes time linear in the names whatever the pattern, because RE2 (in Arrow)
does it; what RE2 finds too large is refused when a rule is read. Which stacks contain the names is for `stacks`.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, model_validator

from pyro_assets.block.columns import Bool
from pyro_assets.series.models import MODEL_CONFIG, problem
from pyro_assets.series.re2 import RegexProblem, check_regex, is_taken, match_whole

_MAX_CHARACTERS: Final = 2000
# So many expressions are tried as one before each is tried on what is left.
_TOGETHER: Final = 25


class Pattern(BaseModel):
    """Names of functions: exactly one of the three; case counts, and a name must match as a whole.

    Attributes:
        exact: one name; plain text means the same.
        glob: `*` stands for any characters, `?` for one; a backslash takes their meaning away.
        regex: an expression of RE2.
    """

    model_config = MODEL_CONFIG

    exact: str | None = None
    glob: str | None = None
    regex: str | None = None

    @model_validator(mode="after")
    def _check(self) -> "Pattern":
        given = [text for text in (self.exact, self.glob, self.regex) if text is not None]
        if len(given) != 1 or not given[0]:
            raise problem("pattern", "write one of exact, glob and regex, and not empty")
        if len(given[0]) > _MAX_CHARACTERS:
            raise problem("pattern", f"is longer than {_MAX_CHARACTERS} characters; write several patterns")
        if self.exact is None:
            try:
                check_regex(self.expression)
            except RegexProblem as error:
                raise problem("pattern", f"{given[0]!r}, {error}") from error
        return self

    @property
    def expression(self) -> str:
        """What RE2 gets; it is for `match_names` to anchor it."""
        if self.regex is not None:
            return self.regex
        return glob_expression(self.glob) if self.glob is not None else re.escape(self.exact or "")

    def show(self) -> str:
        """For people."""
        if self.exact is not None:
            return self.exact
        return f"glob {self.glob}" if self.glob is not None else f"regex {self.regex}"


def _from_text(value: Any) -> Any:
    return {"exact": value} if isinstance(value, str) else value


#: Makes plain text an exact name.
from_text: Final = BeforeValidator(_from_text)


@lru_cache(maxsize=4096)
def glob_expression(glob: str) -> str:
    r"""A glob as RE2's expression.

    >>> glob_expression("net/http.(\\*Server).*")
    'net/http\\.\\(\\*Server\\)\\..*'
    """
    result, at = "", 0
    while at < len(glob):
        char = glob[at]
        if char == "\\" and at + 1 < len(glob):
            at += 1
            result += _quote(glob[at])
        else:
            result += {"*": ".*", "?": "."}.get(char) or _quote(char)
        at += 1
    return result


def _quote(char: str) -> str:
    return char if char.isalnum() or char in "_/" or ord(char) > 127 else f"\\{char}" if char.isprintable() else char


def match_names(names: Any, patterns: Sequence[Pattern]) -> Bool:
    """Which names match which patterns; every name is looked at once for all exact names, once for all expressions.

    Args:
        names: large_string array of distinct names; an empty name matches nothing.
        patterns: distinct patterns.

    Returns:
        bool[patterns, names].
    """
    import pyarrow.compute as pc

    result = np.zeros((len(patterns), len(names)), dtype=np.bool_)
    if not len(names):
        return result
    exact = [position for position, pattern in enumerate(patterns) if pattern.exact is not None]
    if exact:
        wanted = pa.array([patterns[position].exact for position in exact], type=names.type)
        found = pc.index_in(names, options=pc.SetLookupOptions(value_set=wanted)).fill_null(-1).to_numpy()
        hit = np.flatnonzero(found >= 0)
        result[np.array(exact).take(found.take(hit)), hit] = True
    others = [position for position, pattern in enumerate(patterns) if pattern.exact is None]
    is_named = np.asarray(pc.binary_length(names).to_numpy(zero_copy_only=False) > 0)
    for begin in range(0, len(others), _TOGETHER):
        some = others[begin : begin + _TOGETHER]
        place = np.flatnonzero(_any_of(names, tuple(patterns[position].expression for position in some)) & is_named)
        left = names.take(pa.array(place))
        for position in some:
            if len(some) == 1:
                result[position, place] = True
            else:
                result[position, place] = match_whole(left, patterns[position].expression)
    return result


def _any_of(names: Any, expressions: tuple[str, ...]) -> Bool:
    together = _together(expressions)
    return np.ones(len(names), dtype=np.bool_) if together is None else match_whole(names, together)


@lru_cache(maxsize=256)
def _together(expressions: tuple[str, ...]) -> str | None:
    """Expressions as one, None where that is too large for RE2."""
    joined = "|".join(f"(?:{expression})" for expression in expressions)
    return joined if is_taken(joined) else None
