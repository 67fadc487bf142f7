"""No secret of a receiver is in anything that Dagster keeps or shows, even where the receiver repeats it."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from tests.support.dagster_disk import instance_in
from tests.support.exports import GOLDEN, HOUR
from tests.support.scripted_server import Reply, Request, scripted_server

START = "2026-11-25-00:00"
SECRETS = {"CANARY_TOKEN": "canary-t0ken-7b1", "CANARY_HEADER": "canary-h3ader-2c9"}


@pytest.mark.parametrize("status", [401, 400, 500, 204])
def test_no_secret_is_in_events_metadata_logs_or_files(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)

    def answer(request: Request) -> Reply:
        said = f"{request.headers.get('Authorization')} {request.headers.get('X-Key')} is not what I expected"
        return Reply(status) if status == 204 else Reply(status, said.encode())

    with scripted_server(default=answer) as server:
        one: dict[str, Any] = {
            "name": "local",
            "kind": "prometheus",
            "url": f"{server.url}/api/v1/write",
            "out_of_order_window": "3650d",
            "retry_for": "1s",
            "bearer_token": {"env": "CANARY_TOKEN"},
            "headers": {"X-Key": {"env": "CANARY_HEADER"}},
        }
        (tmp_path / "receivers.yaml").write_text(json.dumps({"receivers": [one]}))
        pipeline = PipelineResource(
            source_url=str(GOLDEN.root),
            archive_url=str(tmp_path / "archive"),
            ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
            receivers=str(tmp_path / "receivers.yaml"),
            start_date=START,
            live_since=START,
        )
        resources: dict[str, Any] = {"pipeline": pipeline, "retention": RetentionResource()}
        definitions = build_defs(resources, start_hour=START)
        with instance_in(tmp_path / "dagster") as instance:
            context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
            definitions.resolve_sensor_def("segments_landed")(context)
            result = definitions.resolve_job_def("backfill").execute_in_process(
                instance=instance, partition_key=HOUR, raise_on_error=False
            )
            events = list(result.get_asset_materialization_events())
            assert "exported_series" in {event.asset_key.path[-1] for event in events}
            assert server.requests
            assert server.requests[0].headers["Authorization"] == f"Bearer {SECRETS['CANARY_TOKEN']}"
            logged = "\n".join(str(record) for record in instance.all_logs(result.run_id))
    shown = capfd.readouterr()
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for value in SECRETS.values():
        assert value not in logged + shown.out + shown.err
        assert value.encode() not in held
