"""What every page and every call of the API needs: the app, rules in force, settings of the process, templates.

Add what several pages share. What one page shows is its own module's; nothing here knows a route.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse

from pyro_assets.app import App, now_ms
from pyro_assets.errors import PyroAssetsError
from pyro_assets.monitoring.metrics import HealthMetrics
from pyro_assets.monitoring.now import alerts, look
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web import words
from pyro_assets.web.rules.watch import RuleWatch
from pyro_assets.web.spans import PRESETS, REFRESHES, asked_refresh, hour_end, length_words
from pyro_assets.web.wire.access import Access
from pyro_assets.web.wire.sessions import Guesses, Sessions
from pyro_assets.web.wire.turns import Turns

if TYPE_CHECKING:
    from pyro_assets.explore.profiles import Explorer
    from pyro_assets.monitoring.doctor import Finding
    from pyro_assets.rules.config import SeriesConfig
    from pyro_assets.rules.in_force import RulesInForce

#: Address and title of what the head of every page links to.
NAVIGATION: Final = (
    ("/explore", "Explore"),
    ("/rules", "Rules"),
    ("/series", "Series"),
    ("/status", "Status"),
    ("/quarantine", "Quarantine"),
    ("/backfills", "Backfills"),
    ("/api", "API"),
)
#: So long what is wrong is not asked for again, for the head of pages.
_FRESH_MS: Final = 10_000
FOLDER: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A file of series as it was read, and what tells whether it has changed since."""

    stamp: tuple[tuple[str, int, int], ...]
    config: "SeriesConfig"


@dataclass
class Site:
    """One web process.

    Attributes:
        app: open; its ledger and archive are used from many threads.
        metrics: what `/metrics` shows.
        config_path: the file or folder of series, "" for none.
        dagster_url, prometheus_url, grafana_url: of these webservers, without a slash at the end; "" where not known.
        speedscope_url: of the page that opens profiles; "" where not known.
        access: who may do what.
        clock: Unix milliseconds.
        watch: how rules are doing.
        sessions, guesses: who has signed in, and who tries to.
        reading: turns of what reads blocks or series of the archive for pages.
        asking: the same for programs of other projects.
        doctor: examines the whole installation; None where this process does not know it.
    """

    app: App
    metrics: HealthMetrics
    config_path: str = ""
    dagster_url: str = ""
    access: Access = field(default_factory=Access)
    clock: Callable[[], int] = now_ms
    doctor: "Callable[[], Sequence[Finding]] | None" = None
    prometheus_url: str = ""
    grafana_url: str = ""
    speedscope_url: str = ""

    def __post_init__(self) -> None:
        for name in ("dagster_url", "prometheus_url", "grafana_url"):
            setattr(self, name, getattr(self, name).rstrip("/"))
        self._parsed: _Parsed | None = None
        self._lock = threading.Lock()
        self._troubled = threading.Lock()
        self._troubles: tuple[int, Mapping[str, int]] | None = None
        self.watch = RuleWatch(self.app)
        self.sessions, self.guesses = Sessions(), Guesses()
        # Two cores are better spent on one large question after the other. Who waits holds a thread of the server.
        self.reading = Turns(2, waiting=8, wait_seconds=20.0)
        # A dashboard of another tool asks for all its panels at once, and waits.
        self.asking = Turns(2, waiting=24, wait_seconds=60.0)
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(words.FILTERS, length_words=length_words, hour_end=hour_end)

    @property
    def read_only(self) -> bool:
        """Whether nothing may be changed from here."""
        return self.access.read_only

    @cached_property
    def explorer(self) -> "Explorer":
        """Answers questions about past profiles, and remembers the last answers."""
        from pyro_assets.explore.profiles import Explorer

        return Explorer(self.app.archive, self.app.ledger)

    def file_config(self) -> "SeriesConfig":
        """What the file says, read again when it has changed; without a file, what none means.

        Raises:
            ConfigError: it is refused.
        """
        from pyro_assets.rules.config import SeriesConfig, load_config

        if not self.config_path:
            return SeriesConfig()
        stamp = _stamp(Path(self.config_path))
        with self._lock:
            if self._parsed is None or self._parsed.stamp != stamp:
                self._parsed = _Parsed(stamp, load_config(self.config_path))
            return self._parsed.config

    def rules(self) -> "RulesInForce":
        """The rules of the file and of the ledger as they are now.

        Raises:
            ConfigError: the file is refused.
        """
        from pyro_assets.rules.in_force import merge_rules

        return merge_rules(self.file_config(), StoredRules(self.app.ledger).rules())

    def config(self) -> "SeriesConfig":
        """The configuration in force; see `rules`."""
        return self.rules().config

    def troubles(self) -> Mapping[str, int]:
        """How much is wrong, by the address of the page that tells more; nothing where the ledger does not answer."""
        now_ms, known = self.clock(), self._troubles
        is_fresh = known is not None and 0 <= now_ms - known[0] < _FRESH_MS
        # No page waits for another one's question to a slow ledger.
        if not is_fresh and self._troubled.acquire(blocking=False):
            try:
                now = look(self.app, now_ms)
                lost = sum(now.unheld.get(state, 0) for state in ("set_aside", "lost"))
                known = now_ms, {"/status": len(alerts(now)), "/quarantine": now.given_up + lost}
            except PyroAssetsError:
                known = now_ms, {}
            finally:
                self._troubles = known
                self._troubled.release()
        return {} if known is None else known[1]

    def page(self, request: Request, template: str, *, status_code: int = 200, **context: Any) -> HTMLResponse:
        """A page from `templates/`, with what `base.html` needs."""
        state = request.state
        shared: Mapping[str, Any] = {
            "navigation": NAVIGATION,
            "troubles": self.troubles(),
            "path": request.url.path,
            "csrf": state.csrf,
            "user": state.user,
            "signed_in": state.signed_in,
            "read_only": self.read_only,
            "dagster_url": self.dagster_url,
            "now_ms": self.clock(),
            "refresh": asked_refresh(request),
            "presets": PRESETS,
            "refreshes": REFRESHES,
        }
        text = self._templates.get_template(template).render(**{**shared, **context})
        # Names may hold halves of surrogate pairs, which no encoding takes.
        return HTMLResponse(words.spell_turns(text).encode("utf-8", "replace"), status_code)


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells whether a file, or a file of a folder, has changed."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            found.append((file.name, -1, -1))
        else:
            found.append((file.name, state.st_mtime_ns, state.st_size))
    return tuple(found)
