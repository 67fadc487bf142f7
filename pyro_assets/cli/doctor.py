"""`pyro-assets doctor`: looks at everything that an installation needs, and says what to do.

The checks are `monitoring.doctor`'s. Exit status 1 when there is a problem; warnings alone leave it 0.
"""

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, source_option
from pyro_assets.cli.output import show_json
from pyro_assets.resources.environment import contradicted, dagster_home, job_settings, usable
from pyro_assets.storage.shown import counted

if TYPE_CHECKING:
    from pyro_assets.monitoring.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


@click.command()
@source_option
@archive_option
@ledger_option
@click.option("--quiet", is_flag=True, help="Only warnings and problems.")
@json_option
def doctor(source_url: str, archive_url: str, ledger_url: str, quiet: bool, as_json: bool) -> None:
    """Check configuration, reachability, permissions, clock, versions, schema, disk, Dagster and lag.

    Configuration and receivers are those that the environment names. One small object is written to the archive.
    """
    findings = examine_here(source_url, archive_url, ledger_url)
    shown = [finding for finding in findings if finding.level != "ok" or not quiet]
    if as_json:
        show_json([asdict(finding) for finding in shown])
    else:
        for finding in shown:
            level = click.style(f"{finding.level:8}", fg=_COLOURS[finding.level])
            click.echo(f"{level} {finding.check}: {finding.text}")
            if finding.remedy:
                click.echo(f"         -> {finding.remedy}")
    problems = Counter(finding.level for finding in findings)["problem"]
    if problems:
        raise click.ClickException(f"{counted(problems, 'problem')} found")


def examine_here(source_url: str, archive_url: str, ledger_url: str) -> "list[Finding]":
    """Examines the installation that the environment describes."""
    from pyro_assets.app import now_ms
    from pyro_assets.monitoring.doctor import Finding, Installation, examine

    found = []
    if names := contradicted():
        text = f"the environment has other values than .env: {', '.join(names)}"
        remedy = "say it in one of them: Dagster's processes take .env, commands take the environment, so they part"
        found.append(Finding("environment", "warning", text, remedy))
    return found + examine(
        Installation(
            source_url=source_url,
            archive_url=archive_url,
            ledger_url=ledger_url,
            settings=job_settings,
            load_config=_load_config,
            load_receivers=_load_receivers,
            dagster_home=dagster_home(),
            now_ms=now_ms(),
        )
    )


def _load_config() -> str:
    from pyro_assets.rules.config import load_config

    path = usable()[0].config
    if not path:
        return "no file of series: dimension series of everything"
    load_config(path)
    return f"the series of {path} are accepted"


def _load_receivers() -> str:
    from pyro_assets.receivers.file import load_receivers

    path = usable()[0].receivers
    if not path:
        return "no file of receivers: nothing is sent"
    return f"{len(load_receivers(path).receivers)} receivers in {path}"
