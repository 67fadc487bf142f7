"""What a pipeline is made of, and what all that can be done with it stands on.

Add an attribute here when several of the neighbouring method modules need it; what a face calls belongs there.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from pyro_assets.errors import SettingsError
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.pipeline.engine import Engine
from pyro_assets.pipeline.reports import RulesReport
from pyro_assets.pipeline.settings import Settings
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket

if TYPE_CHECKING:
    from pyro_assets.export.receivers import Receiver
    from pyro_assets.pipeline.work import Trust
    from pyro_assets.series.config import SeriesConfig


def now_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Parts:
    """Source bucket, archive, ledger, settings, rules and receivers. Cheap to make."""

    def __init__(
        self,
        source: ReadOnlyBucket,
        archive: Bucket,
        ledger: Ledger,
        settings: Settings | None = None,
        config: "SeriesConfig | None" = None,
        *,
        rules: RulesReport | None = None,
        file_hash: str = "",
        engine: Engine | None = None,
        receivers: "Sequence[Receiver] | None" = None,
        receivers_file: str = "",
        secrets: Mapping[str, str] | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._source = source
        self._archive = archive
        self._ledger = ledger
        self._settings = settings if settings is not None else Settings()
        self._config = config
        self._rules = rules
        self._file_hash = file_hash
        self._engine = engine if engine is not None else Engine()
        self._receivers = None if receivers is None and receivers_file else tuple(receivers or ())
        self._receivers_file = receivers_file
        self._secrets: Mapping[str, str] = secrets if secrets is not None else {}
        self._clock = clock
        self._known: Trust | None = None

    @property
    def ledger(self) -> Ledger:
        """The ledger, for faces that show what it knows."""
        return self._ledger

    @property
    def settings(self) -> Settings:
        """How jobs are planned and done."""
        return self._settings

    @property
    def archive(self) -> Bucket:
        """The archive, for faces that read blocks and series."""
        return self._archive

    def receivers(self) -> "tuple[Receiver, ...]":
        """Who gets series.

        Raises:
            ConfigError: the file of receivers is refused.
        """
        if self._receivers is None:
            from pyro_assets.export.receivers_file import load_receivers

            self._receivers = tuple(load_receivers(self._receivers_file).receivers)
        return self._receivers

    def receiver(self, name: str) -> "Receiver":
        """The receiver of a name.

        Raises:
            ConfigError, SettingsError: there is none.
        """
        found = next((one for one in self.receivers() if one.name == name), None)
        if found is None:
            raise SettingsError(f"there is no receiver {name!r}; `pyro-assets receivers list` shows them")
        return found

    def receiver_starts(self) -> dict[str, int]:
        """Receiver -> the time from which on it gets samples by itself, Unix ms.

        Raises:
            ConfigError: the file of receivers is refused.
        """
        return {receiver.name: self._start_ms(receiver) for receiver in self.receivers()}

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self._ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start_ms(self, receiver: "Receiver") -> int:
        from pyro_assets.pipeline.exporting import start_ms_of

        return start_ms_of(self._ledger, receiver, self._clock())

    def _guard(self) -> None:
        from pyro_assets.pipeline.rebuilding import guard

        guard(self._ledger, self._archive)
