"""Objects made up once and for all: a plain one, and one with everything that real ones of ours lack.

Add an example when several tests need it; what a single test needs stands in that test.
"""

from collections.abc import Sequence
from typing import Any

from tests.oracle.bytes import signed64
from tests.oracle.values import EMPTY_STACK, Frame, Labels, Line, Mapping, Profile, Sample, Stack
from tests.support.models import ModelDataset, ModelObject, fingerprint

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def ulid(time_ms: int, number: int) -> str:
    """A ULID of a time, its random part being a small number."""
    value = (time_ms << 80) | number
    return "".join(CROCKFORD[(value >> 5 * i) & 31] for i in range(25, -1, -1))


def stack_of(*functions: bytes) -> Stack:
    """A stack of plain frames, root first."""
    mapping, stack = Mapping(b"/bin/app", b"build-1", 15, 0x400000, 0x800000, 0), EMPTY_STACK
    for number, name in enumerate(functions):
        frame = Frame((Line(name, name, b"main.go", 10 + number, 12 + number),), 0x400000 + number, mapping, False)
        stack = Stack.of(frame, stack)
    return stack


def profile_of(
    labels: Labels, time_ns: int, samples: Sequence[Sample], *, number: int = 0, partition: int = 0, **more: Any
) -> Profile:
    """A profile of samples; `more` sets further fields."""
    total = signed64(sum(sample.value for sample in samples) % (1 << 64))
    profile = Profile(
        number.to_bytes(16, "big"),
        labels,
        fingerprint(labels),
        partition,
        time_ns,
        total,
        tuple(samples),
        None,
        None,
        None,
        None,
        (),
        None,
        (),
    )
    return profile._replace(**more)


def labels_of(service: bytes, profile_type: bytes, **public: str) -> Labels:
    """Labels in stored order: profile type, service, the rest by name."""
    name, kind, unit, period_type, period_unit = profile_type.split(b":")
    rest = {
        b"__name__": name,
        b"__type__": kind,
        b"__unit__": unit,
        b"__period_type__": period_type,
        b"__period_unit__": period_unit,
        b"service_name": service,
    } | {key.encode(): value.encode() for key, value in public.items()}
    return ((b"__profile_type__", profile_type), (b"__service_name__", service), *sorted(rest.items()))


CPU = b"process_cpu:cpu:nanoseconds:cpu:nanoseconds"
INUSE = b"memory:inuse_space:bytes:space:bytes"


def plain_object(number: int = 0, *, service: bytes = b"checkout", value: int = 7) -> ModelObject:
    """A small object with one profile of its own."""
    time_ms = 1_700_000_000_000 + 500 * number
    sample = Sample(stack_of(b"main.main", b"main.work"), value, None, None, ())
    profile = profile_of(labels_of(service, CPU), time_ms * 1_000_000, [sample], number=number)
    return ModelObject(ulid(time_ms, number), 1, (ModelDataset(b"acme", service, (profile,)),))


def rich_object() -> ModelObject:
    """One object with all that real ones of ours lack: see the module's charter."""
    time_ns = 1_700_000_000_000_000_000
    inlined = Frame((Line(b"a", b"a", b"f", 1, 2), Line(b"\xff\xfe", b"b", b"f" * 300, 3, 4)), 1 << 63, None, True)
    native = Frame((), 0x7F00_0000_1234, Mapping(b"libc.so", None, 8, 0, (1 << 64) - 1, 4096), False)
    dangling = Frame((Line(None, None, None, 0, 9), Line(None, b"", b"", 0, 1)), 0, None, False)
    deep = stack_of(*[b"main.recurse"] * 40)
    stacks = [EMPTY_STACK, deep, stack_of(b"main.main", b"main.work"), stack_of(b"main.main", b"main.other")]
    stacks += [Stack.of(frame, stacks[2]) for frame in (inlined, native, dangling)]
    trace = bytes(range(16))
    samples = [
        Sample(
            stack,
            (-1) ** i * (i + 1) * 1000,
            [None, 1, (1 << 64) - 1][i % 3],
            [None, trace][i % 2],
            ((1, 2, None, None), (3, None, -4, 5))[: i % 3],
        )
        for i, stack in enumerate(stacks)
    ]

    def profiles(service: bytes) -> tuple[Profile, ...]:
        own = [
            profile_of(labels_of(service, kind, pod=pod), time_ns + t, chosen, number=t, partition=partition)
            for kind, pod, t, chosen, partition in [
                (CPU, "a", 1, samples, 0),
                (CPU, "a", 2, samples[:3], 7),
                (CPU, "b", 1, [], 0),
                (INUSE, "a", 1, samples[2:], 7),
                (INUSE, "a", 1, samples[3:], 7),
            ]
        ]
        own[0] = own[0]._replace(annotations=((b"key", "wért".encode()),), comments=(1, 2), duration_ns=-1)
        own[1] = own[1]._replace(drop_frames=1, keep_frames=2, period=3, default_sample_type=4)
        return tuple(sorted(own, key=lambda profile: (profile.labels, profile.time_ns)))

    names = [(b"acme", b"checkout"), (b"acme", b"gateway"), (b"globex", b"checkout")]
    datasets = tuple(ModelDataset(tenant, name, profiles(name)) for tenant, name in names)
    return ModelObject(ulid(time_ns // 1_000_000, 1), 4, datasets, seed=0)
