"""The JSON API against its own OpenAPI document: what Schemathesis thinks of asking is answered as described.

The requests are many, so this is part of `make nightly`, which installs Schemathesis.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from pyro_assets.web.app import make_app
from tests.support.exports import derive, opened
from tests.support.web_client import site_of

pytestmark = [
    pytest.mark.nightly,
    pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="Schemathesis is not installed"),
    # Its own, of libraries that it uses.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

HEADERS = {"Host": "localhost", "Authorization": "Bearer none"}


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import schemathesis

    with opened(tmp_path_factory.mktemp("contract")) as pipeline:
        derive(pipeline)
        yield schemathesis.openapi.from_asgi("/api/openapi.json", make_app(site_of(pipeline)), headers=HEADERS)


def test_every_call_answers_as_its_description_says(schema: Any):
    from hypothesis import HealthCheck, given, settings

    # Not asked: whether what the document forbids is always refused. Unknown parameters are ignored, as pages do.
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
        unsupported_method,
    )

    checks = [
        status_code_conformance, content_type_conformance, response_schema_conformance,
        unsupported_method,
    ]  # fmt: skip
    count, contradictions = 0, []
    for found in schema.get_all_operations():
        operation = found.ok()
        count += 1

        @given(case=operation.as_strategy())
        @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case: Any) -> None:
            answer = case.call(headers=HEADERS)
            # Others of their kind are described: Dagster or the ledger do not answer.
            assert answer.status_code != 500
            case.validate_response(answer, checks=checks)

        try:
            ask()
        except Exception as error:  # noqa: BLE001 - every call's contradictions are shown, not the first one's
            contradictions.append(f"{operation.label}: {error}")
    assert contradictions == []
    assert count >= 9
