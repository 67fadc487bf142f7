"""Files: split by day, sorted by series and time, exact to the last digit, whatever goes through bounded memory."""

import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import ExportError
from pyro_assets.export import files as openmetrics
from pyro_assets.export.files import Spool, any_receiver, series_lines, value_text, write_files
from pyro_assets.receivers.model import Receiver
from tests.support.remote_write import NOW_MS, row, samples
from tests.support.servers import PROMETHEUS_VERSIONS, binary, prometheus, victoriametrics

DAY_MS = 86_400_000
MIDNIGHT_MS = NOW_MS // DAY_MS * DAY_MS


def receiver(**fields: Any) -> Receiver:
    defaults = {"name": "r", "url": "http://h/api/v1/write", "kind": "prometheus", "tenants": ["acme"]}
    return Receiver(**(defaults | fields))


def test_a_file_for_each_day(tmp_path: Path):
    jobs = [
        samples(row("b", 2.0, MIDNIGHT_MS - 1, pod="x"), row("a", 1.5, MIDNIGHT_MS - 1, pod="y")),
        samples(row("a", 12494962897.0, MIDNIGHT_MS - 60_000, pod="y"), row("a", 3.0, MIDNIGHT_MS - 60_000, pod="x")),
        samples(row("a", 4.0, MIDNIGHT_MS, pod="x")),
    ]
    report = write_files(jobs, receiver(labels={"zone": 'a"b'}), tmp_path)
    assert [file.path.name for file in report.files] == ["2026-11-24.om", "2026-11-25.om"]
    first, second = report.files
    start = f"{(MIDNIGHT_MS - 60_000) // 1000}.000"
    end = f"{MIDNIGHT_MS // 1000 - 1}.999"
    assert first.path.read_text() == (
        "# TYPE a gauge\n"
        f'a{{pod="x",zone="a\\"b"}} 3 {start}\n'
        f'a{{pod="y",zone="a\\"b"}} 1.2494962897e+10 {start}\n'
        f'a{{pod="y",zone="a\\"b"}} 1.5 {end}\n'
        "# TYPE b gauge\n"
        f'b{{pod="x",zone="a\\"b"}} 2 {end}\n'
        "# EOF\n"
    )
    assert (first.samples, first.series, first.min_time_ms, first.max_time_ms) == (
        4,
        3,
        MIDNIGHT_MS - 60_000,
        MIDNIGHT_MS - 1,
    )
    assert first.size_bytes == first.path.stat().st_size
    assert (second.samples, report.samples) == (1, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2026-11-24.om", "2026-11-25.om"]


def test_only_the_time_asked_for(tmp_path: Path):
    rows = [row(timestamp_ms=MIDNIGHT_MS + step) for step in range(5)]
    report = write_files([samples(*rows)], receiver(), tmp_path, from_ms=MIDNIGHT_MS + 1, to_ms=MIDNIGHT_MS + 4)
    assert (report.samples, report.files[0].min_time_ms, report.files[0].max_time_ms) == (
        3,
        MIDNIGHT_MS + 1,
        MIDNIGHT_MS + 3,
    )
    assert write_files([], receiver(), tmp_path / "none").files == []


def test_two_samples_of_one_key_from_two_jobs_are_both_left_out(tmp_path: Path):
    report = write_files([samples(row(value=1.0), row("n")), samples(row(value=2.0))], receiver(), tmp_path)
    assert report.refused.counts == {("duplicate_sample", "r"): 2}
    assert "m{} has several samples" in report.refused.examples[0].detail
    assert report.samples == 1


def test_tenants_have_a_label_or_a_folder_of_their_own(tmp_path: Path):
    jobs = [samples(row(tenant="a/b"), row(tenant="c"))]
    apart = write_files(jobs, receiver(kind="mimir", tenants=["*"]), tmp_path / "apart")
    assert [file.path.relative_to(tmp_path / "apart").as_posix() for file in apart.files] == [
        "a%2Fb/2026-11-25.om", "c/2026-11-25.om",
    ]  # fmt: skip
    together = write_files(jobs, any_receiver(), tmp_path / "together")
    (file,) = together.files
    assert 'm{tenant="a/b"} 1 ' in file.path.read_text()


def test_victoriametrics_takes_milliseconds(tmp_path: Path):
    (file,) = write_files([samples(row(a="1"))], receiver(), tmp_path, file_format="victoriametrics").files
    assert file.path.name == "2026-11-25.prom"
    assert file.path.read_text() == f'm{{a="1"}} 1 {NOW_MS}\n'


def test_a_folder_that_cannot_be_written_to(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="cannot be written to"):
        write_files([samples(row())], receiver(), tmp_path / "file")


def test_many_days_do_not_pile_up_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(openmetrics, "MAX_ROWS", 10)
    jobs = [
        samples(*(row(timestamp_ms=MIDNIGHT_MS + day * DAY_MS, pod=str(pod)) for pod in range(4))) for day in range(9)
    ]
    report = write_files(jobs, receiver(), tmp_path)
    assert [file.samples for file in report.files] == [4] * 9


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "ä", "a{", "Z"]), st.integers(0, 9)), max_size=80),
    st.integers(1, 20),
)
def test_the_spool_sorts_whatever_fits_and_whatever_does_not(lines: list[tuple[str, int]], rows: int):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", max_rows=rows)
        for begin in range(0, len(lines), 7):
            part = lines[begin : begin + 7]
            spool.add(
                pa.table(
                    {
                        "series": pa.array([series for series, _ in part], pa.string()),
                        "timestamp_ms": pa.array([time for _, time in part], pa.int64()),
                        "value": pa.array([0.0] * len(part)), "metric": ["m"] * len(part), "rule": ["r"] * len(part),
                    }
                )
            )  # fmt: skip
        tables = list(spool.sorted())
        spool.close()
        assert not list(Path(folder).iterdir())
    found = [(line["series"], line["timestamp_ms"]) for table in tables for line in table.to_pylist()]
    assert found == sorted(lines, key=lambda line: (line[0].encode(), line[1]))
    keys = [{(line["series"], line["timestamp_ms"]) for line in table.to_pylist()} for table in tables]
    assert sum(map(len, keys)) == len(set().union(*keys))


