"""How busy a service is at a moment: a daily curve, spikes, restarts.

Everything is a pure function of (seed, names, time), so that live and past segments agree and a run can be repeated.
Counts of samples do not belong here (`counts.py`).
"""

import math
import random

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

#: A spike starts somewhere in a window of this length, in about every second window of a service.
SPIKE_WINDOW_MS = 10 * MINUTE_MS
#: A pod restarts once in every window of this length.
RESTART_WINDOW_MS = 50 * MINUTE_MS


def rng(*parts: object) -> random.Random:
    """A generator seeded by names and numbers; the same on every machine and in every process."""
    # Not for secrets: the point is that it can be repeated.
    return random.Random("/".join(map(str, parts)))  # noqa: S311


def daily(time_ms: int, peak_hour: float = 14.0) -> float:
    """The share of full load by time of day (UTC): 0.25 at night, 1.0 at the peak hour.

    >>> daily(14 * HOUR_MS), daily(2 * HOUR_MS)
    (1.0, 0.25)
    """
    phase = 2 * math.pi * (time_ms % DAY_MS / DAY_MS - peak_hour / 24)
    return 0.625 + 0.375 * math.cos(phase)


def spike(seed: int, service: str, time_ms: int) -> float:
    """The factor by which a spike raises the load now: 1.0 when there is none, up to about 3.5."""
    window = time_ms // SPIKE_WINDOW_MS
    dice = rng(seed, "spike", service, window)
    if dice.random() < 0.45:
        return 1.0
    length_ms = dice.randrange(40_000, 150_000)
    start_ms = window * SPIKE_WINDOW_MS + dice.randrange(SPIKE_WINDOW_MS - length_ms)
    height = 1.0 + dice.random() * 1.5
    into = (time_ms - start_ms) / length_ms
    if not 0 <= into < 1:
        return 1.0
    # Steep up, slow down, as a burst of requests that drains.
    shape = into / 0.15 if into < 0.15 else 1 - (into - 0.15) / 0.85 * 0.7
    return 1.0 + height * shape


def load(seed: int, service: str, time_ms: int) -> float:
    """Load of a service relative to its average by day, roughly 0.2 to 4.0."""
    dice = rng(seed, "phase", service)
    peak_hour = 11 + 8 * dice.random()
    ripple_ms = dice.randrange(7, 19) * MINUTE_MS
    ripple = 1 + 0.15 * math.sin(2 * math.pi * (time_ms % ripple_ms) / ripple_ms)
    return daily(time_ms, peak_hour) * ripple * spike(seed, service, time_ms)


def endpoint_mix(seed: int, service: str, endpoints: int, time_ms: int) -> list[float]:
    """Relative traffic of a service's endpoints, average 1.0; it drifts, and a spike is mostly one endpoint's."""
    if not endpoints:
        return []
    dice = rng(seed, "mix", service)
    share = []
    for _ in range(endpoints):
        base, period_ms, phase = 0.5 + dice.random(), dice.randrange(20, 90) * MINUTE_MS, dice.random()
        share.append(base * (1 + 0.4 * math.sin(2 * math.pi * (time_ms / period_ms + phase))))
    boost = spike(seed, service, time_ms) - 1
    culprit = rng(seed, "culprit", service, time_ms // SPIKE_WINDOW_MS).randrange(endpoints)
    share[culprit] *= 1 + boost
    total = sum(share)
    return [one * endpoints / total for one in share]


def restart(seed: int, pod: str, time_ms: int) -> tuple[int, int]:
    """The number of the process that runs now, and since when (Unix ms)."""
    window = time_ms // RESTART_WINDOW_MS
    start_ms = _restart_of(seed, pod, window)
    if start_ms > time_ms:
        window -= 1
        start_ms = _restart_of(seed, pod, window)
    return window, start_ms


def _restart_of(seed: int, pod: str, window: int) -> int:
    return window * RESTART_WINDOW_MS + rng(seed, "restart", pod, window).randrange(RESTART_WINDOW_MS)
