"""Tables and texts for people."""

import dataclasses
import io
from collections.abc import Iterator
from typing import Any, get_args, get_type_hints

import pytest

from pyro_assets.cli import output
from pyro_assets.export.exporter import ExportCounts
from pyro_assets.export.remote_write.probe import ReceiverCheck
from pyro_assets.monitoring.doctor import Finding
from pyro_assets.monitoring.now import Overview
from pyro_assets.monitoring.reports import HourReport


def test_a_table_without_rows_has_its_header():
    assert output.table(["a", "bb"], []) == "a  bb\n-  --"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (True, "yes"), (1234567, "1,234,567"), (2.50, "2.5"), (1e3, "1,000"), ("x", "x")]
)
def test_cells(value: object, shown: str):
    assert output.table(["column"], [[value]]).split("\n")[2].strip() == shown


ROWS = [["2026-11-25", 1_234_567, "pyroscope_exported_metrics_process_cpu_cpu", "pod=a-1, service_name=checkout"]]


@pytest.mark.parametrize("width", range(48, 100))
def test_a_table_fits_the_terminal_and_numbers_stay_whole(width: int):
    shown = output.table(["day", "value", "metric", "labels"], ROWS, width)
    assert max(map(len, shown.splitlines())) <= width
    assert "1,234,567" in shown
    assert "2026-11-25" in shown


def test_the_longest_texts_give_way_first():
    shown = output.table(["day", "value", "metric", "labels"], ROWS, 70).splitlines()[-1]
    assert shown == "2026-11-25  1,234,567  pyroscope_exported_met…  pod=a-1, service_name…"


def test_a_table_that_cannot_fit_is_a_list():
    assert output.table(["day", "in", "out"], [["mon", 10**12, 10**12], ["tue", 1, 2]], 20) == (
        "day  mon\nin   1,000,000,000,000\nout  1,000,000,000,000\n\nday  tue\nin   1\nout  2"
    )


def test_times_outside_of_years_are_shown_as_numbers():
    assert output.time_text(0) == "1970-01-01 00:00:00.000"
    assert output.time_text(2**62) == str(2**62)
    assert output.time_text(None) == ""


def test_a_stream_that_is_no_terminal():
    assert not output.is_terminal(io.StringIO())
    assert not output.is_terminal(object())


def test_the_bar_is_silent_where_nobody_looks(capsys: pytest.CaptureFixture[str]):
    with output.progress_bar("jobs") as bar:
        bar.update(1, 2)
    assert capsys.readouterr().err == ""


def test_the_bar_shows_how_far_the_work_is(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stderr = Terminal()
    monkeypatch.setattr("sys.stderr", stderr)
    with output.progress_bar("jobs") as bar:
        bar.update(1, 4)
        bar.update(4, 4)
    assert "jobs" in stderr.getvalue()
    assert "4/4" in stderr.getvalue()


def test_json_keeps_text_and_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]):
    output.show_json({"name": "größe".encode(), "odd": b"\xff"}, indent=None)
    assert capsys.readouterr().out == '{"name": "größe", "odd": "\\\\xff"}\n'
    with pytest.raises(TypeError, match="object has no JSON form"):
        output.show_json(object())


def held(kind: Any, seen: set[Any]) -> Iterator[tuple[Any, str, Any]]:
    """(dataclass, field, type) of everything that a report of this type may hold."""
    for inner in get_args(kind):
        yield from held(inner, seen)
    if dataclasses.is_dataclass(kind) and kind not in seen:
        seen.add(kind)
        for name, inner in get_type_hints(kind).items():
            yield kind, name, inner
            yield from held(inner, seen)


def test_reports_that_asdict_makes_json_of_hold_no_counter():
    """`asdict` makes a counter of pairs of a counter, which JSON refuses, and only where something was counted."""
    counters = {
        (owner, name)
        for report in (HourReport, Overview, ExportCounts, ReceiverCheck, Finding)
        for owner, name, kind in held(report, set())
        if "Counter" in str(kind)
    }
    # It has a way to become JSON of its own, which the tests of `run` and `export` use.
    assert {owner for owner, _ in counters} <= {ExportCounts}
