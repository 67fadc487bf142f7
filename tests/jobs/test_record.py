"""Commit records: canonical bytes, read back whole, refused by name when they are something else."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import BadRecord
from pyro_assets.jobs.record import CommitRecord, parse_record
from pyro_assets.ledger.records import Failure, JobSource, Output
from pyro_assets.ledger.schema import SourceState
from tests.support.ledgers import HOUR

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(0, 2**62)
FAILURES = st.builds(Failure, TEXTS, TEXTS, st.none() | TEXTS, st.none() | NUMBERS)
SOURCES = st.builds(
    JobSource, TEXTS, NUMBERS, st.sampled_from(get_args(SourceState)), st.none() | TEXTS, st.none() | FAILURES
)
OUTPUTS = st.builds(Output, TEXTS, TEXTS, TEXTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
RECORDS = st.builds(
    CommitRecord,
    id=TEXTS,
    mode=st.sampled_from(["own", "observe"]),
    dedup=st.sampled_from(["exact", "original"]),
    kind=st.sampled_from(["segments", "blocks"]),
    shard=NUMBERS,
    tenant=TEXTS,
    hour=st.just(HOUR),
    timestamp_ms=NUMBERS,
    instance=st.none() | TEXTS,
    sources=st.lists(SOURCES, max_size=3, unique_by=lambda source: source.key).map(tuple),
    outputs=st.lists(OUTPUTS, max_size=3).map(tuple),
    services=st.lists(st.tuples(TEXTS, TEXTS, NUMBERS, NUMBERS), max_size=2).map(tuple),
    facts=st.dictionaries(TEXTS, NUMBERS, max_size=2),
    oldest_ms=st.none() | NUMBERS,
)


@given(RECORDS)
def test_records_are_read_back(record: CommitRecord) -> None:
    data = record.to_bytes()
    assert parse_record(data, "key") == record
    assert parse_record(data, "key").to_bytes() == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"version": 2}',
        b'{"version": 1}',
        b'{"version": 1, "sources": [], "outputs": [{}], "services": []}',
        b'{"version": 1, "sources": [{"key": "k", "size_bytes": 1, "state": "odd"}], "outputs": [], "services": []}',
        b'{"version": 1, "sources": [], "outputs": [], "services": [[1]]}',
    ],
)
def test_what_is_no_record(data: bytes) -> None:
    with pytest.raises(BadRecord, match="some/key"):
        parse_record(data, "some/key")
