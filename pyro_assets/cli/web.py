"""`pyro-assets web`: the small web process, until it is ended.

Add an option when a person needs it; routes are `pyro_assets.web`'s.
"""

import click

from pyro_assets.cli.export import open_exporting, receivers_option
from pyro_assets.cli.options import archive_option, ledger_option, source_option


@click.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=9119, show_default=True)
def web(source_url: str, archive_url: str, ledger_url: str, receivers_file: str, host: str, port: int) -> None:
    """Serve the project's own metrics at /metrics."""
    import uvicorn

    from pyro_assets.web.app import make_app

    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        app = make_app(pipeline.health())
        click.echo(f"metrics are at http://{host}:{port}/metrics", err=True)
        uvicorn.run(app, host=host, port=port, log_level="warning")
