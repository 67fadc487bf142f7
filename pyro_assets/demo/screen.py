"""What the demo says in the terminal: steps, a table of the newest series, a line of figures, where to look.

Add what a person should read; colours only where the output is a terminal. Finding things out belongs to `story`.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from pyro_assets.cli.output import table
from pyro_assets.demo.proof import Proof
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.web import words
from pyro_assets.web.meanings import graph_links

_CORES: Final = (
    "sum by (service_name) (sum_over_time("
    "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds[5m])) / 300 / 1e9"
)
_HOURS: Final = (
    "sum by (service_name) (sum_over_time("
    "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds[1d])) / 3600 / 1e9"
)
_SHOWN_DIFFERENCES: Final = 20
_WIDTH: Final = 110
_LABELS_WIDTH: Final = 44
_FUNCTION_WIDTH: Final = 32
_HIDDEN_LABELS: Final = ("service_name", "function", "pyroscope_shard")


class Screen:
    """Lines for a person, on `out`."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._colours = self._out.isatty()

    def step(self, text: str) -> None:
        """What is done next."""
        self._say(f"{self._style('1;36', '==>')} {self._style('1', text)}")

    def note(self, text: str) -> None:
        """Something beside the main line."""
        for line in textwrap.wrap(text, _WIDTH):
            self._say(f"    {line}")

    def error(self, text: str) -> None:
        """What went wrong."""
        self._say(f"{self._style('1;31', 'error:')} {text}")

    def newest_series(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of series, one line each."""
        header = ["time (UTC)", "tenant", "service", "metric / function", "labels", "value"]
        self._say("")
        for line in table(header, [_series_line(row) for row in rows]).splitlines():
            self._say(f"    {line}")
        self._say("")

    def figures(self, report: HourReport) -> None:
        """The running hour in a line."""
        time = datetime.now(UTC).strftime("%H:%M:%S")
        lag = report.lag
        text = (
            f"{time}  {report.segments:>6,} segments  {report.blocks:>5,} blocks  {sum(report.series.values()):>7,} "
            f"series values  {report.pending:>4,} segments pending"
        )
        if lag is not None:
            text += f"  lag p50 {lag.p50_seconds:.1f} s, p95 {lag.p95_seconds:.1f} s"
        if report.exported_lag is not None:
            sent = report.exported_lag
            text += f"; at the receiver {sent.p50_seconds:.1f} s, {sent.p95_seconds:.1f} s"
        self._say(f"    {text}")

    def exports(self, reports: Sequence[HourReport]) -> None:
        """What each receiver has, hour by hour."""
        rows = [
            [report.hour, one.receiver, one.jobs, one.accepted, one.refused, one.pending, one.requests]
            + ([one.lag.p50_seconds, one.lag.p95_seconds, one.lag.max_seconds] if one.lag else [None, None, None])
            for report in reports
            for one in report.exports
        ]
        if not rows:
            self.note("no receiver is configured (there is no Prometheus on the path): nothing was sent")
            return
        header = [
            "hour",
            "receiver",
            "jobs",
            "accepted",
            "refused",
            "pending",
            "requests",
            "lag p50 s",
            "p95 s",
            "max s",
        ]
        self._say("")
        for line in table(header, rows).splitlines():
            self._say(f"    {line}")
        self._say("")

    def reconciled(self, receiver: str, compared: int, differences: Sequence[str]) -> None:
        """What the receiver holds against the archive's series."""
        if not differences:
            self._say(f"{self._style('1;32', 'equal:')} {receiver} holds {compared:,} samples, each with its value")
            return
        self._say(f"{self._style('1;31', 'NOT equal:')} {receiver}, of {compared:,} samples:")
        for difference in differences[:_SHOWN_DIFFERENCES]:
            self._say(textwrap.shorten(f"    {difference}", 240))

    def places(self, url: str, logs: object, web_url: str, prometheus_url: str = "") -> None:
        """Where to look in our pages and in Dagster's, and at what."""
        self._say("")
        self._say(f"    {self._style('1;32', 'Our pages are at ' + web_url)}")
        self._list(
            web_url,
            {
                "/explore": "which functions burn CPU and memory; press `make a rule` on one",
                "/rules": "which functions become series: preview, edit, history, import",
                "/series": "what is exported, back to its rule, job, run and block",
                "/status": "lag, pending, receivers, hours as a calendar, alerts",
                "/backfills": "a rule for past hours, started in Dagster and followed",
                "/api": "the same for programs",
                "/metrics": "the project's own metrics",
            },
        )
        self._say(f"    {self._style('1;32', 'Dagster is at ' + url)}")
        places = {
            "/asset-groups": "the graph: segments -> l1_blocks -> series; select an asset",
            "/assets/dimension_series?view=partitions": "an hour a line; select one: series, samples, lag, pending",
            "/assets/exported_series?view=partitions": "what the receiver has accepted, with the lag up to it",
            "/assets/l1_blocks?view=checks": "totals of the sources against the blocks as read back",
            "/locations/pyro_assets/sensors/segments_landed": "ticks: what landed, what is pending, runs requested",
            "/runs?q[0]=job:live": "each stays a minute and takes what becomes due, then the next one relieves it",
            "/runs?view=backfills": "the two past hours, in a lane of their own",
        }
        self._list(url, places)
        if prometheus_url:
            self._say(f"    {self._style('1;32', 'Graphs in Prometheus')}")
            for what, query, last in (
                ("CPU cores by service, live:", _CORES, "15m"),
                (
                    "CPU hours by service, backfilled hours among them, which it reads from the archive:",
                    _HOURS,
                    "6h",
                ),
            ):
                self._say(f"      {what}")
                self._say(f"      {graph_links(query, last, prometheus_url=prometheus_url)['Prometheus']}")
        self._say(f"    Logs of all processes: {logs}")
        self._say("")

    def summary(self, reports: Sequence[HourReport], seconds: float, folder: object) -> None:
        """What came of it, and what stays."""
        segments, blocks = sum(one.segments for one in reports), sum(one.blocks for one in reports)
        samples = sum(sum(one.series.values()) for one in reports)
        read = sum(one.bytes_in for one in reports) / 2**20
        hours = f"{len(reports)} hour{'' if len(reports) == 1 else 's'}"
        lines = [
            f"{segments:,} segments ({read:,.1f} MiB) of {hours} became {blocks:,} blocks and {samples:,} "
            f"samples of series, in {words.duration(seconds)}.",
        ]
        lag = next((one.lag for one in reversed(reports) if one.lag is not None), None)
        if lag is not None:
            lines.append(f"From a segment to its series: p50 {lag.p50_seconds:.1f} s, p95 {lag.p95_seconds:.1f} s.")
        sent = [one for report in reports for one in report.exports]
        if sent:
            accepted, refused = sum(one.accepted for one in sent), sum(one.refused for one in sent)
            lines.append(f"{sent[0].receiver} accepted {accepted:,} samples and refused {refused:,}.")
        lines.append(f"All of it stays in {folder}: `make demo` goes on with it, `make demo FRESH=1` begins anew.")
        self._say("")
        self._say(f"    {self._style('1', 'Summary')}")
        for line in lines:
            self.note(line)
        self._say("")

    def _list(self, url: str, places: Mapping[str, str]) -> None:
        width = max(map(len, places))
        for path, meaning in places.items():
            self._say(f"      {url}{path.ljust(width)}  {meaning}")

    def proof(self, proof: Proof) -> None:
        """What the comparison with the manifest found."""
        what = f"{proof.segments:,} segments, {proof.jobs:,} jobs, {proof.series:,} series values"
        if proof.equal:
            self._say(f"{self._style('1;32', 'equal:')} {what}; every value is the generator's, to the unit")
            return
        self._say(f"{self._style('1;31', 'NOT equal:')} {what}, {len(proof.differences):,} differences")
        for difference in proof.differences[:_SHOWN_DIFFERENCES]:
            self._say(textwrap.shorten(f"    {difference}", 240))

    def _style(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colours else text

    def _say(self, line: str) -> None:
        self._out.write(line + "\n")
        self._out.flush()


def _series_line(row: Mapping[str, Any]) -> list[object]:
    labels = {label["name"]: label["value"] for label in row["labels"]}
    metric = str(row["metric"]).removeprefix("pyroscope_exported_metrics_").removeprefix("functions_")
    # The last two words are the period's type and unit.
    metric = "_".join(metric.split("_")[:-2])
    function = labels.get("function")
    rest = _pairs((name, value) for name, value in labels.items() if name not in _HIDDEN_LABELS)
    return [
        datetime.fromtimestamp(row["timestamp_ms"] / 1000, UTC).strftime("%H:%M:%S"),
        row["tenant"],
        labels.get("service_name", ""),
        f"{metric} in {_end(function)}" if function else metric,
        rest if len(rest) <= _LABELS_WIDTH else rest[: _LABELS_WIDTH - 1] + "…",
        row["value_int"] if row["value_int"] is not None else row["value"],
    ]


def _end(function: str) -> str:
    """The end of a function's name, which says most."""
    return function if len(function) <= _FUNCTION_WIDTH else "…" + function[1 - _FUNCTION_WIDTH :]


def _pairs(labels: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels)
