"""Programs are repeatable, whole (every reference leads somewhere) and look like what profilers send."""

import pytest

from pyro_assets.generator.fleet import SERVICES, Service, pods_of_shard
from pyro_assets.generator.programs import build_program

EACH = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)


@EACH
def test_equal_seeds_give_equal_programs(service: Service):
    assert build_program(service, 5) == build_program(service, 5)
    assert build_program(service, 5) != build_program(service, 6)


@EACH
def test_every_reference_leads_somewhere(service: Service):
    program = build_program(service, 1)
    for location in program.locations:
        assert 1 <= location.mapping <= len(program.mappings)
        assert all(1 <= function <= len(program.functions) for function, _ in location.lines)
        assert program.mappings[location.mapping - 1].has_symbols == bool(location.lines)
    for stack in program.stacks:
        names = {
            program.functions[function - 1].name
            for number in stack.locations
            for function, _ in program.locations[number - 1].lines
        }
        assert names == stack.functions
        assert stack.weights


def test_the_fleet_has_what_real_profiles_have():
    programs = [build_program(service, 1) for service in SERVICES]
    locations = [location for program in programs for location in program.locations]
    names = {function.name for program in programs for function in program.functions}
    assert len({service.tenant for service in SERVICES}) == 3
    assert len(SERVICES) == 8
    assert {service.language for service in SERVICES} == {"go", "java", "python"}
    assert any(len(location.lines) > 1 for location in locations), "inlining"
    assert any(not location.lines for location in locations), "native code without symbols"
    assert any("[...]" in name for name in names), "generics"
    assert any(not name.isascii() for name in names)
    assert any(len(stack.locations) != len(set(stack.locations)) for program in programs for stack in program.stacks)
    assert {labels for program in programs for stack in program.stacks for labels in stack.labels} >= {
        ("vehicle", "bike"),
        ("http.method", "GET"),
    }


@pytest.mark.parametrize("shards", [1, 2, 4, 7, 40])
def test_every_pod_has_one_shard(shards: int):
    pods = [pod for shard in range(1, shards + 1) for pod in pods_of_shard(shard, shards)]
    assert len(pods) == len(set(pods)) == sum(service.pods for service in SERVICES)
