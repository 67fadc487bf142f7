"""One object that is not given out while others are costs itself only; a bucket that gives out nothing costs nobody."""

from collections.abc import Callable

import pytest

from pyro_assets.errors import AccessRefused, ObjectUnreadable, StorageError, StorageUnavailable, Throttled
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs
from pyro_assets.storage.remote import remedy_of
from tests.support import fakes
from tests.support.ledgers import HOUR
from tests.support.worlds import World

DENIED = "PermissionError: Access Denied"


def refuse(world: World, is_refused: Callable[[str], bool], make: Callable[[str], StorageError]) -> None:
    """What the source does from now on when these keys are read."""

    def before(method: str, key: str) -> None:
        if method in ("read", "get_range") and is_refused(key):
            raise make(key)

    world.source.before = before


def denied(key: str) -> AccessRefused:
    return AccessRefused("refuses access; check the credentials", key=key, reason=DENIED)


def archived(key: str) -> ObjectUnreadable:
    return ObjectUnreadable(f"{key} is archived; {remedy_of('InvalidObjectState')}", keys=(key,))


def run_until_nothing_waits(world: World) -> int:
    """Runs as long as something is tried again; how often."""
    for number in range(20):
        world.tick_and_run()
        if not HourRecords(world.ledger).hour_status(HOUR).jobs_by_state.get("planned"):
            return number
        world.clock.forward(600)
    raise AssertionError("something is tried again for ever")


@pytest.mark.parametrize(("make", "remedy"), [(denied, "its ACL, a policy"), (archived, "aws s3api restore-object")])
def test_one_object_that_is_refused_is_set_aside_after_its_attempts_and_its_siblings_are_done_at_once(
    world: World, make: Callable[[str], StorageError], remedy: str
):
    keys = [world.segment(-30 + second, f"acme {1 << second}") for second in range(3)]
    refuse(world, lambda key: key == keys[1], make)
    report = world.tick_and_run()
    assert world.archived_values() == [(b"acme", 1), (b"acme", 4)]
    assert report.jobs_by_state == {"split": 1, "derived": 1, "planned": 1}
    (waiting,) = QuarantineRecords(world.ledger).kept_failures()
    assert (waiting.subject, waiting.given_up, waiting.failure.cause) == ("job", False, "ObjectUnreadable")
    # As often as a job is tried, the first time beside its siblings.
    assert run_until_nothing_waits(world) == world.settings.max_attempts - 1
    (aside,) = runs.hour_report(world.pipeline, HOUR).set_aside
    assert (aside.key, aside.state) == (keys[1], "set_aside")
    assert keys[1] in aside.reason
    assert remedy in aside.reason
    assert "then `pyro-assets quarantine retry KEY`" in aside.reason
    assert "credentials" not in aside.reason
    # Once it is given out, a person lets it be tried again.
    world.source.before = None
    Pardons(world.ledger).retry_source(keys[1])
    world.clock.forward(600)
    world.tick_and_run()
    assert world.archived_values() == world.source_values()


def test_a_refused_object_that_is_alone_in_its_job_is_compared_with_its_neighbours(world: World):
    world.segment(-900)
    world.tick_and_run()
    key = world.segment(-30)
    refuse(world, lambda asked: asked == key, denied)
    run_until_nothing_waits(world)
    assert world.state_of(key) == "set_aside"


@pytest.mark.parametrize("make", [denied, lambda key: StorageUnavailable("500", key=key)])
def test_a_bucket_that_gives_out_nothing_sets_nothing_aside(world: World, make: Callable[[str], StorageError]):
    keys = [world.segment(-30 + second) for second in range(3)]
    refuse(world, lambda _: True, make)
    for _ in range(3 * world.settings.max_attempts):
        assert world.tick_and_run().jobs_by_state == {"planned": 1}
        world.clock.forward(600)
    world.source.before = None
    assert world.tick_and_run().run.derived == 1
    assert {world.state_of(key) for key in keys} == {"done"}


def test_throttling_blames_no_object(world: World):
    keys = [world.segment(-30 + second) for second in range(3)]
    refuse(world, lambda key: key == keys[1], lambda key: Throttled("503 SlowDown", key=key))
    for _ in range(3 * world.settings.max_attempts):
        assert world.tick_and_run().jobs_by_state == {"planned": 1}
        world.clock.forward(600)


def test_a_fault_of_the_store_at_one_object_is_waited_for_before_it_is_split_off(world: World):
    keys = [world.segment(-30 + second) for second in range(3)]
    refuse(world, lambda key: key == keys[1], lambda key: StorageUnavailable("500 InternalError", key=key))
    for _ in range(world.settings.max_attempts - 1):
        assert world.tick_and_run().jobs_by_state == {"planned": 1}
        world.clock.forward(600)
    assert world.tick_and_run().jobs_by_state == {"split": 1, "derived": 1, "planned": 1}
    run_until_nothing_waits(world)
    assert [world.state_of(key) for key in keys] == ["done", "set_aside", "done"]


def test_what_the_archive_does_not_give_out_is_no_fault_of_a_source(world: World):
    keys = [world.segment(-30 + second) for second in range(2)]

    def before(method: str, key: str) -> None:
        if not killed:
            killed.append(key)
            raise fakes.Killed
        # Whoever tries a job for the second time looks whether the first one came so far.
        if key.startswith("commits/"):
            raise archived(key)

    killed: list[str] = []
    refuse(world, lambda _: True, lambda key: before("read", key))  # type: ignore[arg-type, return-value]
    with pytest.raises(fakes.Killed):
        world.tick_and_run()
    world.source.before = None

    world.archive.before = before
    world.clock.forward(600)
    run_until_nothing_waits(world)
    (given_up,) = QuarantineRecords(world.ledger).kept_failures()
    assert (given_up.subject, given_up.given_up, given_up.failure.cause) == ("job", True, "ObjectUnreadable")
    assert {world.state_of(key) for key in keys} == {"quarantined"}
