"""Hypothesis strategies for whole jobs, with all that real data lacks.

Several partitions, empty tables, dangling references, bytes that are not UTF-8, extreme numbers, copies and conflicts:
add what code might trip over. Models and examples are offered from here too, so that tests need one import.
"""

from typing import Any

from hypothesis import strategies as st

from tests.oracle.bytes import signed64
from tests.oracle.values import EMPTY_STACK, Frame, Labels, Line, Mapping, Profile, Sample, Stack
from tests.support.examples import CPU, INUSE, labels_of, plain_object, profile_of, rich_object, stack_of, ulid
from tests.support.models import ModelDataset, ModelObject, columns_of, fingerprint, profile_counts, raw_object

__all__ = [
    "CPU",
    "EMPTY_STACK",
    "INUSE",
    "Frame",
    "Line",
    "Mapping",
    "ModelDataset",
    "ModelObject",
    "Stack",
    "columns_of",
    "fingerprint",
    "jobs",
    "labels_of",
    "plain_object",
    "profile_counts",
    "profile_of",
    "raw_object",
    "rich_object",
    "stack_of",
    "ulid",
]

STRINGS = st.one_of(
    st.sampled_from(
        [
            b"main.work",
            b"main.run",
            b"runtime.main",
            b"/src/main.go",
            b"",
            b"\xff\xfe not UTF-8",
            "größe.höhe".encode(),
            b"nul\x00inside",
            b"x" * 300,
        ]
    ),
    st.binary(max_size=6),
)
I32 = st.one_of(st.integers(0, 2000), st.sampled_from([-(1 << 31), -1, (1 << 31) - 1]))
I64 = st.one_of(st.integers(-3, 1000), st.sampled_from([-(1 << 63), (1 << 63) - 1, 1 << 53]))
U64 = st.sampled_from([0, 1, 0x4A0F10, 1 << 63, (1 << 64) - 1])
REFERENCES = st.one_of(STRINGS, STRINGS, STRINGS, st.none())

LINES = st.one_of(
    st.builds(Line, REFERENCES, REFERENCES, REFERENCES, I32, I32),
    st.builds(Line, STRINGS, STRINGS, STRINGS, I32, I32),
    st.builds(lambda line: Line(None, None, None, 0, line), I32),
)
MAPPINGS = st.builds(Mapping, REFERENCES, REFERENCES, st.integers(0, 15), U64, U64, U64)
FRAMES = st.builds(
    Frame,
    st.lists(LINES, max_size=3).map(tuple),
    U64,
    st.one_of(MAPPINGS, MAPPINGS, st.none()),
    st.booleans(),
)

TYPES = st.sampled_from(
    [
        b"process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        b"memory:inuse_space:bytes:space:bytes",
        b"memory:alloc_space:bytes:space:bytes",
        b"goroutines:goroutine:count:goroutine:count",
    ]
)
PUBLIC_NAMES = st.sampled_from([b"pod", b"vehicle", b"service.version", b"env", b"\xc3\xa4"])
VALUES = st.sampled_from([b"a", b"b", b"bike", b"car", b"\xfe\xff"])


def series_labels(service: bytes) -> st.SearchStrategy[Labels]:
    """Labels in stored order: profile type, service, the rest by name."""

    def build(profile_type: bytes, public: dict[bytes, bytes]) -> Labels:
        head, rest = labels_of(service, profile_type)[:2], labels_of(service, profile_type)[2:]
        return (*head, *sorted([*rest, *public.items()]))

    return st.builds(build, TYPES, st.dictionaries(PUBLIC_NAMES, VALUES, max_size=2))


SAMPLE_LABELS = st.lists(
    st.tuples(st.integers(0, 9), st.none() | st.integers(0, 9), st.none() | I64, st.none() | st.integers(0, 9)),
    max_size=2,
).map(tuple)
ANNOTATIONS = st.lists(st.tuples(st.just(b"key"), st.sampled_from([b"", "wért".encode()])), max_size=2).map(tuple)


@st.composite
def jobs(draw: st.DrawFn, max_objects: int = 3, max_tenants: int = 2) -> list[ModelObject]:
    """The sources of one job, in job order.

    Profiles come from a small pool, so equal ones recur in one source and in several, and others share series and
    time with different samples.
    """
    shard = draw(st.integers(0, 1 << 31))
    time_ms = draw(st.integers(1_700_000_000_000, 1_800_000_000_000))
    names = [(b"acme", b"checkout"), (b"acme", b"gateway"), (b"globex", b"checkout"), (b"\xfd", b"\xfc")]
    chosen = [name for name in names if draw(st.booleans())][: max_tenants + 1] or names[:1]
    frames = draw(st.lists(FRAMES, min_size=1, max_size=4))
    stack_lists = draw(st.lists(st.lists(st.sampled_from(frames), max_size=5), min_size=1, max_size=5))
    stacks = []
    for own in stack_lists:
        stack = EMPTY_STACK
        for frame in own:
            stack = Stack.of(frame, stack)
        stacks.append(stack)
    times = draw(
        st.lists(
            st.one_of(st.integers(0, 3), st.sampled_from([time_ms * 1_000_000, (1 << 62) + 1])),
            min_size=1,
            max_size=3,
        )
    )
    partitions = draw(st.sampled_from([(0,), (0, 7), ((1 << 64) - 1, 5)]))
    has_ids, has_labels, has_rest = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    samples = st.builds(
        Sample,
        st.sampled_from(stacks),
        I64,
        st.sampled_from([None, 1, (1 << 64) - 1]) if has_ids else st.none(),
        st.sampled_from([None, bytes(range(16))]) if has_ids else st.none(),
        SAMPLE_LABELS if has_labels else st.just(()),
    )
    rest = st.none() | I64 if has_rest else st.none()

    def profiles(service: bytes) -> st.SearchStrategy[Profile]:
        def build(labels: Labels, partition: int, at: int, own: list[Sample], number: int, *more: Any) -> Profile:
            total = signed64(sum(sample.value for sample in own) % (1 << 64))
            identity = number.to_bytes(16, "big")
            return Profile(identity, labels, fingerprint(labels), partition, at, total, tuple(own), *more)

        return st.builds(
            build,
            st.sampled_from(label_pool[service]),
            st.sampled_from(partitions),
            st.sampled_from(times),
            st.lists(samples, max_size=4),
            st.integers(0, (1 << 128) - 1),
            rest,
            rest,
            rest,
            rest,
            st.lists(st.integers(0, 9), max_size=2).map(tuple) if has_rest else st.just(()),
            rest,
            ANNOTATIONS if has_rest else st.just(()),
        )

    label_pool = {
        service: draw(st.lists(series_labels(service), min_size=1, max_size=3, unique=True))
        for service in dict.fromkeys(service for _, service in chosen)
    }
    pool = {name: draw(st.lists(profiles(name[1]), min_size=1, max_size=4)) for name in chosen}
    objects = []
    for number in range(draw(st.integers(1, max_objects))):
        datasets = []
        for tenant, service in sorted(chosen):
            drawn = draw(st.lists(st.sampled_from(pool[tenant, service]), max_size=5))
            drawn.sort(key=lambda profile: (profile.labels, profile.time_ns))
            is_kept = bool(drawn) or draw(st.booleans())
            if is_kept:
                datasets.append(ModelDataset(tenant, service, tuple(drawn)))
        seed = draw(st.integers(0, 1000))
        objects.append(ModelObject(ulid(time_ms + number, number), shard, tuple(datasets), seed))
    return objects
