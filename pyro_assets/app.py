"""What every face works with: buckets, ledger, settings, rules and receivers, as one frozen value.

Add a field when several functions of `operations` need it; what is done with them stands there and in the rooms.
"""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pyro_assets.errors import SettingsError
from pyro_assets.jobs.counts import Trust
from pyro_assets.jobs.derive import Engine
from pyro_assets.ledger.database import Ledger
from pyro_assets.rules.report import RulesReport
from pyro_assets.rules.stored import StoredRules
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket

if TYPE_CHECKING:
    from pyro_assets.receivers.model import Receiver
    from pyro_assets.rules.config import SeriesConfig


def now_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def _no_receivers() -> "Sequence[Receiver]":
    return ()


def _receivers_of(file: str) -> "Callable[[], Sequence[Receiver]]":
    """Who gets series by a file, which is read when it is first needed: ticks do without its parser."""

    @functools.cache
    def load() -> "Sequence[Receiver]":
        from pyro_assets.receivers.file import load_receivers

        return load_receivers(file).receivers

    return load


@dataclass(frozen=True)
class App:
    """Source bucket, archive, ledger, settings, rules and receivers. Cheap to make; close it, or use it in a `with`.

    Attributes:
        source: Pyroscope's bucket, only ever read.
        archive: where level-1 blocks, commit records and series go.
        ledger: every source, job, output and receipt.
        settings: how jobs are planned and done.
        config: which series to derive; None where only ticks and reports are wanted.
        rules: what reports say of the rules in force.
        file_hash: of the file of rules.
        engine: the functions of compaction and series that a job calls.
        receivers: who gets series; reads the file when it is first needed, and raises ConfigError where it is refused.
        secrets: where receivers' references to environment variables are looked up.
        clock: Unix milliseconds.
        trust: whether this process has done a job yet.
    """

    source: ReadOnlyBucket
    archive: Bucket
    ledger: Ledger
    settings: Settings = field(default_factory=Settings)
    config: "SeriesConfig | None" = None
    rules: RulesReport | None = None
    file_hash: str = ""
    engine: Engine = field(default_factory=Engine)
    receivers: "Callable[[], Sequence[Receiver]]" = _no_receivers
    secrets: Mapping[str, str] = field(default_factory=dict)
    clock: Callable[[], int] = now_ms
    trust: Trust = field(default_factory=Trust)

    def receiver(self, name: str) -> "Receiver":
        """The receiver of a name.

        Raises:
            ConfigError, SettingsError: there is none.
        """
        found = next((one for one in self.receivers() if one.name == name), None)
        if found is None:
            raise SettingsError(f"there is no receiver {name!r}; `pyro-assets receivers list` shows them")
        return found

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def open_app(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    *,
    settings: Settings | None = None,
    config: "SeriesConfig | None" = None,
    receivers_file: str = "",
    secrets: Mapping[str, str] | None = None,
    clock: Callable[[], int] = now_ms,
) -> App:
    """Opens buckets and ledger (made where missing). Close the app, or use it as a context manager.

    Args:
        source_url: Pyroscope's bucket, only ever read: a folder or an fsspec URL such as `s3://bucket/prefix`.
        archive_url: where level-1 blocks, commit records and series go.
        ledger_url: an SQLAlchemy URL, or a path for SQLite.
        settings: see `Settings`.
        config: which series to derive, beside the ledger's rules as they are now; may be None where only ticks and
            reports are wanted.
        receivers_file: the YAML file of receivers, read when it is needed; "" for none.
        secrets: where receivers' references to environment variables are looked up.
        clock: Unix milliseconds.

    Raises:
        SettingsError: source and archive are the same place, or one lies inside the other.
        StorageUnavailable, LedgerUnavailable, SchemaMismatch.
    """
    ends = [place_of(source_url), place_of(archive_url)]
    if ends[0].startswith(ends[1]) or ends[1].startswith(ends[0]):
        raise SettingsError(
            f"source {source_url!r} and archive {archive_url!r} are the same place, or one lies inside the other; "
            "the source is never written to, so name another archive"
        )
    source = open_bucket(source_url)
    archive = open_bucket(archive_url, True)
    ledger = Ledger.open(ledger_url)
    rules, file_hash = None, ""
    if config is not None:
        from pyro_assets.rules.in_force import merge_rules

        file_hash = config.hash
        in_force = merge_rules(config, StoredRules(ledger).rules())
        config, rules = in_force.config, in_force.report()
    return App(
        source,
        archive,
        ledger,
        settings if settings is not None else Settings(),
        config,
        rules,
        file_hash,
        receivers=_receivers_of(receivers_file) if receivers_file else _no_receivers,
        secrets=secrets if secrets is not None else {},
        clock=clock,
    )
