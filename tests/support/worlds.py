"""A whole pipeline in memory, with a clock of its own and objects of text, for tests of ticks, jobs and faults."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection

from pyro_assets.app import App
from pyro_assets.ledger.database import Ledger
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.runs import STEPS
from pyro_assets.settings import Settings
from pyro_assets.storage.keys import parse_block_key, segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledgers import HOUR, NOW_MS, ledger_file

SETTINGS = Settings(job_blocks=3, max_attempts=3)


class FaultyLedger(Ledger):
    """A ledger whose process can die at every transaction.

    Attributes:
        writes: transactions that wrote so far.
        kill_at: the process dies before this transaction begins (even), or before it commits (odd), counted in halves.
    """

    writes = 0
    kill_at: int | None = None

    @contextmanager
    def write(self, *, planning: bool = False) -> Iterator[Connection]:
        self._half()
        with super().write(planning=planning) as connection:
            yield connection
            self._half()

    def _half(self) -> None:
        self.writes += 1
        if self.kill_at == self.writes - 1:
            raise fakes.Killed(f"ledger, half {self.kill_at}")


class World:
    """Source, archive, ledger, engine and clock; several pipelines may share them."""

    def __init__(self, folder: Path, settings: Settings = SETTINGS, ledger_url: str | None = None) -> None:
        self.folder = folder
        self.settings = settings
        self.source = fakes.MemoryBucket(url="memory://source")
        self.archive = self.open_archive(folder)
        self.ledger = FaultyLedger.open(ledger_url or ledger_file(folder / "ledger.db"))
        self.engine = fakes.TextEngine()
        self.clock = fakes.Clock(NOW_MS)
        self.started_ms = NOW_MS
        self.pipeline = self.open()

    def copy(self, folder: Path) -> Self:
        """Another world in a new folder in which the same has happened, for tests of every point of what is next."""
        folder.mkdir()
        self.ledger.close()  # then all is in the file
        shutil.copy(self.folder / "ledger.db", folder)
        made = type(self)(folder, self.settings)
        made.source.objects |= self.source.objects
        made.archive.objects |= self.archive.objects
        made.clock.now_ms = self.clock.now_ms
        return made

    def open_archive(self, folder: Path) -> fakes.MemoryBucket:
        """The archive, empty."""
        return fakes.MemoryBucket(url="memory://archive")

    def open(self, config: str = "plain", settings: Settings | None = None) -> App:
        """A pipeline over the same things."""
        text_config = fakes.TextConfig(name=config)
        return App(
            self.source,
            self.archive,
            self.ledger,
            # What is in memory here does not travel to another process.
            (settings or self.settings).model_copy(update={"job_seconds": 0.0}),
            text_config,
            engine=self.engine.engine,
            clock=self.clock,
        )

    def segment(self, seconds: float, text: str = "acme 5", shard: int = 4, salt: int = 0) -> str:
        """Puts a segment that was created so many seconds after NOW_MS; returns its key."""
        key = segment_key(shard, make_ulid(NOW_MS + round(seconds * 1000), salt.to_bytes(10)))
        self.source.objects[key] = text.encode()
        return key

    def tick_and_run(self, pipeline: App | None = None, hours: Sequence[str] = (HOUR,), **how: Any) -> HourReport:
        """One tick, one run, the report of the first hour."""
        ticks.tick(pipeline or self.pipeline)
        return runs.run((pipeline or self.pipeline), hours, how.pop("steps", STEPS), run_id="run", **how)[hours[0]]

    def blocks(self) -> dict[str, bytes]:
        return self._below("blocks/")

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(data) for data in self._below("commits/").values()]

    def series(self, kind: str = "dimension") -> list[dict[str, Any]]:
        return [row for data in self._below(f"series/kind={kind}/").values() for row in json.loads(data)]

    def archived_values(self) -> list[tuple[bytes, int]]:
        """(tenant, value) of every sample in a block that a commit record names: what a reader of the archive sees."""
        values = []
        for record in self.records():
            for output in record["outputs"]:
                for line in self.archive.objects[output["key"]].split(b"\n")[1:]:
                    tenant, value = line.split(b" ")
                    values.append((tenant, int(value)))
        return sorted(values)

    def source_values(self) -> list[tuple[bytes, int]]:
        """(tenant, value) of every line of every good segment."""
        lines = [line for data in self.source.objects.values() if data for line in data.split(b"\n")]
        pairs = [line.split(b" ") for line in lines if not line.startswith((b"broken", b"level"))]
        return sorted((tenant, int(value)) for tenant, value in pairs)

    def state_of(self, key: str) -> str:
        """The state of a source."""
        with self.ledger.read() as connection:
            return str(connection.exec_driver_sql(f"SELECT state FROM sources WHERE key = '{key}'").scalar())

    def _below(self, prefix: str) -> dict[str, bytes]:
        return {key: data for key, data in sorted(self.archive.objects.items()) if key.startswith(prefix)}


def hour_of_key(key: str) -> str:
    return parse_block_key(key).hour
