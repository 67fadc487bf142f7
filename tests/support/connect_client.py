"""Calls of the Connect protocol, as Pyroscope's clients make them, to a site for tests.

The clients that Grafana's data source and profilecli are made of ask, too: `pyro-connect`, built by `.ci/run` from
`tests/support/generated_clients`.
"""

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pyro_assets.web.pyroscope.site import QUERIER
from tests.support.pyroscope_exchanges import Exchange
from tests.support.servers import GO_BIN
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


_OWN = ("x-scope-orgid", "accept")


@dataclass(frozen=True)
class Generated:
    """What a generated client made of an answer: the message as protobuf, or the code and text of a Connect error."""

    message: bytes
    code: str
    text: str


def ask_generated(address: str, questions: Sequence[Exchange]) -> list[Generated]:
    """Answers of a server to these questions, asked with the generated clients."""
    program = GO_BIN / "pyro-connect"
    if not program.exists():
        pytest.skip(f"{program.name} not found; build it: go install . in tests/support/generated_clients")
    lines = [
        {
            "path": one.path,
            # Who asks, and that it can take label names in UTF-8; the rest is the clients' own.
            "headers": {name: one.request_headers[name] for name in _OWN if name in one.request_headers},
            "json": one.is_json,
            "request": base64.b64encode(one.request).decode(),
        }
        for one in questions
    ]
    done = subprocess.run(
        [program, address], input="\n".join(map(json.dumps, lines)), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Generated(base64.b64decode(one.get("response", "")), one.get("code", ""), one.get("message", ""))
        for one in found
    ]
