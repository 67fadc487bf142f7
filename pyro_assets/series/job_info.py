"""What series need to know of the job that they are of.

Add a field when a label or a column of series needs it; what a job is beyond that is the ledger's business.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What series need to know of their job.

    Attributes:
        job_id: a column of the stored series.
        shard: the label `pyroscope_shard` of native series.
        timestamp_ms: of all samples, Unix milliseconds.
        instance: the label `pyroscope_instance` of imported recording rules, see `instance_hash`.
    """

    job_id: str
    shard: int
    timestamp_ms: int
    instance: str
