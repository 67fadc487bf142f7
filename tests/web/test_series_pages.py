"""The pages of stored series against the files themselves, read by pyarrow: metrics, label sets, samples, origin."""

import html
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.explore.scan import Asked, Bounds
from pyro_assets.explore.series import SeriesReader
from pyro_assets.operations import runs, sending, upkeep
from pyro_assets.web.app import make_app
from tests.support.exports import HOUR, NOW_MS, config, derive, opened, scripted, stored
from tests.support.scripted_server import scripted_server
from tests.support.web_client import Client, site_of

HOSTILE = '"><script>alert(1)</script>\u202e'
SPAN = {"hours": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, App]]:
    """The golden jobs with functions, sent to one receiver; another one is paused."""
    folder = tmp_path_factory.mktemp("series")
    with (
        scripted_server() as server,
        opened(
            folder, scripted(server), scripted(server, "late"), series=config(functions=["main.fibonacci"])
        ) as pipeline,
    ):
        derive(pipeline)
        sending.pause(pipeline, "late", paused=True)
        sending.export(pipeline, [HOUR])
        yield folder, pipeline


@pytest.fixture(scope="module")
def client(world: tuple[Path, App]) -> Client:
    return Client(make_app(site_of(world[1], dagster_url="http://dagster.example")))


@pytest.fixture(scope="module")
def rows(world: tuple[Path, App]) -> list[dict[str, Any]]:
    return list(stored(world[0]))


