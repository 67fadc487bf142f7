"""What a profiler would have counted: values per stack of one pod, for one kind of profile at one moment.

These plain Python integers are both what is uploaded (`upload.py`) and what the manifest adds up (`manifest.py`), so
a total never passes through the code under test. Add a kind of profile to `KINDS`.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from pyro_assets.generator.calltree import SampleLabels
from pyro_assets.generator.fleet import Pod
from pyro_assets.generator.load import HOUR_MS, endpoint_mix, load, restart, rng
from pyro_assets.generator.programs import Program, Stack

#: What one upload covers: profilers collect for this long before they send.
PROFILE_SECONDS = 10
#: Nanoseconds one CPU sample stands for (100 Hz).
CPU_PERIOD_NS = 10_000_000


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of profile: its name in `__name__`, (type, unit) of its values, period and the languages that have it.

    `labelled` says that the profiler knows pprof labels; Go's heap, mutex and goroutine profilers do not.
    """

    key: str
    name: str
    sample_types: tuple[tuple[str, str], ...]
    period_type: tuple[str, str]
    period: int
    languages: tuple[str, ...]
    labelled: bool = False

    def profile_type(self, position: int) -> str:
        """The label `__profile_type__` of the rows made from value number `position`."""
        return ":".join((self.name, *self.sample_types[position], *self.period_type))

    def labels_of(self, stack: Stack) -> SampleLabels:
        """The pprof labels that a sample of this kind carries."""
        return stack.labels if self.labelled else ()


_HEAP = (("alloc_objects", "count"), ("alloc_space", "bytes"), ("inuse_objects", "count"), ("inuse_space", "bytes"))
KINDS = (
    Kind(
        "cpu", "process_cpu", (("samples", "count"), ("cpu", "nanoseconds")), ("cpu", "nanoseconds"), CPU_PERIOD_NS,
        ("go", "java", "python"), labelled=True,
    ),
    Kind("heap", "memory", _HEAP, ("space", "bytes"), 524_288, ("go", "java", "python")),
    Kind("goroutine", "goroutines", (("goroutine", "count"),), ("goroutine", "count"), 1, ("go",)),
    Kind(
        "mutex", "mutex", (("contentions", "count"), ("delay", "nanoseconds")), ("contentions", "count"), 1,
        ("go", "java"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sample:
    """Values of one stack in the order of the kind's sample types; `span_id` is 16 hex digits or empty."""

    stack: Stack
    values: tuple[int, ...]
    span_id: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """One profile before it is encoded: of `pod`, begun at `time_ns` (Unix), by process number `session`."""

    pod: Pod
    kind: Kind
    time_ns: int
    session: int
    samples: tuple[Sample, ...]


def count(program: Program, pod: Pod, kind: Kind, time_ns: int, seed: int) -> Counts:
    """Draws what a profiler counts in `PROFILE_SECONDS` from `time_ns` on; equal arguments give equal counts."""
    time_ms = time_ns // 1_000_000
    service = pod.service
    dice = rng(seed, "counts", service.tenant, pod.name, kind.key, time_ns)
    level = load(seed, service.name, time_ms)
    mix = dict(zip(service.endpoints, endpoint_mix(seed, service.name, len(service.endpoints), time_ms), strict=True))
    session, started_ms = restart(seed, f"{service.tenant}/{pod.name}", time_ms)
    stacks = [(stack, stack.weights[kind.key]) for stack in program.stacks if kind.key in stack.weights]
    weights = [weight * mix.get(stack.labels, 1.0) for stack, (weight, _) in stacks]
    sizes = [size for _, (_, size) in stacks]
    uptime_hours = (time_ms - started_ms) / HOUR_MS
    match kind.key:
        case "cpu":
            values = _cpu(weights, service.cores / service.pods * level, dice)
        case "heap":
            values = _heap(weights, sizes, level, uptime_hours, dice)
        case "goroutine":
            values = [(_poisson(weight * (2 + 30 * level), dice),) for weight in weights]
        case _:
            values = _mutex(weights, level, dice)
    samples = [
        Sample(stack, value, _span(stack.labels, kind.key, dice))
        for (stack, _), value in zip(stacks, values, strict=True)
        if any(value)
    ]
    return Counts(pod, kind, time_ns, session, tuple(samples))


def _cpu(weights: Sequence[float], cores: float, dice: random.Random) -> list[tuple[int, ...]]:
    budget = cores * PROFILE_SECONDS * 1e9 / CPU_PERIOD_NS / sum(weights)
    hits = [_poisson(weight * budget, dice) for weight in weights]
    return [(hit, hit * CPU_PERIOD_NS) for hit in hits]


def _heap(
    weights: Sequence[float], sizes: Sequence[int], level: float, uptime_hours: float, dice: random.Random
) -> list[tuple[int, ...]]:
    # The live heap fills up after a start (it is never empty), and breathes with the garbage collector.
    filled = (1.05 - math.exp(-4 * uptime_hours)) * (0.8 + 0.4 * dice.random())
    values: list[tuple[int, ...]] = []
    for weight, size in zip(weights, sizes, strict=True):
        allocated = _poisson(weight * level * 900, dice)
        alive = _poisson(weight * filled * 4000 / (1 + size / 4096), dice)
        values.append((allocated, allocated * size, alive, alive * size))
    return values


def _mutex(weights: Sequence[float], level: float, dice: random.Random) -> list[tuple[int, ...]]:
    values: list[tuple[int, ...]] = []
    for weight in weights:
        contentions = _poisson(weight * level * level * 6, dice)
        values.append((contentions, sum(int(dice.expovariate(1 / 80_000)) for _ in range(min(contentions, 40)))))
    return values


def _span(labels: SampleLabels, kind: str, dice: random.Random) -> str:
    """Some samples of request handlers are tied to a tracing span, as the agents' span profiles are."""
    return f"{dice.getrandbits(64):016x}" if kind == "cpu" and labels and dice.random() < 0.03 else ""


def _poisson(mean: float, dice: random.Random) -> int:
    """A count with Poisson's mean and variance; the normal approximation is enough for looks."""
    return max(0, round(dice.gauss(mean, math.sqrt(mean)))) if mean > 0 else 0
