"""Answers against the rows themselves: every sample, every matcher, files that moved, bounds."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.errors import BadQuery, DamagedSeries, ObjectMissing, QueryTooLarge
from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.answer import ReadBounds, RemoteReader
from pyro_assets.explore.remote_read.rows import View
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import upkeep
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import HOUR_MS
from tests.support import fakes
from tests.support.exports import NOW_MS, Held, config, derive, expected, opened
from tests.support.remote_reads import EVER, NAME, Archive, Condition, Series, body, decoded, query
from tests.support.remote_write import row

SAMPLES, CHUNKS = pb.ReadRequest.SAMPLES, pb.ReadRequest.STREAMED_XOR_CHUNKS
#: On the hour.
TIME = 1_795_597_200_000


def view(seen_by: str | None = None, **fields: Any) -> View:
    return View(Receiver(**({"name": "r", "url": "http://127.0.0.1/", "kind": "prometheus"} | fields)), seen_by)


def ask(
    archive: Archive, *conditions: Condition, seen: View | None = None, accepts: int = CHUNKS, **more: Any
) -> Series:
    reader = RemoteReader(archive.bucket, archive.ledger)
    (found,) = decoded(reader.answer(body(query(*conditions, **more), accepts=[accepts]), seen or view()))
    return found


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[App, Held]]:
    folder = tmp_path_factory.mktemp("read")
    with opened(folder, series=config(functions=["main.fibonacci"])) as pipeline:
        derive(pipeline)
        yield pipeline, expected(folder)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    yield Archive(fakes.MemoryBucket(), ledger)
    ledger.close()


@pytest.mark.parametrize("accepts", [SAMPLES, CHUNKS])
def test_every_sample_is_read(golden: tuple[App, Held], accepts: int):
    pipeline, wanted = golden
    answer = RemoteReader(pipeline.archive, pipeline.ledger).answer(body(query(), accepts=[accepts]), view())
    assert (answer.series, answer.samples) == (len(wanted), sum(map(len, wanted.values())))
    assert decoded(answer) == [wanted]


def holds(condition: Condition, labels: dict[str, str]) -> bool:
    name, operator, value = condition
    given = labels.get(name, "")
    found = given == value if operator in ("=", "!=") else re.fullmatch(value, given) is not None
    return found == (operator in ("=", "=~"))


@pytest.mark.parametrize(
    "conditions",
    [
        [(NAME, "=", "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds")],
        [(NAME, "=~", "pyroscope_exported_metrics_goroutines.*")],
        [(NAME, "=~", "profiles_recorded_alloc_by_service|nothing")],
        [(NAME, "!~", "pyroscope.*"), ("service_name", "!=", "billing")],
        [("service_name", "=~", "ch.*|b"), ("pod", "=", "")],
        [("tenant", "=", "acme")],
        [("tenant", "=~", "acme|globex"), ("tenant", "!=", "acme")],
        [("pyroscope_shard", "!=", "")],
        [("no_such_label", "=", "")],
        [("no_such_label", "=~", ".+")],
        [("function", "=~", "main[.]fib.*")],
    ],
    ids=repr,
)
def test_matchers_are_those_of_prometheus(golden: tuple[App, Held], conditions: list[Condition]):
    pipeline, every = golden
    answer = RemoteReader(pipeline.archive, pipeline.ledger).answer(body(query(*conditions)), view())
    wanted = {labels: found for labels, found in every.items() if all(holds(one, dict(labels)) for one in conditions)}
    assert decoded(answer) == [wanted]


def test_several_queries_have_answers_of_their_own(golden: tuple[App, Held]):
    pipeline, every = golden
    reader = RemoteReader(pipeline.archive, pipeline.ledger)
    asked = [query(("tenant", "=", "nobody")), query(), query(("tenant", "=", "acme"))]
    wanted = [{}, every, {labels: found for labels, found in every.items() if ("tenant", "acme") in labels}]
    for accepts in (SAMPLES, CHUNKS):
        assert decoded(reader.answer(body(*asked, accepts=[accepts]), view())) == wanted


def test_a_look_up_of_series_reads_no_samples(golden: tuple[App, Held]):
    pipeline, every = golden
    reader = RemoteReader(pipeline.archive, pipeline.ledger)
    for accepts in (SAMPLES, CHUNKS):
        answer = reader.answer(body(query(func="series"), accepts=[accepts]), view())
        assert decoded(answer) == [{labels: [] for labels in every}]
        assert answer.samples == 0


def test_both_ends_of_a_span_are_asked_for(archive: Archive):
    times = [TIME - HOUR_MS, TIME - 1, TIME, TIME + 1, TIME + HOUR_MS - 1, TIME + HOUR_MS]
    for number, time in enumerate(times):
        archive.add([row(timestamp_ms=time, value=float(number))])
    for begin in range(len(times)):
        for end in range(len(times)):
            found = ask(archive, span=(times[begin], times[end]))
            wanted = [(times[number], float(number)) for number in range(begin, end + 1)]
            assert list(found.values()) == ([wanted] if wanted else [])
    assert ask(archive, span=EVER, start_ms=TIME, end_ms=TIME + 1) == ask(archive, span=(TIME, TIME + 1))


def test_hours_outside_of_the_span_are_not_read(archive: Archive):
    keys = [archive.add([row(timestamp_ms=TIME + hour * HOUR_MS)]) for hour in range(6)]
    ask(archive, span=(TIME + 2 * HOUR_MS, TIME + 3 * HOUR_MS))
    assert archive.bucket.calls == [("read", keys[2]), ("read", keys[3])]


def test_series_go_on_over_hours_and_slices(archive: Archive):
    wanted: dict[str, list[tuple[int, float]]] = {}
    for hour in range(5):
        for step in range(3):
            time = TIME + hour * HOUR_MS + step * 5000
            rows = [row(timestamp_ms=time, value=hour + step / 4, pod=f"p{pod}") for pod in range(hour % 2, 3)]
            archive.add(rows)
            for one in rows:
                wanted.setdefault(one["labels"][0]["value"], []).append((time, one["value"]))
    reader = RemoteReader(archive.bucket, archive.ledger, ReadBounds(rows_at_once=2, samples_at_once=2))
    for accepts in (SAMPLES, CHUNKS):
        (found,) = decoded(reader.answer(body(query(), accepts=[accepts]), view()))
        assert {dict(labels)["pod"]: samples for labels, samples in found.items()} == wanted


def test_rows_of_a_shared_file_that_have_a_newer_one_do_not_count(archive: Archive):
    archive.add([row(timestamp_ms=TIME + step, value=1.0) for step in range(3)], shared=True)
    archive.add([row(timestamp_ms=TIME + 1, value=2.0)])
    assert list(ask(archive).values()) == [[(TIME, 1.0), (TIME + 1, 2.0), (TIME + 2, 1.0)]]


def test_a_file_that_moves_while_it_is_looked_for_is_found(archive: Archive):
    rows = [row(timestamp_ms=TIME + step) for step in range(2)]
    before = [archive.add([one]) for one in rows]

    def merge(method: str, key: str) -> None:
        archive.bucket.before = None
        archive.add(rows, shared=True)
        for old in before:
            del archive.bucket.objects[old]

    archive.bucket.before = merge
    assert list(ask(archive).values()) == [[(TIME, 1.0), (TIME + 1, 1.0)]]


def test_what_cannot_be_read_is_no_answer(archive: Archive):
    key = archive.add([row(timestamp_ms=TIME)])
    archive.add([row(timestamp_ms=TIME + HOUR_MS)])
    good = archive.bucket.objects[key]
    archive.bucket.objects[key] = good[:50] + bytes([good[50] ^ 1]) + good[51:]
    with pytest.raises(DamagedSeries, match="CRC-32C"):
        ask(archive)
    del archive.bucket.objects[key]
    with pytest.raises(ObjectMissing):
        ask(archive)


# --- As a receiver has them ---------------------------------------------------------------------------------------


def test_names_and_labels_are_those_of_the_receiver(archive: Archive):
    archive.add([row("m", 1.0, TIME, "acme", **{"k8s.pod": "a"}), row("n", 1.0, TIME, "globex")])
    seen = view(labels={"cluster": "c"}, tenant_label="org", select=['{k8s.pod="a"}'.replace("k8s.pod", '"k8s.pod"')])
    labels = ((NAME, "m"), ("cluster", "c"), ("k8s_pod", "a"), ("org", "acme"))
    assert list(ask(archive, seen=seen)) == [labels]
    assert list(ask(archive, ("k8s_pod", "=", "a"), ("cluster", "=~", "c|d"), ("org", "=", "acme"), seen=seen)) == [
        labels
    ]
    assert ask(archive, ("cluster", "!=", "c"), seen=seen) == {}
    utf8 = view(label_names="utf8", tenants=["acme"])
    assert list(ask(archive, ("k8s.pod", "=", "a"), seen=utf8)) == [((NAME, "m"), ("k8s.pod", "a"))]


def test_series_that_become_one_are_added_up_as_when_they_are_sent(archive: Archive):
    archive.add([row("m", 1.0, TIME, **{"a.b": "x"}), row("m", 2.0, TIME, a_b="x")])
    # Of two rules nobody can say which is meant: a receiver gets neither.
    archive.add([row("m", 5.0, TIME + 1, rule="r", **{"a.b": "x"}), row("m", 6.0, TIME + 1, rule="s", a_b="x")])
    archive.add([row("m", 7.0, TIME + 2, a_b="x"), row("m", float("nan"), TIME + 2, a_b="y")])
    assert ask(archive) == {((NAME, "m"), ("a_b", "x"), ("tenant", "acme")): [(TIME, 3.0), (TIME + 2, 7.0)]}


def test_what_no_receiver_takes_is_left_out(archive: Archive):
    archive.add([row(name, 1.0, TIME) for name in ("", "no name", "m")])
    assert [labels[0] for labels in ask(archive)] == [(NAME, "m")]


@pytest.mark.parametrize(
    ("fields", "org_id", "tenants"),
    [
        ({}, None, {"acme", "globex", "initech"}),
        ({}, "acme", {"acme"}),
        ({}, "*", set()),
        ({"tenants": ["g*"]}, None, {"globex"}),
        ({"tenants": ["g*"]}, "acme", set()),
        ({"org_ids": {"acme": "one", "globex": "one"}}, "one", {"acme", "globex"}),
        ({"org_ids": {"acme": "one"}}, "acme", set()),
        ({"org_id": "all", "tenant_label": "tenant"}, "all", {"acme", "globex", "initech"}),
        ({"org_id": "all"}, "acme", set()),
    ],
)
def test_a_tenant_is_who_is_sent_under_that_name(
    archive: Archive, fields: dict[str, Any], org_id: str | None, tenants: set[str]
):
    archive.add([row("m", 1.0, TIME, tenant, whose=tenant) for tenant in ("acme", "globex", "initech")])
    found = ask(archive, seen=view(org_id, **fields))
    assert {dict(labels)["whose"] for labels in found} == tenants


def test_tenants_are_never_taken_for_each_other(archive: Archive):
    archive.add([row("m", 1.0, TIME, tenant) for tenant in ("acme", "globex")])
    mimir = view(kind="mimir")
    with pytest.raises(BadQuery, match=r"several tenants \(acme, globex\).*X-Scope-OrgID"):
        ask(archive, seen=mimir)
    assert list(ask(archive, seen=replace(mimir, org_id="globex"))) == [((NAME, "m"),)]


# --- Bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "why"),
    [
        (ReadBounds(samples=19), "more than 19 samples"),
        (ReadBounds(series=9), "more than 9 series"),
        (ReadBounds(bytes=300), "more than 300 bytes"),
        (ReadBounds(series_bytes=30), "more than 30 bytes of one series"),
        (ReadBounds(), "longer than it may"),
    ],
)
@pytest.mark.parametrize("accepts", [SAMPLES, CHUNKS])
def test_too_much_is_refused_before_anything_is_sent(archive: Archive, bounds: ReadBounds, why: str, accepts: int):
    for hour in range(2):
        archive.add([row("m", 1.0, TIME + hour * HOUR_MS, pod=f"p{pod}") for pod in range(10)])
    seconds = iter(range(100))
    reader = RemoteReader(archive.bucket, archive.ledger, bounds, monotonic=lambda: next(seconds))
    with pytest.raises(QueryTooLarge, match=why):
        reader.answer(body(query(), accepts=[accepts]), view(), seconds=0.5 if "longer" in why else 9)
    enough = RemoteReader(archive.bucket, archive.ledger, ReadBounds(20, 10, 10_000, 1000))
    assert enough.answer(body(query(), accepts=[accepts]), view()).samples == 20


def test_an_archive_without_series_has_an_empty_answer(archive: Archive):
    assert ask(archive) == ask(archive, accepts=SAMPLES) == {}
    assert ask(archive, span=(5, 4)) == {}


@pytest.mark.parametrize("accepts", [SAMPLES, CHUNKS])
def test_hours_in_the_table_of_series_answer_as_they_did_from_their_jobs(tmp_path: Path, accepts: int):
    with opened(tmp_path) as pipeline:
        derive(pipeline)
        reader = RemoteReader(pipeline.archive, pipeline.ledger)
        [before] = decoded(reader.answer(body(query(), accepts=[accepts]), view()))
    with opened(tmp_path, now_ms=NOW_MS + 48 * HOUR_MS) as pipeline:
        assert upkeep.merge_series(pipeline).hours
        assert list((tmp_path / "archive" / "series_table").rglob("*.parquet"))
        reader = RemoteReader(pipeline.archive, pipeline.ledger)
        [after] = decoded(reader.answer(body(query(), accepts=[accepts]), view()))
    assert before
    assert after == before
