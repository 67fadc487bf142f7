"""The doctor: checks everything that an installation needs, and says of each problem what to do about it.

Add a check when something can be wrong that a person would otherwise find out late. A check never raises and changes
nothing, except that one small object is written to the archive to see whether that is allowed.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

from pyro_assets.archive.merge import hours_to_merge
from pyro_assets.archive.rebuild import guard
from pyro_assets.archive.retain import orphaned_blocks
from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.archive.table import ArchiveTable
from pyro_assets.errors import PyroAssetsError, SettingsError, StorageError, TableUnavailable
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.lag import LagRecords
from pyro_assets.ledger.migrate import VERSION
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.monitoring.configurations import ConfigurationRecords, contradictions, values_of
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.listing import what_is_missing
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.tick import measure
from pyro_assets.settings import KINDS, Settings
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, HOUR_MS, PROBE, SEGMENTS, hour_of, parse_block_key
from pyro_assets.storage.ulid import first_ulid, is_ulid, ulid_time_ms

__all__ = ["Finding", "Installation", "examine"]

Level = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of one check; `remedy` is "" where nothing is to be done."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """The installation that is checked.

    Attributes:
        source_url, archive_url, ledger_url: where things are.
        settings: makes the settings; whatever it raises is a finding.
        load_config, load_receivers: read their files and return how many rules and receivers there are.
        dagster_home: the folder of Dagster's configuration, None when it is not set.
        now_ms: Unix milliseconds.
    """

    source_url: str
    archive_url: str
    ledger_url: str
    settings: Callable[[], Settings]
    load_config: Callable[[], str]
    load_receivers: Callable[[], str]
    dagster_home: Path | None
    now_ms: int


#: What live and backfill runs rely on; the reasons stand in the project's own dagster.yaml.
_DAGSTER: Final = ("run_coordinator", "run_monitoring", "run_retries", "retention")
#: The first is ours; with Dagster's own, runs of single hours from the asset graph have no limit.
_QUEUES: Final = ("LaneRunCoordinator", "QueuedRunCoordinator")
#: What Dagster's queue has where nothing is said.
_QUEUE_PLACES: Final = 10


def check_dagster(it: Installation) -> Iterator[Finding]:
    """Whether dagster.yaml queues, limits, watches and retries runs, and purges ticks."""
    copy = "copy resources/dagster.yaml there"
    if it.dagster_home is None:
        yield Finding("Dagster", "warning", "DAGSTER_HOME is not set", f"set it to a folder that stays, and {copy}")
        return
    path = it.dagster_home / "dagster.yaml"
    if not path.is_file():
        yield Finding("Dagster", "problem", f"{path} does not exist: runs are neither queued nor watched", copy)
        return
    import yaml

    try:
        found: Any = yaml.safe_load(path.read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding("Dagster", "problem", f"{path} is no YAML: {error}", copy)
        return
    missing = [name for name in _DAGSTER if name not in found]
    if missing:
        yield Finding("Dagster", "warning", f"{path} has no {', '.join(missing)}", f"{copy}, or add these sections")
    limits = ((found.get("run_coordinator") or {}).get("config") or {}).get("tag_concurrency_limits") or []
    if not any(isinstance(limit, dict) and limit.get("key") == "lane" for limit in limits):
        text = f"{path} limits no lane: two live runs at a time only get into each other's way"
        yield Finding(
            "Dagster", "warning", text, "add tag_concurrency_limits for the key lane, as resources/dagster.yaml"
        )
    elif not missing:
        yield Finding("Dagster", "ok", f"{path} queues, watches and retries runs")
    yield from _values(path, found)
    yield from _room(path, found, it)


def _room(path: Path, found: dict[str, Any], it: Installation) -> Iterator[Finding]:
    """Whether every lane finds a place at the same time: otherwise live runs may wait for others."""
    config = (found.get("run_coordinator") or {}).get("config") or {}
    places, backfill_runs = config.get("max_concurrent_runs", _QUEUE_PLACES), config.get("backfill_runs", 1)
    try:
        needed = 3 * it.settings().lanes + 2 + 3 * int(backfill_runs)
        is_short = 0 <= int(places) < needed
    except (SettingsError, TypeError, ValueError):
        return  # what they refer to is known elsewhere, or told by another check
    if is_short:
        text = f"{path} has room for {places} runs at the same time; all lanes together need {needed}: live may wait"
        yield Finding("Dagster", "warning", text, f"set max_concurrent_runs: {needed}, or fewer backfill_runs or lanes")


def _values(path: Path, found: dict[str, Any]) -> Iterator[Finding]:
    """Sections that are there and do not do what is relied on."""
    monitoring = found.get("run_monitoring")
    if isinstance(monitoring, dict) and not (monitoring.get("enabled") and monitoring.get("max_runtime_seconds")):
        text = f"{path} does not end runs whose machine died: such a one stays started, and its lane waits for ever"
        yield Finding("Dagster", "problem", text, "set run_monitoring: {enabled: true, max_runtime_seconds: 21600}")
    coordinator = found.get("run_coordinator")
    if isinstance(coordinator, dict) and coordinator.get("class") not in _QUEUES:
        text = f"{path} starts runs at once instead of queueing them: no limit of a lane holds"
        yield Finding("Dagster", "problem", text, "use the LaneRunCoordinator, as resources/dagster.yaml")
    retention = found.get("retention")
    for kind in ("sensor", "schedule"):
        if isinstance(retention, dict) and "purge_after_days" not in (retention.get(kind) or {}):
            text = f"{path} keeps every tick of a {kind} for ever: some thousands a day"
            yield Finding("Dagster", "warning", text, f"set {kind}: purge_after_days there, as resources/dagster.yaml")


_FREE_BYTES: Final = 1 << 30
_FREE_SHARE: Final = 0.05
_DAY_MS: Final = 24 * HOUR_MS
#: Less room than for this many days is a reason to act.
_SHORT_DAYS: Final = 14.0
_MANY_HOURS: Final = 24
_MANY_ORPHANS: Final = 1_000
_MIB: Final = 2**20


def check_disk(it: Installation) -> Iterator[Finding]:
    """Room for archive, ledger and Dagster, where they lie in folders."""
    folders = {}
    for name, place in (("archive", place_of(it.archive_url)), ("ledger", _ledger_folder(it.ledger_url))):
        if place.startswith("file:"):
            folders[name] = Path(place.removeprefix("file:"))
    if it.dagster_home is not None:
        folders["Dagster"] = it.dagster_home
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        text = f"{name}: {usage.free / 2**30:,.1f} GiB of {usage.total / 2**30:,.1f} GiB free at {there}"
        if usage.free < max(_FREE_BYTES, _FREE_SHARE * usage.total):
            yield Finding(
                "disk", "warning", text, "make room, or move it: a full disk stops the work (nothing is lost)"
            )
        else:
            yield Finding("disk", "ok", text)


def _ledger_folder(url: str) -> str:
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url
    return "" if "://" in path else f"file:{Path(path).absolute().parent}"


def check_growth(it: Installation) -> Iterator[Finding]:
    """The growth of archive and ledger in a day, and for how many days the disk has room."""
    with closing(Ledger.open(it.ledger_url)) as ledger:
        # The running hour is what a new installation has.
        day = UpkeepRecords(ledger).growth(hour_of(it.now_ms - _DAY_MS + HOUR_MS), hour_of(it.now_ms + HOUR_MS))
    if not day.sources:
        return
    text = (
        f"the last 24 hours, with the running one, added {day.sources:,} sources, "
        f"{day.block_bytes / _MIB:,.1f} MiB of blocks and {day.series_bytes / _MIB:,.1f} MiB of series"
    )
    place = place_of(it.archive_url)
    added = day.block_bytes + day.series_bytes
    if not place.startswith("file:") or not added:
        yield Finding("growth", "ok", text)
        return
    folder = Path(place.removeprefix("file:"))
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    days = free / added
    text += f"; at that pace the archive's disk has room for {days:,.0f} days"
    if days < _SHORT_DAYS:
        remedy = "make room, or say how long blocks and series are kept: `pyro-assets retention` lists what would go"
        yield Finding("growth", "warning", text, remedy)
    else:
        yield Finding("growth", "ok", text)


def check_upkeep(it: Installation) -> Iterator[Finding]:
    """Damaged objects, hours that wait for the table, and objects that dead writers left."""
    archive = open_bucket(it.archive_url, True)
    with closing(Ledger.open(it.ledger_url)) as ledger:
        unmerged = hours_to_merge(ledger, it.now_ms, it.settings().settle_ms)
        # Of a day, until an hour ago: a job may be between its blocks and its record.
        found = orphaned_blocks(archive, ledger, it.now_ms, it.now_ms - HOUR_MS, _DAY_MS)
        orphans = list(islice(found, _MANY_ORPHANS))
        damaged = ScrubRecords(ledger).damaged()
    if damaged:
        text = f"{len(damaged):,} objects of the archive changed or vanished, {damaged[0].key} first"
        remedy = "`pyro-assets verify --archive --repair` puts back what can be put back; restore the rest from a copy"
        yield Finding("upkeep", "problem", text, remedy)
    yield _check_table(ArchiveTable(archive), len(unmerged))
    left = [*archive.unfinished(it.now_ms - _DAY_MS), *orphans]
    if left:
        size = sum(item.size_bytes for item in left) / _MIB
        text = f"{len(left):,} objects ({size:,.1f} MiB) were left by writers that died; nobody reads them"
        remedy = "remove them by `pyro-assets retention --keep-temporary-days 1`, then with --apply"
        yield Finding("upkeep", "warning", text, remedy)


def _check_table(table: ArchiveTable, unmerged: int) -> Finding:
    """Whether closed hours of series get into the table that other tools read."""
    if table.why_not:
        remedy = "nothing need be done: readers find one file per job under series/; a folder or s3:// can have a table"
        return Finding("table", "warning", f"hours of series enter no table: {table.why_not}", remedy)
    try:
        hours = len(table.files())
    except TableUnavailable as error:
        remedy = (
            "restore series_table/_delta_log from a copy; or move it away and call `pyro-assets verify --archive` and "
            "`pyro-assets retention --apply`: all hours enter a new one"
        )
        return Finding("table", "problem", str(error), remedy)
    text = f"{hours:,} hours of series are in the table, {unmerged:,} that are over wait for it"
    if unmerged > _MANY_HOURS:
        remedy = "let the schedule merge_every_hour run, or call `pyro-assets retention --apply` every day"
        return Finding("table", "warning", text, remedy)
    return Finding("table", "ok", text)


_LATE_MS: Final = 60_000
#: Where nothing is younger than this, Pyroscope seems to be down.
_RECENT_MS: Final = 600_000
#: So many of the source's objects are read: one that is not given out is no matter of the bucket.
_LOOKED_AT: Final = 3
_PACKAGES: Final = ("dagster", "pyarrow", "polars", "sqlalchemy", "fsspec")
#: The first SQLite that has all the statements that are used.
_SQLITE: Final = (3, 35)


def examine(it: Installation) -> list[Finding]:
    """All findings; a check comes after those that it depends on."""
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
    text = f"mode {settings.compaction}, dedup {settings.dedup}, from {settings.start_date}"
    yield Finding("configuration", "ok", text)
    for load in (it.load_config, it.load_receivers):
        yield Finding("configuration", "ok", load())


def _source(it: Installation) -> Iterator[Finding]:
    source = open_bucket(it.source_url)
    wanted = SEGMENTS if it.settings().compaction == "own" else BLOCKS
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
    with closing(Ledger.open(it.ledger_url)) as ledger:
        guard(ledger, open_bucket(it.archive_url))
        # A write that changes nothing.
        SourceRecords(ledger).drop_cursors("doctor")
    yield Finding("ledger", "ok", f"it can be read and written, and has schema version {VERSION}")


def _configurations(it: Installation) -> Iterator[Finding]:
    with closing(Ledger.open(it.ledger_url)) as ledger:
        seen = ConfigurationRecords(ledger).configurations(it.now_ms - _RECENT_MS)
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
        yield Finding("clock", "ok", f"the newest object is {max(-ahead, 0) / 1000:.1f} s old")


def _newest_ms(source: ReadOnlyBucket, it: Installation) -> int | None:
    """From the ledger's cursors on: a bucket cannot be listed backwards."""
    with closing(Ledger.open(it.ledger_url)) as ledger:
        cursors = SourceRecords(ledger).cursors()
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
    if it.settings().compaction == "observe":
        yield Finding("mode", "ok", life.sentence)
    elif life.is_short:
        text = f"{life.sentence}: an outage of ours that is longer loses profiles"
        yield Finding("mode", "problem", text, observe)
    elif not life.deletes:
        yield Finding("mode", "warning", life.sentence, f"find out when it will: {observe}")
    else:
        yield Finding("mode", "ok", life.sentence)


def _work(it: Installation) -> Iterator[Finding]:
    with closing(Ledger.open(it.ledger_url)) as ledger:
        backlog = DueJobs(ledger).backlog(it.now_ms, KINDS)
        given_up = QuarantineRecords(ledger).quarantined()["job"]
        retried = [
            one for one in QuarantineRecords(ledger).kept_failures() if one.subject == "job" and not one.given_up
        ]
        unheld = Pardons(ledger).count_unheld()
        lags = LagRecords(ledger).lag(it.now_ms - HOUR_MS, it.now_ms + 1)
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
