"""A look at everything that an installation needs: what is wrong, and what to do about it.

Add a check when something can be wrong that a person would otherwise find out late. A check never raises and changes
nothing, except that one small object is written to the archive to see whether that is allowed.
"""

import sqlite3
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from pyro_assets.errors import PyroAssetsError, StorageError
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.migrate import VERSION
from pyro_assets.pipeline.configurations import contradictions, values_of
from pyro_assets.pipeline.doctor_dagster import check_dagster
from pyro_assets.pipeline.doctor_room import check_disk, check_growth, check_upkeep
from pyro_assets.pipeline.findings import Finding, Installation
from pyro_assets.pipeline.lifetimes import measure
from pyro_assets.pipeline.rebuilding import guard
from pyro_assets.pipeline.settings import KINDS
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.discovery import what_is_missing
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, HOUR_MS, PROBE, SEGMENTS, parse_block_key
from pyro_assets.storage.ulid import first_ulid, is_ulid, ulid_time_ms

__all__ = ["Finding", "Installation", "examine"]

_LATE_MS: Final = 60_000
#: Where nothing is younger than this, Pyroscope seems to be down.
_RECENT_MS: Final = 600_000
#: So many of the source's objects are read: one that is not given out is no matter of the bucket.
_LOOKED_AT: Final = 3
_PACKAGES: Final = ("dagster", "pyarrow", "polars", "sqlalchemy", "fsspec")
#: The first SQLite that has all the statements that are used.
_SQLITE: Final = (3, 35)


