"""What requests carry: forms as lists of texts per name, JSON documents and models of them.

Bodies were read by `security` before a handler runs, so that handlers are plain functions in threads. Add a format
of bodies here; what fields mean is for the pages.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import parse_qs

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)
#: Larger bodies are refused before they are read whole: a thousand rules are a fifth of it.
MAX_BODY_BYTES: Final = 512 << 10
_MAX_FIELDS: Final = 1000


def parse_form(content_type: str, body: bytes) -> dict[str, list[str]]:
    r"""A form's fields; what is sent in another form has none.

    Raises:
        ValueError: it has too many.

    >>> parse_form("application/x-www-form-urlencoded", b"a=1&a=%3C&b=")
    {'a': ['1', '<'], 'b': ['']}
    """
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return {}
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)


def values_of(request: Request) -> dict[str, list[str]]:
    """The fields of the form that a request carries."""
    fields: dict[str, list[str]] = request.state.form
    return fields


def first(fields: Mapping[str, Sequence[str]], name: str) -> str:
    """The first value of a field, "" without any."""
    return (fields.get(name) or [""])[0]


def json_of(request: Request) -> Any:
    """The JSON document that a request carries.

    Raises:
        HTTPException: it carries none.
    """
    try:
        return json.loads(request.state.body or b"null")
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error


def model_of(request: Request, model: type[Model], *, misfit: int = 400) -> Model:
    """The JSON document that a request carries, as a model.

    Raises:
        HTTPException: it carries none, or one that does not fit, which is answered with the status `misfit`.
    """
    try:
        return model.model_validate(json_of(request))
    except ValidationError as error:
        reasons = [f"{'.'.join(map(str, one['loc'])) or 'the body'}: {one['msg']}" for one in error.errors()]
        raise HTTPException(misfit, "\n".join(reasons)) from error
