"""The OpenAPI 3.1 document of the JSON API, made of the calls and of the models that they use.

Nothing is described here that a call or a model could say itself: add it there.
"""

import re
from collections.abc import Sequence
from typing import Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from pyro_assets.web.wire.endpoints import PREFIX, Endpoint, Parameter, Schema

_REF: Final = "#/components/schemas/{model}"
_ERROR: Final[Schema] = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": {"type": "string", "description": "what is wrong and what to do"}},
}
_DESCRIPTION: Final = """\
The same as on the pages. Programs send `Authorization: Bearer TOKEN`; where no token is configured any value will do,
and keeps other pages from sending requests in your name. Times are Unix milliseconds in UTC, hours look like
2026-11-25-13:00. A rule's version is its ETag; changes name the version that they were made from as If-Match."""
#: What any call may answer.
_COMMON: Final = (
    (400, "the request cannot be understood"),
    (401, "no token, or another one"),
    (404, "there is no such thing"),
    (405, "this address does not take that method; Allow names those that it takes"),
    (422, "something in it cannot be: a filter, a rule, the configuration of this process"),
    (429, "too many wrong tokens from one address; Retry-After says when the next one is looked at"),
    (503, "ledger or archive do not answer, or too many ask at once; Retry-After may say when to try again"),
)
_CHANGING: Final = (
    (403, "this process is read-only, or the request is from another page"),
    (408, "the body did not arrive in time"),
    (409, "the state that the request was made from has changed"),
    (413, "the body is too large"),
)


def document(calls: Sequence[Endpoint], version: str) -> Schema:
    """The document.

    Args:
        calls: every call.
        version: of the project.
    """
    models = {one for call in calls for one in (call.body, call.answer) if isinstance(one, type)}
    ordered = sorted(models, key=lambda model: model.__name__)
    _, schemas = models_json_schema([(model, "validation") for model in ordered], ref_template=_REF)
    paths: dict[str, Schema] = {}
    for call in calls:
        paths.setdefault(PREFIX + _plain(call.path), {})[call.method.lower()] = _operation(call)
    return {
        "openapi": "3.1.0",
        "info": {"title": "pyro-assets", "version": version, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR, **schemas.get("$defs", {})},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(call: Endpoint) -> Schema:
    words = re.findall(r"[A-Za-z]+", _plain(call.path))
    operation: Schema = {
        "operationId": "_".join([call.method.lower(), *words]),
        "tags": [words[0]],
        "summary": call.summary,
        "parameters": [*map(_path_parameter, _names(call.path)), *map(_query_parameter, call.parameters)],
        "responses": {str(call.status): _answer("what was asked for", _schema(call.answer), call.media)},
    }
    errors = dict(_COMMON) | dict(() if call.method == "GET" else _CHANGING) | dict(call.errors)
    for status, when in sorted(errors.items()):
        operation["responses"][str(status)] = _answer(when, {"$ref": _REF.format(model="Error")})
    if any(status == 428 for status, _ in call.errors):
        operation["parameters"].append(
            {"name": "If-Match", "in": "header", "required": True, "schema": {"type": "string"},
             "description": "the version the edit was made from, in quotes; \"0\" for a new rule"}
        )  # fmt: skip
    if call.body is not None:
        operation["requestBody"] = {"required": True, "content": {call.media: {"schema": _schema(call.body)}}}
    return operation


def _names(path: str) -> list[str]:
    """Parts of a path that vary; Starlette lets them say a type after a colon."""
    return re.findall(r"\{(\w+)(?::\w+)?\}", path)


def _plain(path: str) -> str:
    return re.sub(r":\w+\}", "}", path)


def _path_parameter(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(parameter: Parameter) -> Schema:
    plain: Schema = {"type": parameter.kind}
    return {
        "name": parameter.name,
        "in": "query",
        "required": parameter.required,
        "description": parameter.meaning,
        "schema": {"type": "array", "items": plain} if parameter.repeated else plain,
    }


def _answer(when: str, schema: Schema, media: str = "application/json") -> Schema:
    return {"description": when, "content": {media: {"schema": schema}}}


def _schema(of: type[BaseModel] | Schema | None) -> Schema:
    if isinstance(of, type):
        return {"$ref": _REF.format(model=of.__name__)}
    return of if of is not None else {}
