"""How rules are doing, on golden jobs: series, samples and exports as the files have them, costs of every form."""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_assets.app import App
from pyro_assets.explore.standing import measure_costs, parts_of, standings
from pyro_assets.operations import sending
from pyro_assets.rules.config import parse_config
from tests.support.exports import HOUR, NOW_MS, derive, opened, scripted, stored
from tests.support.scripted_server import scripted_server

CONFIG = parse_config("""
functions: {"main.fibonacci": "{}"}
rules:
- {name: net, functions: [{glob: "runtime.*"}], by: [service_name]}
- {name: nothing, functions: [no.such.function]}
- {name: off, enabled: false, functions: [x]}
recording_rules:
- {id: recorded, metric_name: recorded, matchers: ['{}'], group_by: [pod]}
""")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, App]]:
    folder = tmp_path_factory.mktemp("standing")
    with scripted_server() as server, opened(folder, scripted(server), series=CONFIG) as pipeline:
        derive(pipeline)
        sending.export(pipeline, [HOUR])
        yield folder, pipeline


def test_figures_are_those_of_the_files(world: tuple[Path, App]):
    folder, pipeline = world
    series, samples = defaultdict(set), defaultdict(int)
    for row in stored(folder):
        labels = tuple((one["name"], one["value"]) for one in row["labels"])
        series[row["rule"]].add((row["tenant"], row["metric"], labels))
        samples[row["rule"]] += 1
    found = standings(pipeline.archive, pipeline.ledger, pipeline.clock())
    assert {rule: (one.series, one.samples) for rule, one in found.series.items()} == {
        rule: (len(series[rule]), samples[rule]) for rule in series
    }
    assert set(series) == {"net", "dimensions", "function:main.fibonacci", "recorded"}
    assert {rule: one.samples for rule, one in found.sent.items()} == samples
    assert found.sent["net"].receivers == {"r"}
    assert found.extent.cut == ""


def test_another_hour_knows_nothing(world: tuple[Path, App]):
    found = standings(world[1].archive, world[1].ledger, NOW_MS + 86_400_000)
    assert (found.series, found.sent) == ({}, {})


def test_every_form_that_is_on_has_a_cost(world: tuple[Path, App]):
    parts = parts_of(CONFIG)
    assert set(parts) == {"net", "nothing", "dimensions", "function:main.fibonacci", "recorded"}
    costs = measure_costs(world[1].archive, world[1].ledger, parts, wanted=list(parts), budget_seconds=60)
    assert set(costs) == set(parts)
    assert all(0 < cost < 60_000 for cost in costs.values())
    first = measure_costs(world[1].archive, world[1].ledger, parts, wanted=list(parts), budget_seconds=0)
    assert list(first) == ["net"]


def test_without_jobs_there_are_no_costs(tmp_path: Path):
    with opened(tmp_path) as pipeline:
        assert (
            measure_costs(pipeline.archive, pipeline.ledger, parts_of(CONFIG), wanted=["net"], budget_seconds=1) == {}
        )
