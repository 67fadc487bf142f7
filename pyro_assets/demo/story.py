"""What the demo does, in order: history, servers, a backfill, live data, figures, and perhaps the proof.

Add a chapter here; how processes are started, asked and shown stands in the neighbouring modules.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from pyro_assets.app import App, now_ms, open_app
from pyro_assets.demo import services
from pyro_assets.demo.layout import FUNCTIONS, DemoFolder
from pyro_assets.demo.processes import Processes, free_port
from pyro_assets.demo.proof import prove, read_series
from pyro_assets.demo.screen import Screen
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, sending
from pyro_assets.operations.runs import STEPS
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
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
    """One demo from start to end; everything that it starts is in `processes`."""

    def __init__(self, layout: DemoFolder, processes: Processes, screen: Screen) -> None:
        self._layout, self._processes, self._screen = layout, processes, screen

    def run(self, seconds: float | None) -> bool:
        """Tell it; for ever, or for some seconds (counted from here) and then with a proof.

        Returns:
            Whether the series equal the manifest.

        Raises:
            PyroAssetsError: a process ended or something did not come in time.
        """
        end = float("inf") if seconds is None else time.monotonic() + seconds
        screen, layout, processes = self._screen, self._layout, self._processes
        code_server_port = free_port(_CODE_SERVER_PORT)
        layout.prepare(code_server_port)
        web_port, port = free_port(_WEB_PORT), free_port(_WEBSERVER_PORT)
        # Our pages link to Dagster's and start backfills there, and Dagster's link to ours.
        processes.tell(layout.addresses(web_port, port))
        program = services.prometheus_program()
        prometheus_url = ""
        if program is not None:
            prometheus_port = free_port(_PROMETHEUS_PORT)
            layout.prepare_prometheus(prometheus_port, web_port)
            prometheus_url = services.start_prometheus(processes, layout, program, prometheus_port)
        screen.step(f"making {services.HISTORY_HOURS} past hours of segments, starting Dagster meanwhile")
        services.start_code_server(processes, layout, code_server_port)
        services.make_history(processes, layout)
        dagster = services.start_dagster(processes, layout, code_server_port, port)
        web_url = services.start_web(processes, layout, web_port)
        with open_app(
            str(layout.bucket), str(layout.archive), layout.ledger_url, receivers_file=str(layout.receivers)
        ) as pipeline:
            history = self._backfill(pipeline, dagster)
            screen.step(f"live segments: {services.SHARDS} shards; waiting for the first series of this hour")
            services.start_generator(processes, layout)
            self._wait(lambda: derived(self._live(pipeline, history)) > 0, "the first live series", _LIVE_SECONDS)
            self._show(pipeline, history)
            screen.places(dagster.url, layout.logs, web_url, prometheus_url)
            self._figures(pipeline, history, end)
            self._settle(pipeline)
            if prometheus_url:
                services.stop_reading(processes, layout, prometheus_url, web_port)
            return self._prove(pipeline)

    def _backfill(self, pipeline: App, dagster: DagsterClient) -> list[str]:
        """Start a backfill of the past hours as soon as the sensor has seen them all."""
        landed = sum(1 for _ in self._layout.bucket.rglob("block.bin"))
        self._screen.step(f"{landed} segments landed; the sensor `segments_landed` looks for them")
        self._wait(lambda: _seen(pipeline) >= landed, "the sensor", _LIVE_SECONDS)
        history = runs.hours(pipeline)
        backfill = dagster.start_backfill([*sorted(STEPS), _EXPORTED], history, "two past hours", {"lane": "backfill"})
        self._screen.step(f"backfill {backfill} of {', '.join(history)}: one run, in a lane of its own")
        return history

    def _show(self, pipeline: App, history: list[str]) -> None:
        """The newest series, of every tenant and of both kinds, and the lag."""
        self._screen.newest_series(selection(read_series(self._layout.archive).rows(named=True), _NEWEST_SERIES))
        self._screen.figures(self._live(pipeline, history))

    def _figures(self, pipeline: App, history: list[str], end: float) -> None:
        """A line every ten seconds until the end; a process that ends by itself ends the demo."""
        while (left := end - time.monotonic()) > 0:
            waited = time.monotonic() + min(_FIGURES_SECONDS, left)
            while time.monotonic() < waited:
                self._processes.check()
                time.sleep(0.25)
            self._screen.figures(self._live(pipeline, history))

    def _settle(self, pipeline: App) -> None:
        """Stop the generator, and let the rest be processed."""
        self._screen.step("stopping the generator; what has landed is still processed")
        self._processes.stop(services.GENERATOR)
        landed = sum(1 for _ in self._layout.bucket.rglob("block.bin"))

        def processed() -> bool:
            reports = [runs.hour_report(pipeline, hour) for hour in runs.hours(pipeline)]
            return sum(report.segments for report in reports) >= landed and not any(map(is_undone, reports))

        self._wait(processed, "the rest of the segments", _DRAIN_SECONDS)

    def _prove(self, pipeline: App) -> bool:
        """Compare everything with the manifest, and what the receiver holds with the archive."""
        self._screen.step("comparing all series in the archive with the generator's manifest")
        proof = prove(self._layout.archive, self._layout.manifest, FUNCTIONS)
        self._screen.proof(proof)
        return self._reconcile(pipeline) and proof.equal

    def _reconcile(self, pipeline: App) -> bool:
        """Ask the receiver, where there is one, for what it holds."""
        reports = [runs.hour_report(pipeline, hour) for hour in runs.hours(pipeline)]
        self._screen.exports(reports)
        are_equal = True
        for receiver in pipeline.receivers():
            self._screen.step(f"asking {receiver.name} for every sample it holds")
            begin_ms, end_ms = hour_start_ms(reports[0].hour), hour_start_ms(reports[-1].hour) + HOUR_MS
            found = sending.reconcile(pipeline, receiver.name, begin_ms, end_ms)
            self._screen.reconciled(receiver.name, found.compared, [str(example) for example in found.examples])
            are_equal = are_equal and found.is_equal
        return are_equal

    def _wait(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        self._processes.wait_until(ready, what, seconds)

    def _live(self, pipeline: App, history: list[str]) -> HourReport:
        """The running hour, or the one before while the running one has no series yet."""
        reports = [runs.hour_report(pipeline, hour) for hour in runs.hours(pipeline)[-2:] if hour not in history]
        done = [report for report in reports if derived(report)]
        return (done or reports or [HourReport(hour_of(now_ms()))])[-1]


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


def _seen(pipeline: App) -> int:
    return sum(runs.hour_report(pipeline, hour).segments for hour in runs.hours(pipeline))
