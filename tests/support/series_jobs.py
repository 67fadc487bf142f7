"""Small made jobs for tests of series: columns, and the same profiles as plain rows for the slow evaluation.

Add builders of what a test of series needs to say briefly; random jobs are made here too. Nothing of the engine under
test is used.
"""

from collections.abc import Sequence

from hypothesis import strategies as st

from pyro_assets.block.columns import BlockColumns
from pyro_assets.series.facts import JobInfo
from tests.oracle.series import Row
from tests.oracle.values import EMPTY_STACK, Frame, Labels, Line, Mapping, Profile, Sample, Stack
from tests.support.strategies import CPU, INUSE, ModelDataset, ModelObject, columns_of, labels_of, profile_of, ulid

GOROUTINES = b"goroutines:goroutine:count:goroutine:count"
ALLOC = b"memory:alloc_space:bytes:space:bytes"
SECOND_NS = 1_000_000_000

MAPPING = Mapping(b"/bin/app", b"build-1", 15, 0x400000, 0x800000, 0)

JOB = JobInfo("job-1", 3, 1_700_000_000_123, "0123456789abcdef")

#: (tenant, service, profile)
Given = tuple[bytes, bytes, Profile]


def frame(*names: bytes | None, address: int = 0) -> Frame:
    """A frame whose lines have these functions, innermost first; None is a line without function."""
    lines = tuple(Line(None, None, None, 0, 1) if name is None else Line(name, name, b"f.go", 1, 2) for name in names)
    return Frame(lines, address, MAPPING, False)


def stack(*frames: Frame | bytes) -> Stack:
    """A stack, root first; bytes stand for a plain frame of that function."""
    result = EMPTY_STACK
    for one in frames:
        result = Stack.of(frame(one) if isinstance(one, bytes) else one, result)
    return result


def sample(value: int, *frames: Frame | bytes) -> Sample:
    """A sample of a stack, root first."""
    return Sample(stack(*frames), value, None, None, ())


def profile(
    samples: Sequence[Sample | int],
    kind: bytes = CPU,
    service: bytes = b"shop",
    *,
    time_ns: int = SECOND_NS,
    labels: Labels = (),
    number: int = 0,
    **public: str,
) -> Given:
    """A profile of tenant acme; numbers stand for samples without frames. `labels` are added as bytes.

    Profiles of equal `number` (but 0) are parts of one.
    """
    stored = (*labels_of(service, kind, **public), *labels)
    all_samples = [Sample(EMPTY_STACK, one, None, None, ()) if isinstance(one, int) else one for one in samples]
    return b"acme", service, profile_of(stored, time_ns, all_samples, number=number)


def of_tenant(tenant: bytes, given: Given) -> Given:
    """The same profile for another tenant."""
    return tenant, *given[1:]


def job(*given: Given, split: bool = False, seed: int = 0) -> tuple[BlockColumns, list[Row]]:
    """Columns of some profiles, and the same as rows.

    Args:
        given: profiles.
        split: one dataset per profile, as if each came from a source of its own.
        seed: arranges symbol tables, 0 plainly.
    """
    datasets: dict[tuple[bytes, bytes, int], list[Profile]] = {}
    for position, (tenant, service, one) in enumerate(given):
        datasets.setdefault((tenant, service, position if split else 0), []).append(one)
    models = tuple(ModelDataset(key[0], key[1], tuple(own)) for key, own in sorted(datasets.items()))
    columns = columns_of(ModelObject(ulid(1_700_000_000_000, 1), 3, models, seed))
    return columns, [Row(tenant, service, 0, one) for tenant, service, one in given]


# --- Random jobs ------------------------------------------------------------------------------------------------

NAMES = [b"main.main", b"main.work", b"a", b"b", b"", b"\xff", b"x" * 1000, "größe".encode()]
FRAMES = st.builds(
    lambda names, address: frame(*names, address=address),
    st.lists(st.sampled_from([*NAMES, None]), max_size=3),
    st.integers(0, 2),
)
SAMPLES = st.builds(
    lambda value, frames: sample(value, *frames),
    st.one_of(st.integers(-3, 100), st.integers(-(2**60), 2**60)),
    st.lists(FRAMES, max_size=6),
)
PUBLIC = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(["x", "y", ""]) for name in ("pod", "env", "a.b", "function", "tenant")}
)
GIVEN = st.builds(
    lambda tenant, service, kind, time, number, public, samples: of_tenant(
        tenant, profile(samples, kind, service, time_ns=time, number=number, **public)
    ),
    st.sampled_from([b"acme", b"globex"]),
    st.sampled_from([b"shop", b"till"]),
    st.sampled_from([CPU, INUSE, GOROUTINES, ALLOC]),
    st.integers(0, 2),
    st.integers(0, 3),
    PUBLIC,
    st.lists(SAMPLES, max_size=5),
)
JOBS = st.lists(GIVEN, max_size=10)
