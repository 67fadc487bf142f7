"""Real jobs on disk: the committed part of bucket-2026, and any other folder of the same form.

Add here what several tests ask of such a folder: its jobs, rules, recorded samples and objects. The passport of the
committed part stands beside its data in tests/golden.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.oracle import decoder as slow_decoder
from tests.oracle import series as slow_series
from tests.oracle.values import Block

COMMITTED = Path(__file__).parents[1] / "golden" / "data" / "bucket-2026"

#: tenant, metric, sorted labels without __name__.
SeriesKey = tuple[str, str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class GoldenBucket:
    """A folder with segments/, blocks/ (or none), jobs.json, rules.json and recorded.jsonl."""

    root: Path

    @cached_property
    def jobs(self) -> list[list[str]]:
        """Source keys of every job, in job order."""
        jobs: list[list[str]] = json.loads((self.root / "jobs.json").read_text())
        return jobs

    @cached_property
    def rules(self) -> list[dict[str, Any]]:
        """The original's recording rules."""
        rules: list[dict[str, Any]] = json.loads((self.root / "rules.json").read_text())
        return rules

    @cached_property
    def recorded(self) -> dict[int, dict[SeriesKey, float]]:
        """What the original recorded: timestamp_ms of the job -> series -> value."""
        samples: dict[int, dict[SeriesKey, float]] = {}
        for line in (self.root / "recorded.jsonl").read_text().splitlines():
            sample = json.loads(line)
            labels = dict(sample["labels"])
            key = (sample["tenant"], labels.pop("__name__"), tuple(sorted(labels.items())))
            samples.setdefault(sample["timestamp_ms"], {})[key] = sample["value"]
        return samples

    def read(self, key: str) -> bytes:
        """The bytes of an object."""
        return (self.root / key).read_bytes()

    def sources(self, job: list[str]) -> list[tuple[str, bytes]]:
        """Key and bytes of a job's sources, in job order."""
        return [(key, self.read(key)) for key in job]

    def decoded_sources(self, job: list[str]) -> list[Block]:
        """A job's sources through the slow decoder."""
        return [slow_decoder.decode_object(self.read(key)) for key in job]

    def timestamp_ms(self, job: list[str]) -> int:
        """The timestamp of a job's samples: the creation time of its first source."""
        return slow_series.ulid_time_ms(ulid_of(job[0]))

    def shard(self, job: list[str]) -> int:
        """The shard of a job."""
        return int(job[0].split("/")[1])

    def level1_keys(self, job: list[str]) -> list[str]:
        """Keys of the level-1 blocks that the original made of a job: same shard, ids of the first source's time."""
        pattern = f"blocks/{self.shard(job)}/*/{ulid_of(job[0])[:10]}*/block.bin"
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))


def ulid_of(key: str) -> str:
    """The ULID in an object's key."""
    return key.split("/")[3]


def committed() -> GoldenBucket:
    """The committed part of bucket-2026: three jobs, five level-1 blocks."""
    return GoldenBucket(COMMITTED)