def examine(it: Installation) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    checks: list[tuple[str, Callable[[Installation], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("configuration", _configuration),
        ("source", _source),
        ("archive", _archive),
        ("ledger", _ledger),
        ("configurations", _configurations),
        ("clock", _clock),
        ("mode", _mode),
        ("disk", check_disk),
        ("Dagster", check_dagster),
        ("work", _work),
        ("growth", check_growth),
        ("upkeep", check_upkeep),
    ]
    findings: list[Finding] = []
    for name, check in checks:
        try:
            findings += check(it)
        except (PyroAssetsError, OSError) as error:
            text = " ".join(str(error).split())
            findings.append(Finding(name, "problem", text, "see the message; then call doctor again"))
    return findings


def _versions(_it: Installation) -> Iterator[Finding]:
    found = []
    for package in _PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            yield Finding("versions", "problem", f"{package} is not installed", "install pyro-assets anew with pip")
    if sqlite3.sqlite_version_info < _SQLITE:
        text = f"SQLite {sqlite3.sqlite_version} is older than 3.35"
        yield Finding("versions", "problem", text, "use a Python with a newer SQLite, or a ledger on Postgres")
    yield Finding("versions", "ok", ", ".join([*found, f"SQLite {sqlite3.sqlite_version}"]))


def _configuration(it: Installation) -> Iterator[Finding]:
    settings = it.settings()
    ends = [place_of(it.source_url), place_of(it.archive_url)]
    if ends[0].startswith(ends[1]) or ends[1].startswith(ends[0]):
        text = f"source {it.source_url} and archive {it.archive_url} are the same place, or one lies inside the other"
        yield Finding("configuration", "problem", text, "name another archive: the source is never written to")
    yield Finding("configuration", "ok", f"mode {settings.mode}, dedup {settings.dedup}, from {settings.start_hour}")
    for load in (it.load_config, it.load_receivers):
        yield Finding("configuration", "ok", load())


def _source(it: Installation) -> Iterator[Finding]:
    source = open_bucket(it.source_url)
    wanted = SEGMENTS if it.settings().mode == "own" else BLOCKS
    folders = source.list_folder("").folders
    if missing := what_is_missing(source):
        what, _, remedy = missing.rpartition(": ")
        yield Finding("source", "problem", what, remedy)
        return
    if wanted not in folders:
        there = ", ".join(folders[:5]) or "nothing"
        remedy = f"name Pyroscope's bucket, with the prefix under which it keeps {wanted}/, or start Pyroscope"
        yield Finding("source", "warning", f"{it.source_url} has no folder {wanted}/ (but {there})", remedy)
        return
    shards = source.list_folder(f"{wanted}/").folders
    yield Finding("source", "ok", f"{it.source_url} can be listed: {len(shards)} shards")
    first = source.list_after(f"{wanted}/", "", _LOOKED_AT)
    refused = [found for item in first if (found := _refusal(source, item)) is not None]
    if first and len(refused) == len(first):
        raise refused[0]
    if refused:
        remedy = "such a source is set aside after its attempts, and everything else goes on; see the message"
        text = f"{len(refused)} of its first {len(first)} objects cannot be read: {' '.join(str(refused[0]).split())}"
        yield Finding("source", "warning", text, remedy)
    elif first:
        yield Finding("source", "ok", f"its first {len(first)} objects can be read")


def _refusal(source: ReadOnlyBucket, item: ObjectInfo) -> StorageError | None:
    try:
        source.get_range(item.key, 0, min(16, item.size_bytes))
    except StorageError as error:
        return error
    return None


def _archive(it: Installation) -> Iterator[Finding]:
    archive = open_bucket(it.archive_url, True)
    data = b"written by `pyro-assets doctor` to see whether it may\n"
    try:
        archive.replace(PROBE, data)
        same = archive.read(PROBE) == data
    except StorageError as error:
        remedy = "give this user (these AWS credentials) permission to list, read and write objects there"
        yield Finding("archive", "problem", f"{it.archive_url}: {error}", remedy)
        return
    if same:
        yield Finding("archive", "ok", f"{it.archive_url} can be written and read")
    else:
        yield Finding("archive", "problem", "it does not give back what was written", "use a consistent store")


def _ledger(it: Installation) -> Iterator[Finding]:
    ledger = Ledger.open(it.ledger_url)
    try:
        guard(ledger, open_bucket(it.archive_url))
        # A write that changes nothing.
        ledger.drop_cursors("doctor")
    finally:
        ledger.close()
    yield Finding("ledger", "ok", f"it can be read and written, and has schema version {VERSION}")


def _configurations(it: Installation) -> Iterator[Finding]:
    ledger = Ledger.open(it.ledger_url)
    try:
        seen = ledger.configurations(it.now_ms - _RECENT_MS)
    finally:
        ledger.close()
    for sentence in contradictions(values_of(it.source_url, it.archive_url, it.settings()), seen, it.now_ms):
        what, _, remedy = sentence.rpartition(": ")
        yield Finding("configurations", "problem", what, remedy)


def _clock(it: Installation) -> Iterator[Finding]:
    newest = _newest_ms(open_bucket(it.source_url), it)
    if newest is None:
        return
    ahead = newest - it.now_ms
    if ahead > 2_000:
        text = f"the newest object was created {ahead / 1000:.0f} s in the future"
        yield Finding("clock", "warning", text, "set the clocks of this machine and of Pyroscope's by NTP")
    elif -ahead > _RECENT_MS:
        text = f"the newest object is {-ahead / 60_000:.0f} minutes old"
        yield Finding("clock", "warning", text, "check that Pyroscope is running, that this is its bucket, the clocks")
    else:
        yield Finding("clock", "ok", f"the newest object is {-ahead / 1000:.1f} s old")


def _newest_ms(source: ReadOnlyBucket, it: Installation) -> int | None:
    """From the ledger's cursors on: a bucket cannot be listed backwards."""
    ledger = Ledger.open(it.ledger_url)
    try:
        cursors = ledger.cursors()
    finally:
        ledger.close()
    newest = [ulid_time_ms(ulid) for ulid in cursors.values() if is_ulid(ulid)]
    recent = first_ulid(it.now_ms - _RECENT_MS)
    starts = {f"{SEGMENTS}/{shard}/{ANONYMOUS}/": recent for shard in source.list_folder(f"{SEGMENTS}/").folders}
    for folder, ulid in (starts | cursors).items():
        listed = source.list_after(folder, f"{folder}{ulid}0", 1000)
        times = [parse_block_key(item.key).created_ms for item in listed if item.key.endswith("/block.bin")]
        newest += times[-1:]
    return max(newest, default=None)


def _mode(it: Installation) -> Iterator[Finding]:
    life = measure(open_bucket(it.source_url), it.now_ms)
    if not life.compacts:
        return
    observe = "choose observe as the mode of compaction, or raise Pyroscope's deletion delay beyond your outages"
    if it.settings().mode == "observe":
        yield Finding("mode", "ok", life.sentence)
    elif life.is_short:
        text = f"{life.sentence}: an outage of ours that is longer loses profiles"
        yield Finding("mode", "problem", text, observe)
    elif not life.deletes:
        yield Finding("mode", "warning", life.sentence, f"find out when it will: {observe}")
    else:
        yield Finding("mode", "ok", life.sentence)


def _work(it: Installation) -> Iterator[Finding]:
    ledger = Ledger.open(it.ledger_url)
    try:
        backlog = ledger.backlog(it.now_ms, KINDS)
        given_up = ledger.quarantined()["job"]
        retried = [one for one in ledger.kept_failures() if one.subject == "job" and not one.given_up]
        unheld = ledger.count_unheld()
        lags = ledger.lag(it.now_ms - HOUR_MS, it.now_ms + 1)
    finally:
        ledger.close()
    lists = "`pyro-assets quarantine list` names them; then retry, release or forget"
    if given_up:
        yield Finding("work", "problem", f"{given_up:,} jobs were given up", lists)
    if retried:
        failure = retried[-1].failure
        text = (
            f"{len(retried):,} jobs failed and wait for their next attempt; one by {failure.cause}: {failure.message}"
        )
        remedy = "`pyro-assets quarantine list --all` names them; after their attempts they are given up, or set aside"
        yield Finding("work", "warning", " ".join(text.split()), remedy)
    if unheld.get("set_aside"):
        yield Finding("work", "warning", f"{unheld['set_aside']:,} sources could not be read and were set aside", lists)
    if unheld.get("lost"):
        text = f"{unheld['lost']:,} sources were deleted before they were read: their profiles are lost"
        yield Finding("work", "problem", text, "find out who deletes them (see mode); `pyro-assets quarantine list`")
    waiting = f"{backlog.unfinished:,} jobs and {backlog.waiting:,} sources wait"
    age_ms = 0 if backlog.oldest_ms is None else it.now_ms - backlog.oldest_ms
    if age_ms > _LATE_MS:
        text = f"{waiting}, the oldest for {age_ms / 60_000:,.1f} minutes"
        remedy = (
            "check that daemon and sensor run (Dagster: Automation); a backlog is worked off, more lanes are quicker"
        )
        yield Finding("work", "warning", text, remedy)
    else:
        yield Finding("work", "ok", waiting)
    if (derived := lags["derived"]).count:
        p50, p95 = derived.p50_ms / 1000, derived.p95_ms / 1000
        yield Finding(
            "work", "ok", f"lag of live jobs of the last hour to stored series: p50 {p50:,.1f} s, p95 {p95:,.1f} s"
        )
