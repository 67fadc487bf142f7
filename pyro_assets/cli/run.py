"""`pyro-assets run`: the whole pipeline once, without a daemon, and what it did as a table or JSON.

Add an option when a person needs it; the work is that of `operations`. Exit status 1 when something is left undone
or out: see the command's help.
"""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.options import (
    archive_option,
    json_option,
    ledger_option,
    mode_option,
    receivers_option,
    setting_option,
    source_option,
)
from pyro_assets.cli.output import progress_bar, show_json, show_table, size_text
from pyro_assets.cli.times import check_span, hours_of_span, span_options
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.monitoring.reports import total_run
from pyro_assets.operations import runs, sending, ticks
from pyro_assets.planning.spans import hours_over
from pyro_assets.resources.environment import environment_secrets, job_settings
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.app import App
    from pyro_assets.export.exporter import ExportCounts
    from pyro_assets.jobs.counts import Progress
    from pyro_assets.monitoring.reports import HourReport
    from pyro_assets.planning.report import TickReport

#: Hours that a run lists as a whole, at most: after an upgrade `pyro-assets rescan` does it for all.
_MOST_LISTED = 48


@click.command()
@source_option
@archive_option
@ledger_option
@setting_option("config", type=click.Path(dir_okay=False), help="YAML file that says which series to derive.")
@click.option(
    "--jobs",
    "jobs_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file: a list of jobs, each a list of source keys. Exactly these are done, in this order.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME",
    help="Backfill this rule (several times for several): only its series, from archived blocks, where they are not "
    "there yet. Every other series stays as it is.",
)
@span_options()
@setting_option(
    "dedup", help="Which profiles are duplicates: those with equal samples, or whatever the original drops."
)
@mode_option
@receivers_option
@json_option
def run(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    config: str,
    jobs_file: Path | None,
    rules: tuple[str, ...],
    begin_ms: int | None,
    end_ms: int | None,
    dedup: str,
    mode: str,
    receivers_file: str,
    as_json: bool,
) -> None:
    """Find, compact and derive everything that is due, once; send it where receivers are configured.

    With --rule, backfill rules instead: of all hours, or of those between --from and --to.

    Exit status: 0 all is done; 1 a job failed or waits for its next attempt, a source of an hour that this run worked
    on is set aside or lost and nobody has acknowledged it (`quarantine list` shows those of all hours), a listing
    failed, or a receiver did not get everything; 2 a setting cannot be used.
    """
    check_span(begin_ms, end_ms)
    if not rules and (begin_ms, end_ms) != (None, None):
        raise click.UsageError("--from and --to belong to --rule")
    if rules and jobs_file:
        raise click.UsageError("--jobs compacts and --rule does not: choose one")
    jobs = _read_jobs(jobs_file) if jobs_file else None
    from pyro_assets.app import open_app
    from pyro_assets.operations.runs import SERIES_STEPS
    from pyro_assets.rules.config import load_config, parse_config

    series = load_config(config) if config else parse_config("", "<defaults>")
    begun = time.monotonic()
    with open_app(
        source_url,
        archive_url,
        ledger_url,
        settings=job_settings(compaction=mode, dedup=dedup),
        config=series,
        receivers_file=receivers_file,
        secrets=environment_secrets(),
    ) as pipeline:
        _demand_folder(source_url)
        # A mistake in the file of receivers is told before the work, not after it.
        has_receivers = bool(pipeline.receivers())
        runs.check_archive(pipeline)
        for sentence in ticks.warnings(pipeline):
            click.echo(f"Warning: {sentence}", err=True)
        run_id = f"cli-{time.time_ns():x}-{os.getpid()}"
        made: list[TickReport] = []
        with progress_bar("jobs") as bar:
            progress = lambda at: bar.update(at.done, at.total)  # noqa: E731 - a named function says no more
            if rules:
                hours = hours_of_span(HourRecords(pipeline.ledger).hours(), begin_ms, end_ms)
                reports = runs.run(pipeline, hours, SERIES_STEPS, run_id=run_id, rules=rules, progress=progress)
            elif jobs is not None:
                reports = runs.run_exact(pipeline, jobs, run_id=run_id, progress=progress)
            else:
                reports = _run_all_due(pipeline, run_id, made, progress)
        sent: Mapping[str, ExportCounts] = {}
        if has_receivers:
            from pyro_assets.export.exporter import END_SECONDS, IDLE_SECONDS

            # Receivers get a backfilled rule of hours that they have already, as live runs would have sent it.
            bounds = (END_SECONDS, IDLE_SECONDS)
            if rules:
                sent = sending.exporter(pipeline, hours, explicit=False).finish(*bounds)
            else:
                sent = sending.export(pipeline, seconds=END_SECONDS, idle_seconds=IDLE_SECONDS)
        left_out = [] if rules else _left_out(pipeline, reports)
        of_rules = _of_rules(pipeline, rules, reports) if rules else {}
    seconds = time.monotonic() - begun
    failures = [sentence for tick in made for sentence in (*tick.failures, *filter(None, [tick.source_problem]))]
    failures += [sentence for report in reports.values() for sentence in report.run.errors]
    if as_json:
        show_json(_document(reports, made, sent, seconds) | {"left_out": left_out, "rules": of_rules})
    else:
        _show(reports, made, sent, seconds, source_url)
        for rule, counts in of_rules.items():
            click.echo(
                f"rule {rule}: {counts['samples']:,} samples of {counts['series']:,} series in these hours; "
                f"{counts['jobs_done']:,} of {counts['jobs']:,} jobs have it"
            )
    failures += [f"{name}: {one.summary}" for name, one in sent.items() if not one.is_whole]
    failures += left_out
    if failures or any(report.run.failed for report in reports.values()):
        raise click.ClickException(failures[0] if len(failures) == 1 else f"{len(failures)} failures: {failures[0]}")


