"""Calls of the Connect protocol, as Pyroscope's clients make them, to a site for tests."""

import json
from typing import Any

from pyro_assets.web.pyroscope.site import QUERIER
from tests.support.web_client import Answer, Client

#: The five minutes in which the golden bucket's profiles were taken.
START, END = 1_795_600_200_000, 1_795_600_500_000
ASKED: dict[str, Any] = {"start": str(START), "end": str(END)}


def call(client: Client, name: str, value: Any = None, *, service: str = QUERIER, **headers: str) -> Answer:
    """A method with a JSON document, or any bytes."""
    body = value if isinstance(value, bytes) else json.dumps(ASKED if value is None else value).encode()
    given = {"content-type": "application/json", "x-scope-orgid": "acme", **headers}
    return client.ask("POST", f"/{service}/{name}", body, given)


def is_error(answer: Answer, status: int, code: str, *words: str) -> None:
    assert (answer.status, answer.json["code"]) == (status, code), answer.text
    assert set(answer.json) >= {"code", "message"}
    assert answer.headers["content-type"] == "application/json"
    for word in words:
        assert word in answer.json["message"]
