"""`pyro-assets export`: send what receivers lack, tell what a first send would mean, or write files of history.

Add an option when a person needs it; sending is that of `operations`. Exit status 1 when a receiver did not get
everything or refused something.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, receivers_option, source_option
from pyro_assets.cli.output import show_json, show_table, size_text
from pyro_assets.cli.times import check_span, hours_of_span, span_options, whole_span
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, sending
from pyro_assets.resources.environment import environment_secrets
from pyro_assets.settings import variable
from pyro_assets.storage.keys import HOUR_MS, hour_of

if TYPE_CHECKING:
    from pyro_assets.app import App
    from pyro_assets.export.exporter import ExportCounts


def open_exporting(source_url: str, archive_url: str, ledger_url: str, receivers_file: str) -> "App":
    """The pipeline with its receivers, without a configuration of series."""
    from pyro_assets.app import open_app

    return open_app(source_url, archive_url, ledger_url, receivers_file=receivers_file, secrets=environment_secrets())


@click.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.option("--receiver", "names", multiple=True, metavar="NAME", help="Only this receiver (repeatable).")
@span_options()
@click.option(
    "--again",
    is_flag=True,
    help="Send once more what --receiver has acknowledged between --from and --to, because it lost it. Receipts stay "
    "as they are.",
)
@click.option("--estimate", is_flag=True, help="Only tell how many series and samples each hour has.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["openmetrics", "victoriametrics"]),
    help="Write files instead of sending: for promtool, or for VictoriaMetrics' import.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the files, one per day.")
@json_option
def export(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    receivers_file: str,
    names: tuple[str, ...],
    begin_ms: int | None,
    end_ms: int | None,
    again: bool,
    estimate: bool,
    file_format: Any,
    out: Path | None,
    as_json: bool,
) -> None:
    """Send what receivers lack since their start, or of the hours between --from and --to."""
    if (file_format is None) != (out is None):
        raise click.UsageError("--format and --out belong together")
    if file_format is not None and len(names) > 1:
        raise click.UsageError("files are for one receiver at a time")
    if again and (not names or begin_ms is None or end_ms is None or estimate or file_format is not None):
        raise click.UsageError("--again needs --receiver, --from and --to, and only sends")
    check_span(begin_ms, end_ms)
    everything = begin_ms is None and end_ms is None
    begin_ms, end_ms = whole_span(begin_ms, end_ms)
    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        if file_format is not None and out is not None:
            _write(pipeline, names, file_format, out, (begin_ms, end_ms), as_json=as_json)
        elif again:
            _show(_send_again(pipeline, names, begin_ms, end_ms), as_json=as_json)
        elif estimate:
            _estimate(pipeline, names, begin_ms, end_ms, as_json=as_json)
        else:
            _need_receivers(pipeline)
            hours = None if everything else hours_of_span(HourRecords(pipeline.ledger).hours(), begin_ms, end_ms)
            done = sending.export(pipeline, hours, names=names)
            _show(done, as_json=as_json)
            idle = [name for name, one in done.items() if not one.jobs]
            if hours and idle and not as_json:
                _say_what_was_refused(pipeline, idle, hours)


def _need_receivers(pipeline: "App") -> None:
    if not pipeline.receivers():
        raise click.ClickException(f"no receiver is configured; name a file of receivers in {variable('receivers')}")


def _say_what_was_refused(pipeline: "App", names: list[str], hours: list[str]) -> None:
    """A receiver that gets nothing may have refused it before, and take it by now."""
    found = [runs.hour_report(pipeline, hour) for hour in hours]
    for name in names:
        refused = sum(one.refused for report in found for one in report.exports if one.receiver == name)
        if refused:
            click.echo(
                f"{name} refused {refused:,} samples of these hours before, and is not asked again by itself. Where it "
                f"takes them now: pyro-assets export --again --receiver {name} --from TIME --to TIME"
            )


def _send_again(pipeline: "App", names: tuple[str, ...], begin_ms: int, end_ms: int) -> "dict[str, ExportCounts]":
    for receiver in [pipeline.receiver(name) for name in names]:
        name = receiver.name
        click.echo(f"{name} gets once more what it has acknowledged of these hours; its receipts stay", err=True)
        if not receiver.is_idempotent:
            click.echo(
                f"Warning: {name} is not declared to take the same sample twice: what it has not lost may be refused "
                "there, or count twice. Declare out_of_order_window, or dedup for VictoriaMetrics, where it is so",
                err=True,
            )
    return {name: sending.send_again(pipeline, name, begin_ms, end_ms) for name in names}


def _show(done: "Mapping[str, ExportCounts]", *, as_json: bool) -> None:
    if as_json:
        show_json({name: counts.to_dict() for name, counts in done.items()})
    else:
        rows = [
            [name, one.jobs, one.samples, one.refused.total(), one.requests, one.retries, size_text(one.bytes),
             one.seconds, one.summary]
            for name, one in done.items()
        ]  # fmt: skip
        show_table(["receiver", "jobs", "accepted", "refused", "requests", "retries", "sent", "seconds", "what"], rows)
        for name, one in done.items():
            if one.refused["too_old"]:
                click.echo(
                    f"{name} takes nothing so old; write files to import there: pyro-assets export --receiver {name} "
                    "--format openmetrics --from TIME --to TIME --out DIR. Or give it a larger out-of-order window, "
                    "there and in the file of receivers, and send with --again what it refused"
                )
    troubled = [f"{name}: {one.summary}" for name, one in done.items() if not one.is_whole]
    if troubled:
        raise click.ClickException(troubled[0])


def _estimate(pipeline: "App", names: tuple[str, ...], begin_ms: int, end_ms: int, *, as_json: bool) -> None:
    _need_receivers(pipeline)
    chosen = names or tuple(receiver.name for receiver in pipeline.receivers())
    rows = [
        [name, hour_of(hour * HOUR_MS), one.samples, one.active_series, one.refused]
        for name in chosen
        for hour, one in sending.estimate(pipeline, name, begin_ms, end_ms).items()
    ]
    header = ["receiver", "hour", "samples", "series", "refused"]
    if as_json:
        show_json([dict(zip(header, row, strict=True)) for row in rows])
        return
    show_table(header, rows)
    click.echo("\nnothing was sent")


def _write(
    pipeline: "App", names: tuple[str, ...], file_format: Any, out: Path, when: tuple[int, int], *, as_json: bool
) -> None:
    receiver = pipeline.receiver(names[0]) if names else None
    report = sending.write_files(pipeline, receiver, out, file_format, *when)
    rows = [[str(file.path), file.day, file.samples, file.series, size_text(file.size_bytes)] for file in report.files]
    if as_json:
        show_json(
            {
                "files": [{"path": row[0], "day": row[1], "samples": row[2], "series": row[3]} for row in rows],
                "refused": report.refused.by_reason,
                "unreadable": report.unreadable,
            }
        )
    else:
        show_table(["file", "day", "samples", "series", "size"], rows)
        if file_format == "openmetrics" and rows:
            click.echo(
                "\nfor each file: promtool tsdb create-blocks-from openmetrics FILE BLOCKS, then move what is in"
            )
            click.echo("BLOCKS into Prometheus' data folder")
    if report.unreadable:
        raise click.ClickException(f"{len(report.unreadable)} jobs are in no file: {report.unreadable[0]}")
    if report.refused.total:
        raise click.ClickException(f"{report.refused.total} samples are in no file: {report.refused.examples[0]}")
