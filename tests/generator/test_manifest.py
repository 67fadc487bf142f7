"""A manifest gives back what was appended, survives a cut-off write, and refuses to mix two recipes."""

from pathlib import Path

import pytest

from pyro_assets.generator.counts import KINDS, count
from pyro_assets.generator.fleet import SERVICES, Pod
from pyro_assets.generator.manifest import ManifestRow, ManifestWriter, SegmentEntry, read_manifest, rows_of
from pyro_assets.generator.programs import build_program

IDENTITY = ("acme", (("__profile_type__", "a:b:c:d:e"), ("pod", "ümlaut-0")))
FUNCTIONS = ("main.f", "prüfe")


def entry(number: int, *rows: ManifestRow) -> SegmentEntry:
    ulid = f"01M891VPM4XX31MPMZXPGM0R{number:02d}"
    return SegmentEntry(f"segments/1/anonymous/{ulid}/block.bin", ulid, 1, 1_795_600_274_692 + number, 22_000, rows)


def write(path: Path, *entries: SegmentEntry, seed: int = 1) -> None:
    writer = ManifestWriter(path, seed, FUNCTIONS)
    for one in entries:
        writer.append(one)
    writer.close()
    writer.close()


def test_what_was_appended_is_read(tmp_path: Path):
    path = tmp_path / "deep" / "manifest.jsonl"
    entries = [
        entry(0, ManifestRow(IDENTITY, 5, 2**70, {"main.f": 3})),
        entry(1),
        entry(2, ManifestRow(IDENTITY, 6, 1, {})),
    ]
    write(path, *entries[:2])
    write(path, entries[2])
    manifest = read_manifest(path)
    assert (manifest.seed, manifest.functions, manifest.segments) == (1, FUNCTIONS, entries)
    assert path.read_text().count('"kind":"series"') == 1


def test_an_entry_is_readable_before_the_writer_is_closed(tmp_path: Path):
    writer = ManifestWriter(tmp_path / "m", 1, FUNCTIONS)
    writer.append(entry(0))
    assert read_manifest(tmp_path / "m").segments == [entry(0)]
    writer.close()


def test_a_write_that_was_cut_off_is_dropped(tmp_path: Path):
    path = tmp_path / "m"
    write(path, entry(0), entry(1, ManifestRow(IDENTITY, 5, 1, {})))
    path.write_bytes(path.read_bytes()[:-9])
    assert read_manifest(path).segments == [entry(0)]
    write(path, entry(2, ManifestRow(IDENTITY, 7, 1, {})))
    assert [one.ulid for one in read_manifest(path).segments] == [entry(0).ulid, entry(2).ulid]


def test_another_recipe_needs_another_manifest(tmp_path: Path):
    write(tmp_path / "m", entry(0))
    with pytest.raises(ValueError, match="begun with seed 1"):
        write(tmp_path / "m", seed=2)


@pytest.mark.parametrize("content", ["", '{"kind":"generator","version":99}\n', '{"kind":"segment"}\n'])
def test_another_file_is_refused(tmp_path: Path, content: str):
    (tmp_path / "m").write_text(content)
    with pytest.raises(ValueError, match="no manifest of version 1"):
        read_manifest(tmp_path / "m")


def test_rows_are_sums_of_the_counts():
    service = SERVICES[0]
    program = build_program(service, 1)
    counts = count(program, Pod(service, 0), KINDS[0], 1_795_600_274_692_000_000, 1)
    function = "net/http.HandlerFunc.ServeHTTP"
    rows = rows_of(counts, [function, "no.such"])
    cpu = [
        row for row in rows if ("__profile_type__", "process_cpu:cpu:nanoseconds:cpu:nanoseconds") in row.identity[1]
    ]
    assert sum(row.value for row in cpu) == sum(sample.values[1] for sample in counts.samples)
    assert sum(row.functions.get(function, 0) for row in cpu) == sum(
        sample.values[1] for sample in counts.samples if function in sample.stack.functions
    )
    assert len(cpu) == len(rows) / 2 == 4
    assert {dict(row.identity[1]).get("vehicle") for row in cpu} == {None, "bike", "scooter", "car"}
    assert all("no.such" not in row.functions for row in rows)
