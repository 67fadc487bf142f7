"""`pyro-assets verify --archive`: the whole archive compared with what was written, at once, and put back on demand.

What is compared and how it is put back stands in `archive.scrub` and `archive.repair`; here are only words.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.output import progress_bar, show_json, show_table, size_text
from pyro_assets.cli.times import hours_of_span
from pyro_assets.operations import runs, upkeep
from pyro_assets.resources.environment import job_settings

if TYPE_CHECKING:
    from pyro_assets.archive.repair import Repaired
    from pyro_assets.archive.scrub import ScrubReport


def verify_archive(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    config: str,
    begin_ms: int | None,
    end_ms: int | None,
    *,
    repair: bool,
    as_json: bool,
) -> None:
    """Compares the hours of a span, puts back what is damaged where that is asked for, and says what is left.

    Raises:
        click.ClickException: something is damaged (still), or could not be looked at.
    """
    from pyro_assets.app import open_app
    from pyro_assets.rules.config import load_config, parse_config

    with open_app(
        source_url,
        archive_url,
        ledger_url,
        settings=job_settings(),
        config=load_config(config) if config else parse_config("", "<defaults>"),
    ) as pipeline:
        hours = hours_of_span(upkeep.archived_hours(pipeline), begin_ms, end_ms)
        with progress_bar("hours") as bar:
            report = upkeep.scrub(pipeline, hours=hours, progress=bar.update)
        done: list[Repaired] = []
        if repair and report.damaged:
            done = runs.repair(pipeline, report.damaged, run_id=f"repair-{time.time_ns():x}-{os.getpid()}")
    if as_json:
        show_json({**asdict(report), "repaired": [asdict(one) for one in done]})
    else:
        _show(report, done)
    left = len(report.damaged) - sum(not one.why_not for one in done)
    if left:
        remedy = "restore these from a copy of the archive" if repair else "--repair puts back what can be put back"
        raise click.ClickException(f"{left} objects of the archive are damaged or missing; {remedy}")
    if report.failures:
        raise click.ClickException(f"{len(report.failures)} hours could not be looked at: {report.failures[0]}")


def _show(report: "ScrubReport", done: "Sequence[Repaired]") -> None:
    why_not = {one.damage.key: one.why_not for one in done}
    if report.damaged:
        rows = [(one.kind, one.hour, one.message, _state(why_not.get(one.key))) for one in report.damaged]
        show_table(["what", "hour", "why", "put back"], rows)
    click.echo(
        f"{len(report.hours):,} hours with {report.objects:,} objects ({size_text(report.bytes)}) compared in "
        f"{report.seconds:.1f} s: {len(report.damaged):,} damaged or missing"
    )


def _state(why_not: str | None) -> str:
    return "not asked for" if why_not is None else f"no: {why_not}" if why_not else "yes"