def test_runs_of_many_pieces_are_merged(tmp_path: Path):
    rng = random.Random(3)
    lines = [(f"s{rng.randrange(50):02d}", rng.randrange(10**6)) for _ in range(30_000)]
    spool = Spool(tmp_path / "spool", max_rows=2048)
    series, times = [line[0] for line in lines], [line[1] for line in lines]
    spool.add(
        pa.table({"series": series, "timestamp_ms": times, "value": [0.0] * 30_000, "metric": series, "rule": series})
    )
    tables = list(spool.sorted())
    assert [
        (s, t)
        for table in tables
        for s, t in zip(table["series"].to_pylist(), table["timestamp_ms"].to_pylist(), strict=True)
    ] == sorted(lines)
    assert max(table.num_rows for table in tables) < 3 * 2048 + 8192


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_read_back_as_they_were(value: float):
    (text,) = value_text(pa.array([value])).to_pylist()
    assert float(text).hex() == value.hex()


def test_text_of_series_is_escaped():
    assert series_lines(samples(row("m", a='q"\\\n', b="é"), row("n"))).to_pylist() == [
        'm{a="q\\"\\\\\\n",b="é"}', "n{}",
    ]  # fmt: skip


def history(days: int = 2) -> list[Any]:
    """Jobs of three series with large values and awkward labels, an hour apart, the newest 12 h old."""
    rng = random.Random(5)
    times = [NOW_MS - DAY_MS // 2 - step * 3_600_123 for step in range(days * 24)]
    return [
        samples(
            row("m", float(rng.randrange(10 ** rng.randrange(1, 16))), time, a='q"\\\n é', pod="1"),
            row("n", float(rng.randrange(2**60)), time, pod="2"),
            row("m", rng.random(), time),
        )
        for time in times
    ]


def expected(jobs: list[Any]) -> dict[tuple[tuple[str, str], ...], dict[int, float]]:
    found: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
    for job in jobs:
        for i in range(len(job)):
            found.setdefault(tuple(sorted(job.labels(i).items())), {})[int(job.timestamp_ms[i])] = float(job.value[i])
    return found


@pytest.mark.service
@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_prometheus_serves_the_files_of_promtool(tmp_path: Path, version: str):
    promtool = binary("promtool3" if version.endswith("3") else "promtool")
    jobs = history()
    report = write_files(jobs, receiver(), tmp_path / "files")
    assert len(report.files) == 3
    for file in report.files:
        blocks = [promtool, "tsdb", "create-blocks-from", "--max-block-duration=24h", "openmetrics"]
        done = subprocess.run([*blocks, file.path, tmp_path / "tsdb" / "data"], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    with prometheus(tmp_path / "tsdb", version=version) as server:
        held = server.samples('{__name__=~"m|n"}', NOW_MS - 4 * DAY_MS, NOW_MS)
    assert {labels: {time: float(value) for time, value in found} for labels, found in held.items()} == expected(jobs)


@pytest.mark.service
def test_victoriametrics_imports_the_files(tmp_path: Path):
    jobs = history()
    report = write_files(jobs, receiver(), tmp_path / "files", file_format="victoriametrics")
    with victoriametrics(tmp_path / "vm") as server:
        import requests

        for file in report.files:
            answer = requests.post(server.url + "/api/v1/import/prometheus", data=file.path.read_bytes(), timeout=30)
            assert answer.status_code == 204
        server.flush()
        held = server.samples('{__name__=~"m|n"}', NOW_MS - 4 * DAY_MS, NOW_MS)
    shutil.rmtree(tmp_path / "vm")
    found = {labels: {time: float(value) for time, value in values} for labels, values in held.items()}
    wanted = expected(jobs)
    assert found.keys() == wanted.keys()
    for labels, values in wanted.items():
        assert found[labels].keys() == values.keys()
        for time, value in values.items():
            # It stores decimal numbers: whole ones are exact up to 2**53, others to 14 digits and more.
            is_exact = value.is_integer() and value <= 2**53
            assert found[labels][time] == (value if is_exact else pytest.approx(value, rel=1e-14))
