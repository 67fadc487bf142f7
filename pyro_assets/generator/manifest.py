"""What was made, segment by segment: the record that results are checked against, as JSON lines.

Add a field to `SegmentEntry` when a checker needs it. Every number here was added up from the counts before they were
encoded; nothing may be read back from a segment. How entries become expected series is said in `expected.py`.
"""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pyro_assets.generator.counts import Counts

VERSION = 1

#: (tenant, labels sorted by name) of a series as it was uploaded: public labels, `__profile_type__`, `__session_id__`.
Identity = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class ManifestRow:
    """One profile of one series: its total, and the totals of its samples by function on their stacks.

    A function that is recorded and missing from `functions` has the total 0.
    """

    identity: Identity
    time_ns: int
    value: int
    functions: dict[str, int]


@dataclass(frozen=True, slots=True)
class SegmentEntry:
    """One segment: where it lies, when it was created (Unix ms, as its ULID says), its size and its rows."""

    key: str
    ulid: str
    shard: int
    created_ms: int
    size_bytes: int
    rows: tuple[ManifestRow, ...]


@dataclass(slots=True)
class Manifest:
    """All that a generator has made into one bucket; `functions` are those whose totals it recorded."""

    seed: int
    functions: tuple[str, ...]
    segments: list[SegmentEntry] = field(default_factory=list)


def rows_of(counts: Counts, functions: Sequence[str]) -> list[ManifestRow]:
    """Adds up one profile, in plain Python integers: one row per sample type and set of pprof labels."""
    kind = counts.kind
    totals: dict[tuple[Any, ...], list[int]] = {}
    parts: dict[tuple[Any, ...], dict[str, list[int]]] = {}
    for sample in counts.samples:
        group = kind.labels_of(sample.stack)
        _add(totals.setdefault(group, [0] * len(sample.values)), sample.values)
        for function in functions:
            if function in sample.stack.functions:
                _add(parts.setdefault(group, {}).setdefault(function, [0] * len(sample.values)), sample.values)
    rows = []
    for group, total in totals.items():
        labels = {**counts.pod.public_labels, **dict(group), "__session_id__": session_id(counts.session)}
        for position, value in enumerate(total):
            if not value:
                # Counts are never negative, so no sample has a value of this type and no row is made of it.
                continue
            labels["__profile_type__"] = kind.profile_type(position)
            identity = (counts.pod.service.tenant, tuple(sorted(labels.items())))
            by_function = {name: values[position] for name, values in parts.get(group, {}).items()}
            rows.append(ManifestRow(identity, counts.time_ns, value, by_function))
    return rows


def session_id(session: int) -> str:
    """The label that tells one process of a pod from the next.

    >>> session_id(598533)
    '0000000000092205'
    """
    return f"{session:016x}"


def _add(total: list[int], values: Sequence[int]) -> None:
    for position, value in enumerate(values):
        total[position] += value


class ManifestWriter:
    """Appends to a manifest; a line is in the operating system's hands before its segment is uploaded.

    So a segment is never unknown to the manifest, whatever kills the process; an entry whose segment never landed is
    possible. An existing manifest of the same seed and functions is continued.
    """

    def __init__(self, path: Path, seed: int, functions: Sequence[str]) -> None:
        self._series: dict[Identity, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size:
            self._continue(path, seed, tuple(functions))
            self._file: IO[str] = path.open("a", encoding="utf-8")
        else:
            self._file = path.open("w", encoding="utf-8")
            self._write({"kind": "generator", "version": VERSION, "seed": seed, "functions": list(functions)})

    def append(self, entry: SegmentEntry) -> None:
        """Adds a segment (and the series that it is the first to hold)."""
        rows = []
        for row in entry.rows:
            number = self._series.get(row.identity)
            if number is None:
                number = self._series[row.identity] = len(self._series)
                tenant, labels = row.identity
                self._write({"kind": "series", "id": number, "tenant": tenant, "labels": dict(labels)})
            rows.append([number, row.time_ns, row.value, row.functions])
        line = {"kind": "segment", "key": entry.key, "ulid": entry.ulid, "shard": entry.shard}
        self._write(line | {"created_ms": entry.created_ms, "bytes": entry.size_bytes, "rows": rows})
        self._file.flush()

    def sync(self) -> None:
        """Makes what was appended outlast a loss of power."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Syncs and closes; calling it twice is fine."""
        if not self._file.closed:
            self.sync()
            self._file.close()

    def _write(self, line: dict[str, Any]) -> None:
        json.dump(line, self._file, ensure_ascii=False, separators=(",", ":"))
        self._file.write("\n")

    def _continue(self, path: Path, seed: int, functions: tuple[str, ...]) -> None:
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            # The last write was cut off; its segment was not uploaded yet.
            os.truncate(path, whole)
        manifest, self._series = _parse(data[:whole].decode().splitlines(), str(path))
        if (manifest.seed, manifest.functions) != (seed, functions):
            raise ValueError(
                f"{path} was begun with seed {manifest.seed} and other functions; name another manifest or remove it"
            )


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest, even while it is being written (a last line without its end is left out).

    Raises:
        ValueError: the file is no manifest of this version.
    """
    data = path.read_bytes()
    return _parse(data[: data.rfind(b"\n") + 1].decode().splitlines(), str(path))[0]


def _parse(lines: Iterable[str], name: str) -> tuple[Manifest, dict[Identity, int]]:
    manifest: Manifest | None = None
    series: list[Identity] = []
    for text in lines:
        line = json.loads(text)
        kind = line.get("kind")
        if manifest is None:
            if kind != "generator" or line.get("version") != VERSION:
                break
            manifest = Manifest(line["seed"], tuple(line["functions"]))
        elif kind == "series":
            series.append((line["tenant"], tuple(sorted(line["labels"].items()))))
        elif kind == "segment":
            rows = tuple(ManifestRow(series[number], time, value, found) for number, time, value, found in line["rows"])
            manifest.segments.append(
                SegmentEntry(line["key"], line["ulid"], line["shard"], line["created_ms"], line["bytes"], rows)
            )
    if manifest is None:
        raise ValueError(f"{name} is no manifest of version {VERSION}")
    return manifest, {identity: number for number, identity in enumerate(series)}
