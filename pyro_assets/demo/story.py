"""What the demo does, in order: history, servers, live data, a backfill, figures, perhaps the proof, and a summary.

Add a chapter here; how processes are started, asked and shown stands in the neighbouring modules.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pyro_assets.app import App, now_ms, open_app
from pyro_assets.demo import services
from pyro_assets.demo.layout import FUNCTIONS, HISTORY_HOURS, DemoFolder
from pyro_assets.demo.processes import Processes, free_port
from pyro_assets.demo.proof import prove, read_series
from pyro_assets.demo.screen import Screen
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, sending
from pyro_assets.operations.runs import STEPS
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms, parse_block_key
from pyro_assets.web import words
from pyro_assets.web.dagster_client import DagsterClient

_WEBSERVER_PORT: Final = 3000
_PROMETHEUS_PORT: Final = 9090
_WEB_PORT: Final = 9119
_EXPORTED: Final = "exported_series"
_CODE_SERVER_PORT: Final = 4266
_FIGURES_SECONDS: Final = 10.0
_NEWEST_SERIES: Final = 12
_LIVE_SECONDS: Final = 180.0
_DRAIN_SECONDS: Final = 300.0


class Story:
    """One demo from start to end; everything that it starts is in `processes`.

    Args:
        layout: where things are.
        processes: what is started.
        screen: what a person sees.
    """

    def __init__(self, layout: DemoFolder, processes: Processes, screen: Screen) -> None:
        self._layout, self._processes, self._screen = layout, processes, screen
        self._began = time.monotonic()
        self._dagster: DagsterClient | None = None

    def run(self, seconds: float | None) -> bool:
        """Tell it; for ever, or for some seconds (counted from here) and then with a proof.

        Returns:
            Whether the series equal the manifest.

        Raises:
            PyroAssetsError: a process ended or something did not come in time.
        """
        end = float("inf") if seconds is None else time.monotonic() + seconds
        screen, layout, processes = self._screen, self._layout, self._processes
        is_new = self._prepare()
        code_server_port, web_port, port = (
            free_port(preferred) for preferred in (_CODE_SERVER_PORT, _WEB_PORT, _WEBSERVER_PORT)
        )
        layout.prepare(code_server_port)
        prometheus_url = self._prometheus(web_port)
        # Our pages link to Dagster's and start backfills there, and Dagster's link to ours.
        processes.tell(layout.addresses(web_port, port, prometheus_url))
        services.start_code_server(processes, layout, code_server_port)
        history: list[str] = []
        if is_new:
            screen.step(f"making {HISTORY_HOURS} past hours of segments, while Dagster's code server starts")
            services.make_history(processes, layout)
            history = landed_hours(layout.bucket)
        screen.step(f"live segments land in {services.SHARDS} shards; starting Dagster's daemon and pages")
        services.start_generator(processes, layout)
        since, before = hour_of(now_ms()), self._live_jobs()
        self._dagster = dagster = services.start_dagster(processes, layout, code_server_port, port)
        with self._open() as app:
            screen.step("Dagster is there; its sensor looks for segments, and starts the first live run")
            self._wait(lambda: live_jobs(app, since) > before, "the first live series", _LIVE_SECONDS)
            took = words.duration(round(time.monotonic() - self._began))
            screen.step(f"the first live series, {took} after the start")
            self._show(app, since)
            web_url = services.start_web(processes, layout, web_port)
            if history:
                backfill = dagster.start_backfill(
                    [*sorted(STEPS), _EXPORTED], history, "past hours", {"lane": "backfill"}
                )
                screen.step(f"backfill {backfill} of {', '.join(history)}: one run, in a lane of its own")
            screen.places(dagster.url, layout.logs, web_url, prometheus_url)
            self._figures(app, since, end)
            self._settle(app, history)
            if prometheus_url:
                services.stop_reading(processes, layout, prometheus_url, web_port)
            return self._prove(app)

    def leave(self) -> None:
        """Let live runs end in order, and sum up."""
        self._processes.stop(services.GENERATOR)
        if self._dagster is not None:
            services.end_live_runs(self._processes, self._layout, self._dagster)
            with self._open() as app:
                reports = [runs.hour_report(app, hour) for hour in HourRecords(app.ledger).hours()]
            self._screen.summary(reports, round(time.monotonic() - self._began), self._layout.root)

    def _live_jobs(self) -> int:
        """Jobs of this hour that an earlier demo did."""
        if not self._layout.is_used:
            return 0
        with self._open() as app:
            return live_jobs(app, hour_of(now_ms()))

    def _open(self) -> App:
        layout = self._layout
        return open_app(
            str(layout.bucket), str(layout.archive), layout.ledger_url, receivers_file=str(layout.receivers)
        )

    def _prepare(self) -> bool:
        """Whether the demo begins anew; what an earlier one left is removed only by somebody's wish."""
        if self._layout.is_used:
            self._screen.step(f"going on with what an earlier demo left in {self._layout.root}, rules among it")
            self._screen.note("make demo FRESH=1 begins anew")
            return False
        self._layout.clear()
        return True

    def _prometheus(self, web_port: int) -> str:
        """Where the demo's own Prometheus is; says what is missing without."""
        program = services.prometheus_program()
        if program is None:
            self._screen.note(
                "There is no `prometheus` on the path: series are made and shown, but sent to nobody. What it costs: "
                "no graph, no lag up to a receiver, and at the end nothing is compared with what a receiver holds."
            )
            return ""
        port = free_port(_PROMETHEUS_PORT)
        self._layout.prepare_prometheus(port, web_port)
        return services.start_prometheus(self._processes, self._layout, program, port)

    def _show(self, app: App, since: str) -> None:
        """The newest series, of every tenant and of both kinds, and the lag."""
        self._screen.newest_series(selection(read_series(self._layout.archive).rows(named=True), _NEWEST_SERIES))
        self._screen.figures(newest(app, since) or HourReport(since))

    def _figures(self, app: App, since: str, end: float) -> None:
        """A line every ten seconds until the end; a process that ends by itself ends the demo."""
        while (left := end - time.monotonic()) > 0:
            waited = time.monotonic() + min(_FIGURES_SECONDS, left)
            while time.monotonic() < waited:
                self._processes.check()
                time.sleep(0.25)
            self._screen.figures(newest(app, since) or HourReport(since))

    def _settle(self, app: App, history: Sequence[str]) -> None:
        """Stop the generator, and let the rest be processed, the backfill included."""
        self._screen.step("stopping the generator; what has landed is still processed")
        self._processes.stop(services.GENERATOR)
        landed = sum(1 for _ in self._layout.bucket.rglob("block.bin"))

        def processed() -> bool:
            reports = [runs.hour_report(app, hour) for hour in {*HourRecords(app.ledger).hours(), *history}]
            return sum(report.segments for report in reports) >= landed and not any(map(is_undone, reports))

        self._wait(processed, "the rest of the segments", _DRAIN_SECONDS)

    def _prove(self, app: App) -> bool:
        """Compare everything with the manifest, and what the receiver holds with the archive."""
        self._screen.step("comparing all series in the archive with the generator's manifest")
        proof = prove(self._layout.archive, self._layout.manifest, FUNCTIONS)
        self._screen.proof(proof)
        return self._reconcile(app) and proof.equal

    def _reconcile(self, app: App) -> bool:
        """Ask the receiver, where there is one, for what it holds."""
        reports = [runs.hour_report(app, hour) for hour in HourRecords(app.ledger).hours()]
        self._screen.exports(reports)
        are_equal = True
        for receiver in app.receivers():
            self._screen.step(f"asking {receiver.name} for every sample it holds")
            begin_ms, end_ms = hour_start_ms(reports[0].hour), hour_start_ms(reports[-1].hour) + HOUR_MS
            found = sending.reconcile(app, receiver.name, begin_ms, end_ms)
            self._screen.reconciled(receiver.name, found.compared, [str(example) for example in found.examples])
            are_equal = are_equal and found.is_equal
        return are_equal

    def _wait(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        self._processes.wait_until(ready, what, seconds)


def landed_hours(bucket: Path) -> list[str]:
    """The hours of all segments in a bucket that is a folder, oldest first."""
    keys = (path.relative_to(bucket).as_posix() for path in bucket.rglob("block.bin"))
    return sorted({parse_block_key(key).hour for key in keys})


def live_jobs(app: App, since: str) -> int:
    """Jobs with series, of the hours since one."""
    return sum(derived(runs.hour_report(app, hour)) for hour in HourRecords(app.ledger).hours()[-2:] if hour >= since)


def newest(app: App, since: str) -> HourReport | None:
    """The latest hour with live series, of those since one; None while there are none."""
    reports = [runs.hour_report(app, hour) for hour in HourRecords(app.ledger).hours()[-2:] if hour >= since]
    return next((report for report in reversed(reports) if derived(report)), None)


def selection(rows: Sequence[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    """The newest row of each tenant and metric, tenants and kinds of series taking turns; zeros are left out.

    Args:
        rows: series, newest last.
        limit: how many rows at most.
    """
    newest = {(row["tenant"], row["metric"]): row for row in rows if row["value"]}
    turns: Counter[tuple[str, bool]] = Counter()
    ranked = []
    for (tenant, metric), row in sorted(newest.items(), key=lambda item: -item[1]["timestamp_ms"]):
        of_function = "_functions_" in metric
        turns[tenant, of_function] += 1
        ranked.append(((turns[tenant, of_function], of_function, tenant, metric), row))
    return [row for _, row in sorted(ranked, key=lambda item: item[0])[:limit]]


def derived(report: HourReport) -> int:
    """Jobs of an hour whose series are in the archive."""
    return sum(report.jobs_by_state.get(state, 0) for state in ("derived", "exported"))


def is_undone(report: HourReport) -> bool:
    """Whether something of an hour is left to be done or sent."""
    return report.pending > 0 or report.undone_jobs > 0 or any(one.pending for one in report.exports)
