"""`pyro-assets web`: the small web process, until it is ended; on request it also sends its metrics to receivers.

Add an option when a person needs it; routes are `pyro_assets.web`'s.
"""

import socket
import threading
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.export import open_exporting, receivers_option
from pyro_assets.cli.options import archive_option, ledger_option, source_option
from pyro_assets.errors import PyroAssetsError

if TYPE_CHECKING:
    from pyro_assets.pipeline.health import HealthMetrics
    from pyro_assets.pipeline.pipeline import Pipeline


@click.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=9119, show_default=True)
@click.option(
    "--push",
    "push_seconds",
    type=click.FloatRange(min=1),
    help="Also send the metrics to all receivers, every so many seconds.",
)
def web(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    receivers_file: str,
    host: str,
    port: int,
    push_seconds: float | None,
) -> None:
    """Serve the project's own metrics at /metrics."""
    import uvicorn

    from pyro_assets.web.app import make_app

    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        metrics, ended = pipeline.health(), threading.Event()
        if push_seconds is not None:
            pusher = threading.Thread(target=_push, args=(pipeline, metrics, push_seconds, ended), daemon=True)
            pusher.start()
        click.echo(f"metrics are at http://{host}:{port}/metrics", err=True)
        uvicorn.run(make_app(metrics), host=host, port=port, log_level="warning")
        ended.set()


def _push(pipeline: "Pipeline", metrics: "HealthMetrics", seconds: float, ended: threading.Event) -> None:
    said: dict[str, str] = {}
    while not ended.wait(seconds):
        try:
            troubles = pipeline.push_health(metrics, socket.gethostname())
        except PyroAssetsError as error:
            troubles = {"metrics": str(error)}
        for name, trouble in troubles.items():
            if trouble and trouble != said.get(name):
                click.echo(f"{name}: {trouble}", err=True)
        said = troubles
