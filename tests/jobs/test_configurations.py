"""Two processes with different configurations on one ledger say so; a change of one is no contradiction."""

from dataclasses import replace

from pyro_assets.monitoring.configurations import SEEN_MS
from pyro_assets.operations import ticks
from tests.support.worlds import SETTINGS, World


def test_two_processes_with_different_configurations_say_so(world: World) -> None:
    other = world.open(settings=SETTINGS.model_copy(update={"dedup": "original", "lanes": 2}))
    assert ticks.tick(world.pipeline).others == ()
    assert ticks.warnings(other) == []
    found = []
    # Ticks come every five seconds; the first sees the other at its next note, within a minute.
    for _ in range(13):
        world.clock.forward(5)
        found.append((ticks.tick(world.pipeline).others, ticks.other_configurations(other, "run")))
    mine, (theirs,) = found[-1]
    assert theirs.startswith(
        "another process works on this ledger with another configuration: dedup exact there, original here; "
        "lanes 1 there, 2 here; it was tick on "
    )
    assert theirs.endswith(" s ago: give both the same, or stop one")
    assert ["dedup original there, exact here" in sentence for sentence in mine] == [True]


def test_the_first_process_sees_one_that_came_later_and_stays(world: World) -> None:
    other = world.open(settings=SETTINGS.model_copy(update={"job_blocks": 7}))
    ticks.tick(world.pipeline)
    world.clock.forward(1)
    ticks.tick(other)
    (sentence,) = ticks.tick(world.pipeline).others
    assert "job_blocks 7 there, 3 here; it was tick on" in sentence
    # The other one is gone.
    world.clock.forward(SEEN_MS / 1000 + 1)
    assert ticks.tick(world.pipeline).others == ()


def test_a_change_of_configuration_and_a_process_that_knows_less_are_no_contradiction(world: World) -> None:
    for _ in range(3):
        ticks.tick(world.pipeline)
        world.clock.forward(30)
    after = world.open(settings=SETTINGS.model_copy(update={"job_blocks": 7}))
    for _ in range(10):
        world.clock.forward(5)
        assert ticks.tick(after).others == ()
    # Runs have read the rules of the file, ticks have not.
    after = replace(after, file_hash="ab" * 32)
    assert ticks.warnings(after) == []
    assert ticks.tick(after).others == ()
