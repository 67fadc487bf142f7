"""Made-up ProfileRows, how to compare two, and the profiles sections of real objects.

Add here what several tests of the profiles section need; whole objects and jobs are made in `tests.support.strategies`.
"""

import json
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.parquet.schema import ANNOTATIONS_TYPE, COMMENTS_TYPE, LABELS_TYPE, TRACE_ID_TYPE
from pyro_assets.errors import Where
from tests.oracle import decoder as slow_decoder

I64 = st.one_of(st.integers(-3, 300), st.integers(-(2**63), 2**63 - 1))
U64 = st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1))
OPTIONAL_I64 = st.one_of(st.none(), I64)

SAMPLE_LABEL = st.fixed_dictionaries({"Key": I64, "Str": OPTIONAL_I64, "Num": OPTIONAL_I64, "NumUnit": OPTIONAL_I64})
SAMPLE = st.fixed_dictionaries(
    {
        "stack": U64,
        "value": I64,
        "span": st.one_of(st.none(), U64),
        "trace": st.one_of(st.none(), st.binary(min_size=16, max_size=16)),
        "labels": st.lists(SAMPLE_LABEL, max_size=2),
    }
)
PLAIN_SAMPLE: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"stack": U64, "value": I64, "span": st.none(), "trace": st.none(), "labels": st.just([])}
)
#: A row: half of all jobs are as plain as nearly all real ones.
ROW = st.fixed_dictionaries(
    {
        "id": st.binary(min_size=16, max_size=16),
        "series": st.integers(0, 2**32 - 1),
        "partition": U64,
        "total": I64,
        "time": I64,
        "samples": st.lists(SAMPLE, max_size=5),
        "drop": OPTIONAL_I64,
        "keep": OPTIONAL_I64,
        "duration": OPTIONAL_I64,
        "period": OPTIONAL_I64,
        "default": OPTIONAL_I64,
        "comments": st.lists(I64, max_size=3),
        "annotations": st.lists(st.fixed_dictionaries({"Key": st.text(max_size=9), "Value": st.text()}), max_size=2),
    }
)
PLAIN_ROW = st.fixed_dictionaries(
    {
        "id": st.binary(min_size=16, max_size=16),
        "series": st.integers(0, 9),
        "partition": st.just(0),
        "total": I64,
        "time": I64,
        "samples": st.lists(PLAIN_SAMPLE, max_size=40),
        "drop": st.none(),
        "keep": st.none(),
        "duration": OPTIONAL_I64,
        "period": st.none(),
        "default": OPTIONAL_I64,
        "comments": st.just([]),
        "annotations": st.just([]),
    }
)


def jobs(max_datasets: int = 4) -> st.SearchStrategy[ProfileRows]:
    """Profiles of several datasets in the form that `read_profiles` returns; some datasets have no rows."""
    dataset = st.one_of(st.lists(PLAIN_ROW, max_size=6), st.lists(ROW, max_size=5))
    return st.lists(dataset, max_size=max_datasets).map(make_rows)


def make_rows(datasets: list[list[dict[str, Any]]]) -> ProfileRows:
    """Rows as dicts (keys as in `ROW`) to columns."""
    rows = [row for dataset in datasets for row in dataset]
    samples = [sample for row in rows for sample in row["samples"]]

    def signed(values: list[int]) -> Any:
        return np.array([value & (2**64 - 1) for value in values], np.uint64).view(np.int64)

    def some(values: list[Any], kind: Any) -> Any:
        empty = all(value is None or value == [] for value in values)
        return None if empty else pa.array(values, kind)

    return ProfileRows(
        dataset_start=np.cumsum([0, *map(len, datasets)], dtype=np.int64),
        id=np.frombuffer(b"".join(row["id"] for row in rows), np.uint8).reshape(len(rows), 16),
        series=np.array([row["series"] for row in rows], np.int64),
        partition=np.array([row["partition"] for row in rows], np.uint64),
        unit=np.full(len(rows), -1, np.int64),
        total_value=signed([row["total"] for row in rows]),
        time_ns=signed([row["time"] for row in rows]),
        sample_start=np.cumsum([0, *(len(row["samples"]) for row in rows)], dtype=np.int64),
        stack=signed([sample["stack"] for sample in samples]),
        value=signed([sample["value"] for sample in samples]),
        span_id=some([sample["span"] for sample in samples], pa.uint64()),
        trace_id=some([sample["trace"] for sample in samples], TRACE_ID_TYPE),
        sample_labels=some([sample["labels"] for sample in samples], LABELS_TYPE),
        drop_frames=some([row["drop"] for row in rows], pa.int64()),
        keep_frames=some([row["keep"] for row in rows], pa.int64()),
        duration_ns=some([row["duration"] for row in rows], pa.int64()),
        period=some([row["period"] for row in rows], pa.int64()),
        default_sample_type=some([row["default"] for row in rows], pa.int64()),
        comments=some([row["comments"] for row in rows], COMMENTS_TYPE),
        annotations=some([row["annotations"] for row in rows], ANNOTATIONS_TYPE),
    )


def plain_rows(rows: int = 3, samples: int = 4, seed: int = 0) -> ProfileRows:
    """One dataset without anything unusual: `samples` samples in each row, a duration in every second one."""
    dice = np.random.default_rng(seed)
    nothing: dict[str, Any] = dict.fromkeys(("drop", "keep", "period", "default"))
    nothing |= {"comments": [], "annotations": []}
    plain: dict[str, Any] = {"span": None, "trace": None, "labels": []}
    dataset: list[dict[str, Any]] = []
    for number in range(rows):
        values = dice.integers(1, 9, samples).tolist()
        row = {
            "id": dice.bytes(16),
            "series": number // 2,
            "partition": 0,
            "total": sum(values),
            "time": 1_700_000_000_000_000_000 + number,
            "duration": 10 if number % 2 else None,
            "samples": [{"stack": 3 * at + 1, "value": value, **plain} for at, value in enumerate(values)],
        }
        dataset.append(nothing | row)
    return make_rows([dataset])


def assert_same(found: ProfileRows, wanted: ProfileRows) -> None:
    """Field by field; the message names the first that differs."""
    for field in fields(ProfileRows):
        mine, other = getattr(found, field.name), getattr(wanted, field.name)
        if mine is None or other is None:
            assert mine is other, field.name
        elif isinstance(mine, np.ndarray):
            assert mine.dtype == other.dtype, field.name
            assert mine.shape == other.shape, field.name
            assert np.array_equal(mine, other), field.name
        else:
            assert mine.type == other.type, field.name
            assert mine.to_pylist() == other.to_pylist(), field.name


def wheres(count: int) -> list[Where]:
    """A place per section, told apart by its dataset."""
    return [Where("segments/1/anonymous/X/block.bin", "profiles", str(number)) for number in range(count)]


def profiles_of(data: bytes, meta: dict[str, Any] | None = None) -> list[memoryview]:
    """The profiles sections of one object, found without the package under test."""
    meta = meta or slow_decoder.metadata_of(data)
    view = memoryview(data)
    return [
        view[dataset["table_of_contents"][0] : dataset["table_of_contents"][1]]
        for dataset in meta["datasets"]
        if not dataset.get("format")
    ]


def real_sections(root: Path) -> Iterator[tuple[str, list[memoryview]]]:
    """The profiles sections of all objects below a folder of real data, object by object."""
    old = root / "metas.json"
    metas = {meta["id"]: meta for meta in json.loads(old.read_text())} if old.exists() else {}
    for path in sorted(root.rglob("block.bin")):
        yield str(path), profiles_of(path.read_bytes(), metas.get(path.parent.name))