def _left_out(pipeline: "App", reports: "Mapping[str, HourReport]") -> list[str]:
    """What is in no output of these hours, or waits for another attempt in any hour, in sentences."""
    waiting = [
        one for one in QuarantineRecords(pipeline.ledger).kept_failures() if one.subject == "job" and not one.given_up
    ]
    said = [
        f"job {one.subject_id} of {one.hour} waits for its next attempt: {one.failure.cause}: {one.failure.message}"
        for one in waiting
    ]
    for hour, report in reports.items():
        if count := sum(report.left_out.values()):
            # Those of a job that was given up are listed with it.
            first = next(iter(Pardons(pipeline.ledger).unheld_sources(hour, limit=1)), report.set_aside[0])
            more = f"{count:,} sources of {hour} are in no output, the first: "
            said.append(f"{more}{first.key}: {first.state}: {first.reason}")
    return said


def _of_rules(
    pipeline: "App", rules: "Sequence[str]", reports: "Mapping[str, HourReport]"
) -> dict[str, dict[str, int]]:
    """What rules have come to in the hours of a backfill."""
    from pyro_assets.explore.scan import Asked
    from pyro_assets.explore.series import SeriesReader

    if not reports:
        return {}
    begin_ms, end_ms = hour_start_ms(min(reports)), hour_start_ms(max(reports)) + HOUR_MS
    found = {}
    for rule in rules:
        given, _ = SeriesReader(pipeline.archive, pipeline.ledger).rules(Asked(begin_ms, end_ms, rule=rule))
        made = given.get(rule)
        progress = [
            one for report in reports.values() if report.rules for one in report.rules.backfill if one.rule == rule
        ]
        found[rule] = {
            "series": made.series if made else 0,
            "samples": made.samples if made else 0,
            "jobs_done": sum(one.done for one in progress),
            "jobs": sum(one.total for one in progress),
        }
    return found


def _demand_folder(source_url: str) -> None:
    """A sensor waits for a folder that is still to come; a person who asks once has mistyped it."""
    from pyro_assets.storage.bucket import place_of

    place = place_of(source_url)
    if place.startswith("file:") and not Path(place.removeprefix("file:")).is_dir():
        raise click.ClickException(f"the source folder {source_url} does not exist; name the bucket by --source-url")


