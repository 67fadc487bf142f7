"""`pyro-assets quarantine`: what was given up, why, and what is to become of it.

Add a sub-command for another decision that a person may take; the decisions themselves stand in `jobs.quarantine` and
`operations.decide`.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, open_ledger
from pyro_assets.cli.output import show_json, show_table, time_text
from pyro_assets.cli.rules.apply import signed
from pyro_assets.errors import LedgerError
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords

if TYPE_CHECKING:
    from pyro_assets.jobs.quarantine import Kept, UnheldSource
    from pyro_assets.ledger.database import Ledger
    from pyro_assets.operations.decide import Action

_NAMES = click.argument("names", metavar="JOB_OR_KEY…", nargs=-1, required=True)


@click.group()
def quarantine() -> None:
    """Jobs given up, sources set aside or lost: list, show, retry, release, forget."""


@quarantine.command("list")
@ledger_option
@click.option("--hour", metavar="HOUR", help="Only this hour, such as 2026-11-25-09:00.")
@click.option("--all", "everything", is_flag=True, help="Also what is still being retried, and what was forgotten.")
@json_option
def list_(ledger_url: str, hour: str | None, everything: bool, as_json: bool) -> None:
    """What is missing in the outputs, the first failures first."""
    with open_ledger(ledger_url) as ledger:
        kept = [
            one
            for one in QuarantineRecords(ledger).kept_failures(hour)
            if one.subject == "job" and (everything or one.given_up)
        ]
        unheld = Pardons(ledger).unheld_sources(hour, acknowledged=everything)
    if as_json:
        show_json({"jobs": [_plain_job(one) for one in kept], "sources": [_plain_source(one) for one in unheld]})
        return
    rows = [_job_row(one) for one in kept] + [_source_row(one) for one in unheld]
    if not rows:
        click.echo("nothing was given up")
        return
    show_table(["what", "state", "hour (UTC)", "failures", "first", "last", "cause", "message"], rows)


@quarantine.command()
@ledger_option
@click.argument("name", metavar="JOB_OR_KEY")
@json_option
def show(ledger_url: str, name: str, as_json: bool) -> None:
    """All that is known of one job or source: the error as it was, where, how often, since when."""
    with open_ledger(ledger_url) as ledger:
        if "/" in name:
            source = Pardons(ledger).unheld_source(name)
            if source is None:
                raise LedgerError(f"{name} is not among the sources that no output holds")
            document = _plain_source(source)
        else:
            document = _show_job(ledger, name)
    if as_json:
        show_json(document)
        return
    for field, value in document.items():
        if isinstance(value, list):
            click.echo(f"{field}:")
            for item in value:
                click.echo(f"  {item}")
        elif value is not None:
            click.echo(f"{field}: {time_text(value) if field.endswith('_ms') else value}")


@quarantine.command()
@ledger_option
@archive_option
@signed
@_NAMES
def retry(ledger_url: str, archive_url: str, author: str, why: str, names: tuple[str, ...]) -> None:
    """Try jobs again as they are, and sources that were set aside or lost in a new job.

    Retry after the cause was removed: an object restored, memory added, a newer version installed. The next run does
    the work.
    """
    _decide("retry", ledger_url, archive_url, names, author=author, why=why)


@quarantine.command()
@ledger_option
@archive_option
@click.option("--parts", type=click.IntRange(2), help="Number of smaller jobs.  [default: one of each source]")
@signed
@_NAMES
def release(
    ledger_url: str, archive_url: str, parts: int | None, author: str, why: str, names: tuple[str, ...]
) -> None:
    """Put the sources of jobs into smaller jobs: the good ones get through, the bad one fails alone."""
    _decide("release", ledger_url, archive_url, names, author=author, why=why, parts=parts)


@quarantine.command()
@ledger_option
@archive_option
@signed
@_NAMES
def forget(ledger_url: str, archive_url: str, author: str, why: str, names: tuple[str, ...]) -> None:
    """Be content: what could not be done is left out for good, and no longer listed."""
    _decide("forget", ledger_url, archive_url, names, author=author, why=why)


def _decide(action: "Action", ledger_url: str, archive_url: str, names: tuple[str, ...], **how: Any) -> None:
    from pyro_assets.app import now_ms
    from pyro_assets.operations.decide import decide
    from pyro_assets.storage.bucket import open_bucket

    with open_ledger(ledger_url) as ledger:
        archive = open_bucket(archive_url, True)
        for name in names:
            click.echo(f"{name}: {decide(ledger, archive, action, name, now_ms(), **how)}")


def _plain_job(one: "Kept") -> dict[str, Any]:
    plain = asdict(one)
    failure = plain.pop("failure")
    return {"job": plain.pop("subject_id"), **plain, **failure}


def _plain_source(one: "UnheldSource") -> dict[str, Any]:
    plain = asdict(one)
    failure = plain.pop("failure") or {}
    return plain | failure


def _show_job(ledger: "Ledger", job_id: str) -> dict[str, Any]:
    job, _ = JobRecords(ledger).look_up(job_id)
    kept = next(
        (one for one in QuarantineRecords(ledger).kept_failures(job.hour, 100_000) if one.subject_id == job_id), None
    )
    facts = {} if kept is None else _plain_job(kept)
    facts |= {"job": job_id, "state": job.state, "hour": job.hour, "shard": job.shard, "committed": job.committed}
    return facts | {"sources": [source.key for source in job.sources]}


def _job_row(one: "Kept") -> list[Any]:
    state = "given up" if one.given_up else "retried"
    times = [time_text(one.first_failed_ms), time_text(one.last_failed_ms)]
    message = " ".join(one.failure.message.split())
    return [one.subject_id, state, one.hour, one.failures, *times, one.failure.cause, message]


def _source_row(one: "UnheldSource") -> list[Any]:
    times = [time_text(ms) if ms is not None else "" for ms in (one.first_failed_ms, one.last_failed_ms)]
    state = f"{one.state}, forgotten" if one.acknowledged else one.state
    cause = one.failure.cause if one.failure else ""
    message = " ".join((one.failure.message if one.failure else one.reason).split())
    return [one.key, state, one.hour, None, *times, cause, message]
