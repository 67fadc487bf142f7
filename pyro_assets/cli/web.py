"""`pyro-assets web`: pages, JSON API and metrics, until it is ended.

Add an option when a person needs it; routes, and who may do what, are `pyro_assets.web`'s.
"""

from functools import partial

import click

from pyro_assets.cli.doctor import examine_here
from pyro_assets.cli.options import (
    archive_option,
    config_option,
    ledger_option,
    receivers_option,
    setting_option,
    source_option,
)
from pyro_assets.cli.receivers.export import open_exporting
from pyro_assets.cli.rules.apply import system_user
from pyro_assets.operations import upkeep
from pyro_assets.resources.environment import Environment, environment_secrets
from pyro_assets.settings import variable


@click.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@config_option
@setting_option("dagster_url")
@setting_option("prometheus_url")
@setting_option("grafana_url")
@setting_option("speedscope_url")
@setting_option("web_url")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", type=click.IntRange(0, 65535), default=9119, show_default=True)
@click.option(
    "--token", "token_place", metavar="env:NAME|file:PATH",
    help=f"Where the token is that people and programs must know.  [default: env:{variable('web_token')} if it is set]",
)  # fmt: skip
@click.option("--trusted-header", metavar="NAME", default="",
              help="Header in which a proxy names the user, such as X-Forwarded-User.")  # fmt: skip
@click.option("--trusted-proxy", "proxies", multiple=True, metavar="ADDRESS", default=("127.0.0.1", "::1"),
              show_default=True, help="Address or network from which that header counts (repeatable).")  # fmt: skip
@click.option("--allowed-host", "hosts", multiple=True, metavar="NAME",
              help="Further name under which people ask for this process (repeatable).")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Show everything, change nothing.")
@click.option("--insecure", is_flag=True, help="Let everybody who reaches --host in, without token or proxy.")
def web(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    receivers_file: str,
    config_path: str,
    dagster_url: str,
    prometheus_url: str,
    grafana_url: str,
    speedscope_url: str,
    web_url: str,
    host: str,
    port: int,
    token_place: str | None,
    trusted_header: str,
    proxies: tuple[str, ...],
    hosts: tuple[str, ...],
    read_only: bool,
    insecure: bool,
) -> None:
    """Serve pages about profiles, rules and series, the same as a JSON API, and the project's metrics at /metrics."""
    from pyro_assets.web.app import make_app
    from pyro_assets.web.serve import PageServer
    from pyro_assets.web.site import Site
    from pyro_assets.web.wire.access import Access, hosts_of, is_loopback

    token = _token(token_place)
    access = Access(
        default_user=system_user(),
        token=token,
        trusted_header=trusted_header,
        proxies=proxies,
        read_only=read_only,
        hosts=hosts_of(host, web_url=web_url, others=hosts),
    )
    if not is_loopback(host) and access.is_open and not insecure:
        raise click.UsageError(
            f"--host {host} lets others in than this machine; name a --token or a --trusted-header, or say --insecure"
        )
    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        doctor = partial(examine_here, source_url, archive_url, ledger_url)
        site = Site(pipeline, upkeep.health(pipeline), config_path, dagster_url, access, doctor=doctor,
                    prometheus_url=prometheus_url, grafana_url=grafana_url, speedscope_url=speedscope_url)  # fmt: skip
        shown = f"[{host}]" if ":" in host else host

        def say(port: int) -> None:
            click.echo(f"pages are at http://{shown}:{port}/, metrics at http://{shown}:{port}/metrics", err=True)

        PageServer(make_app(site), host, port, say).run()


def _token(place: str | None) -> str:
    """The token of a place, "" where none is wanted."""
    if place is None:
        return Environment().web_token
    from pyro_assets.receivers.secrets import SecretRef

    kind, _, where = place.partition(":")
    if kind not in ("env", "file") or not where:
        raise click.UsageError(f"--token {place!r} names no place; write env:NAME or file:PATH, never the token itself")
    reference = SecretRef(env=where) if kind == "env" else SecretRef(file=where)
    return reference.resolve(environment_secrets(), "pages")
