"""How rules are doing, remembered for a while, because every page of rules asks and looking costs seconds.

Add what the list of rules shows and what is slow to find. What it means is `explore.standing`'s.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from pyro_assets.app import App
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs

if TYPE_CHECKING:
    from pyro_assets.explore.standing import Standings
    from pyro_assets.rules.config import SeriesConfig

_FRESH_MS: Final = 15_000
_COSTS_FRESH_MS: Final = 3_600_000
#: A page waits so long for costs that are not known yet; the next one shows the rest.
_BUDGET_SECONDS: Final = 1.0


class RuleWatch:
    """Remembers; safe to be asked by several threads."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._standings: tuple[int, Standings] | None = None
        self._left_out: tuple[int, str, Mapping[str, int]] | None = None
        self._costs: dict[str, tuple[int, float]] = {}

    def standings(self, now_ms: int) -> "Standings":
        """Series, samples and exports of the last hour.

        Raises:
            LedgerUnavailable: nothing is known right now.
        """
        from pyro_assets.explore.standing import standings

        with self._lock:
            if self._standings is None or not 0 <= now_ms - self._standings[0] < _FRESH_MS:
                self._standings = now_ms, standings(self._app.archive, self._app.ledger, now_ms)
            return self._standings[1]

    def left_out(self, now_ms: int) -> tuple[str, Mapping[str, int]]:
        """The newest hour, and what its jobs left out, by the names of their facts; "" without any hour.

        Raises:
            LedgerUnavailable: nothing is known right now.
        """
        with self._lock:
            if self._left_out is None or not 0 <= now_ms - self._left_out[0] < _FRESH_MS:
                hour = "".join(HourRecords(self._app.ledger).hours()[-1:])
                self._left_out = now_ms, hour, runs.hour_report(self._app, hour).facts if hour else {}
            return self._left_out[1:]

    def costs(self, config: "SeriesConfig", now_ms: int) -> Mapping[str, float]:
        """CPU milliseconds per job by the rule's id, as far as they are known.

        Raises:
            StorageError, BlockError, LedgerUnavailable: they cannot be measured.
        """
        from pyro_assets.explore.standing import measure_costs, parts_of

        parts = parts_of(config)
        keys = {name: part.hash for name, part in parts.items()}
        with self._lock:
            known = {key: found for key, found in self._costs.items() if 0 <= now_ms - found[0] < _COSTS_FRESH_MS}
            lacking = [name for name, key in keys.items() if key not in known]
            if lacking:
                measured = measure_costs(
                    self._app.archive,
                    self._app.ledger,
                    parts,
                    wanted=lacking,
                    budget_seconds=_BUDGET_SECONDS,
                )
                known |= {keys[name]: (now_ms, cost) for name, cost in measured.items()}
            self._costs = known
        return {name: known[key][1] for name, key in keys.items() if key in known}
