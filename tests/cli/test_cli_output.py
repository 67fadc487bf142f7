"""Tables and texts for people."""

import io

import pytest

from pyro_assets.cli import output


def test_a_table_without_rows_has_its_header():
    assert output.table(["a", "bb"], []) == "a  bb\n-  --"


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (True, "yes"), (1234567, "1,234,567"), (2.50, "2.5"), (1e3, "1,000"), ("x", "x")]
)
def test_cells(value: object, shown: str):
    assert output.table(["column"], [[value]]).split("\n")[2].strip() == shown


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
