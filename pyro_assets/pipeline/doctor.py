"""A look at everything that an installation needs: what is wrong, and what to do about it.

Add a check when something can be wrong that a person would otherwise find out late. A check never raises and changes
nothing, except that one small object is written to the archive to see whether that is allowed.
"""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, Literal

from pyro_assets.errors import PyroAssetsError, StorageError
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.pipeline.lifetimes import measure
from pyro_assets.pipeline.rebuilding import guard
from pyro_assets.pipeline.settings import KINDS, Settings
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, PROBE, SEGMENTS, parse_block_key
from pyro_assets.storage.ulid import first_ulid, is_ulid, ulid_time_ms

Level = Literal["ok", "warning", "problem"]

_FREE_BYTES: Final = 1 << 30
_FREE_SHARE: Final = 0.05
_LATE_MS: Final = 60_000
#: Where nothing is younger than this, Pyroscope seems to be down.
_RECENT_MS: Final = 600_000
_PACKAGES: Final = ("dagster", "pyarrow", "polars", "sqlalchemy", "fsspec")
#: The first SQLite that has all the statements that are used.
_SQLITE: Final = (3, 35)
#: What live and backfill runs rely on; the reasons stand in the project's own dagster.yaml.
_DAGSTER: Final = ("run_coordinator", "run_monitoring", "run_retries", "retention")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `remedy` is "" where nothing is to be done."""

    check: str
    level: Level
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Installation:
    """What is examined.

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


def examine(it: Installation) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    checks: list[tuple[str, Callable[[Installation], Iterator[Finding]]]] = [
        ("versions", _versions),
        ("configuration", _configuration),
        ("source", _source),
        ("archive", _archive),
        ("ledger", _ledger),
        ("clock", _clock),
        ("mode", _mode),
        ("disk", _disk),
        ("Dagster", _dagster),
        ("work", _work),
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
    if wanted not in folders:
        there = ", ".join(folders[:5]) or "nothing"
        remedy = f"name Pyroscope's bucket, with the prefix under which it keeps {wanted}/, or start Pyroscope"
        yield Finding("source", "warning", f"{it.source_url} has no folder {wanted}/ (but {there})", remedy)
        return
    shards = source.list_folder(f"{wanted}/").folders
    yield Finding("source", "ok", f"{it.source_url} can be listed: {len(shards)} shards")
    first = source.list_after(f"{wanted}/", "", 1)
    if first:
        source.get_range(first[0].key, 0, min(16, first[0].size_bytes))
        yield Finding("source", "ok", "its objects can be read")


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
    yield Finding("ledger", "ok", "it can be read and written, and has this version's schema")


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


def _disk(it: Installation) -> Iterator[Finding]:
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


def _dagster(it: Installation) -> Iterator[Finding]:
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


def _work(it: Installation) -> Iterator[Finding]:
    ledger = Ledger.open(it.ledger_url)
    try:
        backlog = ledger.backlog(it.now_ms, KINDS)
        given_up = [kept for kept in ledger.kept_failures() if kept.subject == "job" and kept.given_up]
        unheld = ledger.count_unheld()
    finally:
        ledger.close()
    lists = "`pyro-assets quarantine list` names them; then retry, release or forget"
    if given_up:
        yield Finding("work", "problem", f"{len(given_up):,} jobs were given up", lists)
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