def labels_of(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((pair["name"], pair["value"]) for pair in row["labels"])


def test_metrics_are_those_of_the_files(client: Client, rows: list[dict[str, Any]]):
    found = client.call("GET", "/metrics?hours=3&limit=1000").json
    samples = Counter((row["tenant"], row["metric"]) for row in rows)
    series = {name: len({labels_of(row) for row in rows if (row["tenant"], row["metric"]) == name}) for name in samples}
    assert {(one["tenant"], one["metric"]): one["samples"] for one in found["rows"]} == samples
    assert {(one["tenant"], one["metric"]): one["series"] for one in found["rows"]} == series
    assert found["total"] == len(samples)
    assert found["tenants"] == sorted({row["tenant"] for row in rows})
    assert (found["extent"]["rows"], found["extent"]["cut"]) == (len(rows), "")


def test_filters(client: Client, rows: list[dict[str, Any]]):
    def count(**query: str) -> int:
        return sum(one["samples"] for one in client.call("GET", "/metrics?" + encoded(hours="3", **query)).json["rows"])

    tenant, rule = rows[0]["tenant"], rows[-1]["rule"]
    assert count() == len(rows)
    assert count(tenant=tenant) == sum(row["tenant"] == tenant for row in rows)
    assert count(rule=rule) == sum(row["rule"] == rule for row in rows)
    assert count(kind="function") + count(kind="dimension") == len(rows)
    # Whatever its case, in metrics, in names and in values of labels.
    for text in ("CPU", "service_NAME", "ride-sharing"):
        low = text.lower()
        having = [row for row in rows if any(low in part.lower() for part in (row["metric"], *sum(labels_of(row), ())))]
        assert 0 < len(having) == count(text=text)
    assert count(text="no such thing") == 0


def encoded(**query: str) -> str:
    from urllib.parse import urlencode

    return urlencode(query)


def test_a_series_with_its_samples_and_where_they_came_from(
    client: Client, rows: list[dict[str, Any]], world: tuple[Path, App]
):
    wanted = next(row for row in rows if "_functions_" in row["metric"])
    name = {"metric": wanted["metric"], "tenant": wanted["tenant"], "hours": "3"}
    listed = client.call("GET", "/series?" + encoded(**name)).json["rows"]
    assert {tuple(one["labels"].items()) for one in listed} == {
        labels_of(row) for row in rows if (row["metric"], row["tenant"]) == (wanted["metric"], wanted["tenant"])
    }
    (one,) = [one for one in listed if tuple(one["labels"].items()) == labels_of(wanted)]
    mine = [row for row in rows if row["metric"] == wanted["metric"] and labels_of(row) == labels_of(wanted)]
    mine = [row for row in mine if row["tenant"] == wanted["tenant"]]
    found = client.call("GET", "/series/samples?" + encoded(**name, id=one["id"])).json
    assert [(s["timestamp_ms"], s["value_int"], s["job"], s["rule"]) for s in found["samples"]] == sorted(
        (row["timestamp_ms"], row["value_int"], row["job"], row["rule"]) for row in mine
    )
    page = client.get("/series/one", {**name, "id": one["id"]})
    assert page.status == 200
    assert f"{wanted['value_int']:,}" in page.words or len(mine) > 1
    # Back to rule, hour, run and block.
    assert "main.fibonacci" in page.words
    # What draws it elsewhere: amounts of five minutes as cores.
    assert re.search(r"sum \(sum_over_time\(\w+\{.*function=\"main.fibonacci\".*\}\[5m\]\)\) / 300 / 1e9", page.words)
    assert "cores" in page.words
    assert 'class="spark"' in client.get("/series/metric", name).text
    assert f"/status/hours/{HOUR.replace(':', '%3A')}" in page.text
    assert "http://dagster.example/assets/l1_blocks?view=partitions&amp;partition=2026-11-25-09%3A00" in page.text
    (key,) = re.findall(r"pyro-assets inspect (blocks/\S+/block.bin)", page.words)
    assert (world[0] / "archive" / key).is_file()
    assert f"/{wanted['tenant']}/" in key
    assert "r function accepted" in page.words
    assert "late all pending" in page.words
    assert "<svg" in page.text


def test_a_job(client: Client, rows: list[dict[str, Any]]):
    job = rows[0]["job"]
    page = client.get(f"/series/jobs/{job}")
    assert page.status == 200
    found = client.call("GET", f"/jobs/{job}").json
    assert {source["key"] for source in found["job"]["job"]["sources"]} <= set(re.findall(r"segments/\S+", page.words))
    assert {one["receiver"] for one in found["receipts"]} == {"r"}
    assert client.get("/series/jobs/none").status == 404
    assert client.call("GET", "/jobs/none").status == 404


def test_pages_of_the_list(client: Client):
    whole = client.call("GET", "/metrics?hours=3&limit=1000").json["rows"]
    paged = [client.call("GET", f"/metrics?hours=3&limit=7&start={start}").json["rows"] for start in range(0, 100, 7)]
    assert [one for page in paged for one in page] == whole
    page = client.get("/series", SPAN)
    assert all(one["metric"] in page.text for one in whole[:100])


def test_nothing_there(client: Client):
    page = client.get("/series", {"until": "2026-11-20 00:00"})
    assert page.status == 200
    assert "The latest hour with segments is 2026-11-25 09:00" in page.words
    # Filters stay on the way to where something may be.
    page = client.get("/series", {"until": "2026-11-20 00:00", "kind": "function"})
    (there,) = re.findall(r'href="([^"]+)">show its series<', page.text)
    assert client.get(html.unescape(there)).text.count('data-name="series"') > 0
    assert "kind=function" in there
    page = client.get("/series", {"hours": "3", "tenant": HOSTILE, "text": HOSTILE})
    assert "Without filters" in page.words
    assert "<script>" not in page.text
    gone = client.get("/series/one", {"metric": HOSTILE, "id": "x"})
    assert gone.status == 404
    assert "<script>" not in gone.text
    assert client.get("/series/metric", {"metric": "none"}).status == 200
    assert client.get("/series/metric").status == 400
    for query in ({"hours": "0"}, {"hours": "many"}, {"last": "0h"}, {"until": "soon"}, {"start": "-1"}):
        assert client.get("/series", query).status == 400
    assert client.call("GET", "/series/samples?metric=x&id=y").status == 404


def test_a_bound_is_met_and_said(world: tuple[Path, App], rows: list[dict[str, Any]]):
    pipeline, asked = world[1], Asked(0, NOW_MS)
    # The newest come first.
    newest = sorted({(row["timestamp_ms"], row["job"]) for row in rows})[-1][1]
    for bounds, why in (
        (Bounds(files=2), "more than 2 files"),
        (Bounds(bytes=1), "more than 0 MiB"),
        (Bounds(rows=1), "1 samples"),
    ):
        found = SeriesReader(pipeline.archive, pipeline.ledger, bounds).metrics(asked)
        assert why in found.extent.cut
        assert 0 < found.extent.rows < len(rows)
        assert sum(one.samples for one in found.rows) <= sum(row["job"] == newest for row in rows)
    ticks = iter(range(1000))
    slow = SeriesReader(pipeline.archive, pipeline.ledger, Bounds(seconds=0.5), monotonic=lambda: float(next(ticks)))
    found = slow.metrics(asked)
    assert "longer than 0.5 s" in found.extent.cut
    assert found.extent.files < len({(row["job"], "_functions_" in row["metric"]) for row in rows})


def test_a_damaged_file_hides_no_other(tmp_path: Path, rows: list[dict[str, Any]]):
    with opened(tmp_path, series=config(functions=["main.fibonacci"])) as pipeline:
        derive(pipeline)
        first, second, *_ = sorted((tmp_path / "archive").rglob("*.parquet"))
        data = bytearray(first.read_bytes())
        data[-12:-8] = b"\xff" * 4
        first.write_bytes(data)
        second.unlink()
        page = Client(make_app(site_of(pipeline))).get("/series", SPAN)
        found = SeriesReader(pipeline.archive, pipeline.ledger).metrics(Asked(0, NOW_MS))
    assert len(found.extent.unreadable) == 2
    assert any(first.name in why and "was written with" in why for why in found.extent.unreadable)
    assert any(second.name in why for why in found.extent.unreadable)
    lost = {first.stem, second.stem}
    assert sum(one.samples for one in found.rows) >= sum(row["job"] not in lost for row in rows)
    assert first.name in page.text


@pytest.mark.parametrize("value", [HOSTILE, "a\nb\0c", "x" * 1000, "ünï \u2028 ☂", "'\"\\{}&amp;"])
def test_hostile_labels_are_shown_as_text_and_can_be_followed(tmp_path: Path, value: str):
    with opened(tmp_path, series=config()) as pipeline:
        derive(pipeline)
        path = min((tmp_path / "archive").rglob("*.parquet"))
        rewrite(path, value)
        with pipeline.ledger.write() as connection:
            key, size = path.relative_to(tmp_path / "archive").as_posix(), path.stat().st_size
            connection.exec_driver_sql(
                f"UPDATE series_files SET size_bytes = {size}, crc32c = NULL WHERE key = '{key}'"
            )
        client = Client(make_app(site_of(pipeline)))
        pages = [client.get("/series", SPAN | {"text": "hostile"})]
        pages.append(client.get("/series/metric", SPAN | {"metric": "hostile"}))
        link = re.search(r'href="(/series/one[^"]*)"', pages[-1].text)
        assert link, pages[-1].words
        pages.append(client.get(link[1].replace("&amp;", "&")))
        assert [page.status for page in pages] == [200] * 3
        assert all("<script>" not in page.text for page in pages)
        assert not re.search("[\u202e\0]", pages[-1].text)
        found = client.call("GET", "/series?hours=3&metric=hostile").json["rows"]
    assert found[0]["labels"] == {"name": value}


def rewrite(path: Path, value: str) -> None:
    """Puts a metric with one hostile label in the place of a file's first row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pyro_assets.series.frame import SCHEMA

    row = pq.read_table(path, partitioning=None).to_pylist()[0]
    row |= {"metric": "hostile", "labels": [{"name": "name", "value": value}], "rule": value}
    pq.write_table(pa.Table.from_pylist([row], schema=SCHEMA), path, store_schema=False)


def test_merged_files_give_the_same(tmp_path: Path):
    series = config(functions=["main.fibonacci"])
    with opened(tmp_path, series=series) as pipeline:
        derive(pipeline)
    # Later, because what was just written is not merged.
    with opened(tmp_path, series=series, now_ms=NOW_MS + 600_000) as pipeline:
        reader, asked = SeriesReader(pipeline.archive, pipeline.ledger), Asked(0, NOW_MS)
        before = reader.metrics(asked)
        metric = before.rows[0]
        of_metric = Asked(0, NOW_MS, tenant=metric.tenant, metric=metric.metric)
        sets = reader.label_sets(of_metric).rows
        samples = reader.samples(of_metric, sets[0].id).samples
        assert upkeep.merge_series(pipeline).hours
        after = reader.metrics(asked)
        assert (after.rows, after.extent.rows) == (before.rows, before.extent.rows)
        assert (before.extent.files, after.extent.files) == (6, 2)
        assert reader.label_sets(of_metric).rows == sets
        assert reader.samples(of_metric, sets[0].id).samples == samples
        # Jobs that are derived anew have files of their own; their rows in the merged file do not count.
        runs.run(pipeline, [HOUR], frozenset({"function_series"}), run_id="again")
        again = reader.metrics(asked)
        assert (again.rows, again.extent.rows) == (before.rows, before.extent.rows)
        assert again.extent.files == 4
