"""The base of all models of a configuration, and the texts that several of them have.

Add a checked kind of text here when a second model needs it; models themselves belong to `language` and `config`.
"""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, ConfigDict
from pydantic_core import PydanticCustomError

from pyro_assets.errors import SelectorError
from pyro_assets.series.selectors import parse_selector

_PROFILE_TYPE_PARTS: Final = 5
_GAUGE: Final = re.compile(r"[^\[\]\s]+")


#: No unknown fields, no conversions, no changes.
MODEL_CONFIG: Final = ConfigDict(extra="forbid", strict=True, frozen=True)


def problem(kind: str, why: str) -> PydanticCustomError:
    """A refusal in our words."""
    return PydanticCustomError(kind, "{why}", {"why": why})


def _check_selector(text: str) -> str:
    try:
        parse_selector(text)
    except SelectorError as error:
        raise problem("selector", str(error)) from error
    return text


def _check_types(text: str) -> str:
    if not _GAUGE.fullmatch(text):
        what = "is no type; write a sample type (inuse_space) or a whole profile type"
        raise problem("gauge", f"{what}; * and ? stand for any characters")
    if ":" in text and text.count(":") != _PROFILE_TYPE_PARTS - 1:
        raise problem(
            "gauge",
            "is no whole type; write five parts, name:type:unit:period_type:period_unit, or a sample type alone",
        )
    return text


#: A label selector in PromQL's notation.
SelectorText = Annotated[str, AfterValidator(_check_selector)]
#: A glob of a sample type, or of a whole profile type.
TypeText = Annotated[str, AfterValidator(_check_types)]
