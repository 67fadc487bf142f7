"""The tables of the ledger, on SQLite and Postgres.

Add tables and columns here and raise the version in `migrate`; what they mean stands beside them. Queries do not belong
here. Times are Unix milliseconds; hours are partition keys ("2026-11-25-13:00").
"""

from typing import Final, Literal, get_args

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

#: pending: in no job yet; planned: in a job; done: in the job's outputs; set_aside: unreadable, with its reason;
#: lost: gone before it was read; quarantined: its job was given up; out_of_range: created outside the partitions.
SourceState = Literal["pending", "planned", "done", "set_aside", "lost", "quarantined", "out_of_range"]
#: planned -> compacted -> derived -> exported; or split (its sources became smaller jobs), lost (all its sources
#: vanished), quarantined (given up; `compacted_ms` tells whether its level-1 blocks are committed).
JobState = Literal["planned", "compacted", "derived", "exported", "split", "lost", "quarantined"]
SOURCE_STATES: Final[tuple[SourceState, ...]] = get_args(SourceState)
#: States from which a worker goes on.
OPEN_STATES: Final[tuple[JobState, ...]] = ("planned", "compacted")
#: States of sources that no output holds.
UNHELD_STATES: Final[tuple[SourceState, ...]] = ("set_aside", "lost", "quarantined")
metadata = MetaData()
_Id = BigInteger().with_variant(Integer, "sqlite")
_Hour = String(16)
_Hash = String(64)
#: One row: the version of the schema, see `migrate`.
schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, nullable=False),
    Column("applied_ms", BigInteger, nullable=False),
)
#: Every object ever found. `tenant` is "" for segments, which hold all tenants.
sources = Table(
    "sources",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", String(8), nullable=False),
    Column("shard", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("ulid", String(26), nullable=False),
    Column("hour", _Hour, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("first_seen_ms", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    # State first: what waits is found however much is done, and an hour is a look-up for each of the few states.
    Index("ix_sources_state", "state", "hour"),
)
#: The units of work. Written by the planner only; workers change states, leases and counts.
jobs = Table(
    "jobs",
    metadata,
    Column("id", _Hash, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("shard", BigInteger, nullable=False),
    # "" for segments; a tenant's folder for level-1 blocks, of which several have the same creation time.
    Column("tenant", Text, nullable=False),
    Column("hour", _Hour, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("mode", String(8), nullable=False),
    Column("dedup", String(8), nullable=False),
    Column("parent", _Hash),  # the job that was split
    Column("sources", Integer, nullable=False),
    Column("bytes_in", BigInteger, nullable=False),
    Column("first_created_ms", BigInteger, nullable=False),
    Column("last_created_ms", BigInteger, nullable=False),
    Column("planned_ms", BigInteger, nullable=False),
    # Work.
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_attempt_ms", BigInteger, nullable=False, default=0),
    Column("run_id", Text),
    Column("lease_expires_ms", BigInteger, nullable=False, default=0),
    Column("fence", BigInteger, nullable=False, default=0),
    Column("compacted_ms", BigInteger),
    Column("derived_ms", BigInteger),  # the first time: ends the lag
    Column("exported_ms", BigInteger),
    # When the run or the export began that a person asked for: stages reached since then are no lag, see `lag`.
    Column("asked_ms", BigInteger),
    Column("verified_ms", BigInteger),  # level-1 blocks were read back and found equal to the sources
    Column("config_hash", _Hash),  # the rules of its series
    Column("blocks_removed_ms", BigInteger),  # retention removed its level-1 blocks, or is about to
    # What came out, for reports.
    Column("instance", String(16)),
    Column("blocks", Integer, nullable=False, default=0),
    Column("bytes_out", BigInteger, nullable=False, default=0),
    Column("profiles", BigInteger, nullable=False, default=0),
    Column("samples", BigInteger, nullable=False, default=0),
    Column("duplicates", BigInteger, nullable=False, default=0),
    Column("conflicts", BigInteger, nullable=False, default=0),
    Column("oldest_ms", BigInteger),
    Column("newest_ms", BigInteger),
    Column("compact_seconds", Float, nullable=False, default=0.0),
    Column("derive_seconds", Float, nullable=False, default=0.0),
    Column("services", Text),  # JSON: [[tenant, service, samples, unsymbolised], ...]
    # Above 1: of a block that Pyroscope made of others; oldest_ms and newest_ms are its own until it is committed.
    Column("level", Integer),
    # 1: another mode may have had its segments; or, once committed, other jobs did have some of its profiles.
    Column("compares", Integer),
    Column("compact_facts", Text),  # JSON: name -> count of what was odd
    Column("derive_facts", Text),  # JSON: name -> count, and "examples" in words
    # All samples of a job have this timestamp: two jobs with the same one would be one series to a receiver.
    UniqueConstraint("shard", "tenant", "timestamp_ms", name="uq_jobs_timestamp"),
    Index("ix_jobs_state", "state", "hour"),
    Index("ix_jobs_hour", "hour"),
    # What was done since a moment, for the metrics of the project's own health.
    Index("ix_jobs_compacted", "compacted_ms"),
    # The few jobs that were recovered from higher levels; `migrate` says the same to Postgres.
    Index("ix_jobs_recovered", "shard", "tenant", sqlite_where=text("level IS NOT NULL AND blocks > 0")),
    Index("ix_jobs_derived", "derived_ms"),
    Index("ix_jobs_exported", "exported_ms"),
)
#: The ordered list of a job's sources; the primary key is what lets no source be in two jobs.
job_sources = Table(
    "job_sources",
    metadata,
    Column("source_id", _Id, ForeignKey("sources.id"), primary_key=True, autoincrement=False),
    Column("job_id", _Hash, ForeignKey("jobs.id"), nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("job_id", "position", name="uq_job_sources_position"),
)
#: Committed level-1 blocks. `tenant` is printable; the block itself has the bytes.
outputs = Table(
    "outputs",
    metadata,
    Column("job_id", _Hash, ForeignKey("jobs.id"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("tenant", Text, nullable=False),
    Column("block_id", String(26), nullable=False),
    Column("key", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
    Column("profiles", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("hour_unit", BigInteger),  # the unit of `hour_units` that holds it, too
)
#: What blocks of an hour that is over were compacted to: of one tenant and shard mostly one unit. Another one is added
#: for jobs that came when the level-1 blocks of earlier ones were removed.
hour_units = Table(
    "hour_units",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("hour", _Hour, nullable=False),
    Column("shard", BigInteger, nullable=False),
    Column("tenant", Text, nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("first_job_ms", BigInteger, nullable=False),
    Column("profiles", BigInteger, nullable=False),
    Column("samples", BigInteger, nullable=False),
    Column("oldest_ms", BigInteger, nullable=False),  # of the profiles, as newest_ms
    Column("newest_ms", BigInteger, nullable=False),
    Column("removed_ms", BigInteger),  # retention removes its objects, or is about to
    Index("ix_hour_units_hour", "hour"),
)
#: The objects of a unit: blocks, which hold all there is, and summaries, which questions of whole hours read.
hour_objects = Table(
    "hour_objects",
    metadata,
    Column("unit", _Id, ForeignKey("hour_units.id"), primary_key=True, autoincrement=False),
    Column("kind", String(8), primary_key=True),  # block or summary
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("block_id", String(26), nullable=False),
    Column("key", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger, nullable=False),
)
#: Committed series files. A job without outputs has rows without a key: it was derived, to nothing.
series_files = Table(
    "series_files",
    metadata,
    Column("job_id", _Hash, ForeignKey("jobs.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("key", Text),
    Column("rows", BigInteger, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("crc32c", BigInteger),  # of the whole file; null where an older version wrote it
    Column("config_hash", _Hash),  # the snapshot of rules that it was derived with
    # JSON: rule -> [its hash, snapshot] of those that were backfilled since, see `rule_use`.
    Column("later", Text),
    # Stays where a backfill changed no sample.
    Column("written_ms", BigInteger, nullable=False),
)
#: What upkeep did to hours that are over; an hour without a row is as its jobs left it.
hour_upkeep = Table(
    "hour_upkeep",
    metadata,
    Column("hour", _Hour, primary_key=True),
    # Files of series written from now on have this number: those with smaller ones are in the table, or removed.
    Column("series_number", Integer, nullable=False, server_default="0"),
    # Since when nothing is left to do of each kind; a job that is done later takes it back.
    Column("table_ms", BigInteger),
    Column("hour_blocks_ms", BigInteger),
    Column("series_removed_ms", BigInteger),
    Column("blocks_removed_ms", BigInteger),
    Column("scrubbed_ms", BigInteger),  # when all that the archive holds of it was read and compared last
    # When its last listing began that went from its first to its last key after the hour was over.
    Column("listed_ms", BigInteger),
    # Rows of its sources and jobs were removed; what people see of the hour is kept as JSON.
    Column("collapsed_ms", BigInteger),
    Column("figures", Text),
)
#: What must be known of hours whose rows were removed: which sources were there, and which timestamps are taken.
collapsed_sources = Table(
    "collapsed_sources",
    metadata,
    Column("kind", String(8), primary_key=True),
    Column("shard", BigInteger, primary_key=True, autoincrement=False),
    Column("tenant", Text, primary_key=True),
    Column("hour", _Hour, primary_key=True),
    Column("ulids", LargeBinary, nullable=False),  # 8 bytes of hash each, sorted
    Column("timestamps", LargeBinary, nullable=False),  # of jobs: 8 bytes each, big-endian, sorted
)
#: Objects of the archive that are not what was written, as the last look at their hour found them.
damage = Table(
    "damage",
    metadata,
    Column("key", Text, primary_key=True),
    Column("hour", _Hour, nullable=False),  # "" for what belongs to none
    Column("kind", String(16), nullable=False),  # see `damage.DamageKind`
    Column("message", Text, nullable=False),
    Column("found_ms", BigInteger, nullable=False),  # the first time
    Index("ix_damage_hour", "hour"),
)
#: How far listings have come: purpose "live" for the tick, others for sweeps.
cursors = Table(
    "cursors",
    metadata,
    Column("folder", Text, primary_key=True),
    Column("purpose", String(16), primary_key=True),
    Column("ulid", String(26), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)
#: What a receiver has of a job: one row per kind and receiver; the rules stand in `detail`, because a hundred of them
#: would be a hundred rows of every job. A tenant (as the receiver knows it) that was not sent with the others has a row
#: of its own; `tenant` is "" in the row of all others. States: see `receipt.ReceiptState`.
receipts = Table(
    "receipts",
    metadata,
    Column("job_id", _Hash, ForeignKey("jobs.id"), primary_key=True),
    Column("kind", String(32), primary_key=True),
    # The database calls it rule, which it was meant for: older processes may still be running.
    Column("rule", Text, key="tenant", primary_key=True),
    Column("receiver", Text, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("samples", BigInteger, nullable=False, default=0),
    Column("accepted", BigInteger, nullable=False, default=0),
    Column("refused", BigInteger, nullable=False, default=0),
    Column("sample_hash", _Hash),
    Column("attempts", Integer, nullable=False, default=0),
    Column("first_ms", BigInteger),
    Column("last_ms", BigInteger),
    Column("detail", Text),  # JSON, see `receipts.Receipt`: rules, reasons of refusal, what sending cost
    # `series_files.written_ms` of the file it is about: another value there means that the file was written anew.
    Column("file_ms", BigInteger),
    Index("ix_receipts_first", "first_ms"),
)
#: Series that receivers with a limit of active series got lately; `series` is the hash as a signed number.
active_series = Table(
    "active_series",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("hour", BigInteger, primary_key=True, autoincrement=False),  # of the samples, Unix ms // 3,600,000
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    Column("noted_ms", BigInteger, nullable=False),
    Index("ix_active_series_noted", "receiver", "noted_ms"),
)
#: Series that a receiver refused lately: the next run sends them apart. `tenant` is the X-Scope-OrgID.
refused_series = Table(
    "refused_series",
    metadata,
    Column("receiver", Text, primary_key=True),
    Column("tenant", Text, primary_key=True),
    Column("series", BigInteger, primary_key=True, autoincrement=False),
    Column("noted_ms", BigInteger, nullable=False),
    Index("ix_refused_series_noted", "receiver", "noted_ms"),
)
#: Why a job or a source was given up, for the person who decides what becomes of it.
quarantine = Table(
    "quarantine",
    metadata,
    Column("subject", String(8), primary_key=True),  # job or source
    Column("subject_id", Text, primary_key=True),  # the job's id or the source's key
    Column("job_id", _Hash),
    Column("hour", _Hour, nullable=False),
    Column("cause", Text, nullable=False),  # the error's class
    Column("message", Text, nullable=False),
    Column("section", Text),
    Column("offset", BigInteger),  # bytes from the start of the section
    Column("failures", Integer, nullable=False),
    Column("first_failed_ms", BigInteger, nullable=False),
    Column("last_failed_ms", BigInteger, nullable=False),
    Column("given_up", Integer, nullable=False),  # 0: still being retried
    # When a person let a job be tried again, or took a source off the list.
    Column("released_ms", BigInteger),
    Index("ix_quarantine_hour", "hour"),
)
#: Every version of every rule that people edit; `body` is JSON whose meaning the ledger does not know.
rule_versions = Table(
    "rule_versions",
    metadata,
    Column("name", String(100), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("body", Text, nullable=False),
    Column("deleted", Integer, nullable=False),
    Column("author", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
#: The rules as runs had them; `body` is a configuration whose meaning the ledger does not know.
rule_snapshots = Table(
    "rule_snapshots",
    metadata,
    Column("hash", _Hash, primary_key=True),
    Column("rules", Text, nullable=False),  # JSON: rule -> its hash
    Column("body", Text, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
)
#: What people decided of jobs, sources and receivers; nothing is decided by it.
decisions = Table(
    "decisions",
    metadata,
    Column("id", _Id, primary_key=True, autoincrement=True),
    Column("at_ms", BigInteger, nullable=False),
    Column("author", Text, nullable=False),
    Column("action", String(16), nullable=False),
    Column("subject", Text, nullable=False),
    Column("why", Text, nullable=False),
    Index("ix_decisions_subject", "subject"),
)
#: Single values that outlive a process, such as the mode in force.
facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
)


#: What a rule's backfill may claim, beside the open jobs: everything that has level-1 blocks.
COMMITTED_STATES: Final[tuple[JobState, ...]] = ("compacted", "derived", "exported", "quarantined")