def _run_all_due(
    pipeline: "App", run_id: str, made: "list[TickReport]", progress: "Callable[[Progress], None]"
) -> "dict[str, HourReport]":
    """Ticks and runs until nothing is due any more; of an hour that was run twice, the counts are added.

    Hours that became over since are listed as a whole then: ticks do not see what was uploaded late.
    """
    reports: dict[str, HourReport] = {}
    has_looked = False
    while True:
        made.append(ticks.tick(pipeline))
        if made[-1].due:
            # Hours that are over wait for whoever asks for them; that they are old is no lag.
            over = set(hours_over(made[-1].due, pipeline.settings.settle_ms, made[-1].now_ms))
            done: dict[str, HourReport] = {}
            for hours in (sorted(set(made[-1].due) - over), sorted(over)):
                asked = bool(over.intersection(hours))
                done |= runs.run(pipeline, hours, run_id=run_id, asked=asked, progress=progress) if hours else {}
            for hour, report in done.items():
                earlier = {"earlier": reports[hour]} if hour in reports else {}
                reports[hour] = replace(report, run=total_run({**earlier, "now": report}))
            if not any(report.run.compacted or report.run.derived for report in done.values()):
                return reports
        elif not made[-1].truncated:
            if has_looked:
                return reports
            has_looked = True
            seen = ticks.list_hours(pipeline, ticks.hours_to_list(pipeline, _MOST_LISTED))
            made[-1] = replace(made[-1], failures=(*made[-1].failures, *seen.failures))
            if not seen.new:
                return reports


def _read_jobs(path: Path) -> list[list[str]]:
    """The jobs of a file, in their order."""
    try:
        jobs: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path} is not JSON: {error}") from error
    if not isinstance(jobs, list) or not all(map(_is_job, jobs)):
        raise click.ClickException(f"{path} must be a list of jobs, each a list of one or more source keys")
    return jobs


def _is_job(job: Any) -> bool:
    return isinstance(job, list) and bool(job) and all(isinstance(key, str) for key in job)


def _document(
    reports: "dict[str, HourReport]", made: "list[TickReport]", sent: "Mapping[str, ExportCounts]", seconds: float
) -> dict[str, Any]:
    last = made[-1] if made else None
    return {
        "seconds": round(seconds, 3),
        "hours": {hour: report.to_dict() for hour, report in reports.items()},
        "planned_jobs": sum(tick.planned_jobs for tick in made),
        "waiting_sources": last.waiting_sources if last else 0,
        "out_of_range": sum(tick.out_of_range for tick in made),
        "not_block_keys": last.not_block_keys if last else 0,
        "receivers": {name: one.to_dict() for name, one in sent.items()},
        "failures": [sentence for tick in made for sentence in tick.failures],
    }


def _show(
    reports: "dict[str, HourReport]",
    made: "list[TickReport]",
    sent: "Mapping[str, ExportCounts]",
    seconds: float,
    source_url: str,
) -> None:
    if reports:
        _show_hours(reports)
        jobs = sum(report.run.derived for report in reports.values())
        click.echo(f"\n{jobs:,} jobs derived in {seconds:.2f} s")
    else:
        click.echo(f"nothing to do in {source_url}")
    for name, one in sent.items():
        click.echo(f"{name}: {one.summary}")
    for report in reports.values():
        for source in report.set_aside:
            click.echo(f"{source.state}: {source.key}: {source.reason}")
    if made and made[-1].waiting_sources:
        click.echo(f"{made[-1].waiting_sources:,} young sources wait for company; the next run takes them")
    if any(tick.out_of_range for tick in made):
        click.echo(f"{sum(tick.out_of_range for tick in made):,} sources were created outside of the partitions")


def _show_hours(reports: "dict[str, HourReport]") -> None:
    header = ["hour (UTC)", "compacted", "derived", "failed", "segments", "blocks", "in", "out"]
    header += ["profiles", "samples", "duplicates", "series", "pending", "set aside"]
    rows = []
    for hour, report in reports.items():
        done = [report.run.compacted, report.run.derived, report.run.failed, report.segments, report.blocks]
        sizes = [size_text(report.bytes_in), size_text(report.bytes_out)]
        counts = [report.profiles, report.samples, report.duplicates, sum(report.series.values())]
        rows.append([hour, *done, *sizes, *counts, report.pending, report.set_aside_total])
    show_table(header, rows)
