"""Series of jobs: the columns of their profiles, and a configuration, to exact values with names and labels.

The order of the steps stands here: label sets, names, sums, limits, frames. What is added up is in `engine`, what
becomes of it in `limits`, what rules mean in `rules`. A value depends on nothing but the job's profiles and the
configuration: not on the order of sources, rules or anything seen before, nor on the jobs beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import xxhash

from pyro_assets.block.columns import I64, U64, BlockColumns, Bool
from pyro_assets.rules.choice import KINDS
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.names import SHARD_LABEL
from pyro_assets.series.compiled import CompiledRules, compile_rules
from pyro_assets.series.engine import Chosen, add_up, choose, settle
from pyro_assets.series.facts import (
    MAX_EXAMPLES,
    JobInfo,
    SeriesFacts,
    count_negative,
    count_services,
    note_overflows,
)
from pyro_assets.series.frame import identities, name_series
from pyro_assets.series.label_sets import find_label_sets, groups_of, note_collisions
from pyro_assets.series.name_sets import find_names
from pyro_assets.series.profiles import run

ALL_KINDS: Final = frozenset(KINDS)


@dataclass(slots=True)
class Derived:
    """Series by kind, and what was noticed.

    Attributes:
        frames: kind -> frame with the columns tenant, metric, labels (list of name and value, sorted by name, without
            `__name__`), timestamp_ms, value (float64), value_int (int64, the exact value), rule and job; sorted by
            tenant, rule, metric and labels. A kind that was asked for is there even when it has no series.
        facts: counts.
    """

    frames: dict[str, pl.DataFrame]
    facts: SeriesFacts


def instance_hash(shard: int, created_by_index: int) -> str:
    """The label `pyroscope_instance` of a job: its shard, and `created_by` of its first source's metadata, hashed.

    Args:
        shard: the job's shard.
        created_by_index: position of `created_by` in the string table (a position, not the name).

    Returns:
        Hexadecimal digits without leading zeros, as the original writes them.

    >>> instance_hash(1, 1), instance_hash(7, 3)
    ('abc0cb31853a3dcd', 'd916ad2604c4023')
    """
    data = (shard & 0xFFFF_FFFF).to_bytes(4, "big") + (created_by_index & 0xFFFF_FFFF).to_bytes(4, "big")
    return f"{xxhash.xxh64_intdigest(data):x}"


def derive(columns: BlockColumns, job: JobInfo, config: SeriesConfig, kinds: frozenset[str] = ALL_KINDS) -> Derived:
    """Derive the series of one job, see `derive_jobs`."""
    return derive_jobs(columns, np.zeros(len(columns.datasets), dtype=np.int64), [job], config, kinds)[0]


def derive_jobs(
    columns: BlockColumns,
    job_of_dataset: I64,
    jobs: Sequence[JobInfo],
    config: SeriesConfig,
    kinds: frozenset[str] = ALL_KINDS,
) -> list[Derived]:
    """Derive the series of jobs by one set of queries; each job's are what it gives alone.

    Flows (and everything that an imported recording rule asks for) are summed. Of a gauge the last profile of each
    target counts, see `profiles`. Function series of native rules that would be 0 are left out; those of imported rules
    are kept. A series whose value does not fit int64, and the series of a rule with `overflow: error` that gives a
    tenant too many, are left out and named in the facts: they cost no other series.

    Args:
        columns: merged columns, or those read from level-1 blocks; datasets may repeat a tenant and service.
        job_of_dataset: int64[datasets], positions in `jobs`.
        jobs: names and times of the jobs.
        config: what is wanted.
        kinds: "dimension", "function" or both; what is not asked for is not computed.
    """
    rules = compile_rules(config)
    sets = find_label_sets(columns, job_of_dataset, rules.labels)
    names = find_names(columns.symbols, rules.names)
    facts = [SeriesFacts(services=own) for own in count_services(columns, job_of_dataset, len(jobs))]
    note_collisions(sets, facts, [{SHARD_LABEL: str(job.shard)} for job in jobs])
    for fact, negative in zip(facts, count_negative(columns, job_of_dataset, len(jobs)), strict=True):
        fact.negative_samples = negative
    chosen, groups = choose(columns, sets, rules.of_kinds(kinds)), groups_of(sets)
    series, unfit = settle(add_up(columns, rules, names, chosen), rules, groups, len(names.shown), facts)
    _note_other_units(chosen, facts)
    _note_zeros(chosen, series, groups, facts)

    if len(unfit):
        note_overflows(name_series(unfit, rules.rules, sets, jobs, names.shown)[0], unfit["job"].to_list(), facts)
    _note_rounded(series, facts)
    frame, identity = name_series(series, rules.rules, sets, jobs, names.shown)
    is_kept = _first_of_equal(frame, identity, rules, series["rule"].to_numpy())
    bounds = np.searchsorted(2 * series["job"].to_numpy() + series["kind"].to_numpy(), np.arange(2 * len(jobs) + 1))
    derived = []
    for job, fact in enumerate(facts):
        frames: dict[str, pl.DataFrame] = {}
        for kind, begin in zip(KINDS, bounds[2 * job :].tolist(), strict=False):
            own = slice(begin, int(bounds[2 * job + KINDS.index(kind) + 1]))
            if kind in kinds:
                frames[kind] = frame[own]
                if not is_kept[own].all():
                    note_refused(frame[own].filter(~is_kept[own]), fact)
                    frames[kind] = frame[own].filter(is_kept[own])
        fact.series = {kind: part.height for kind, part in frames.items()}
        derived.append(Derived(frames, fact))
    return derived


def _note_other_units(chosen: Chosen, facts: Sequence[SeriesFacts]) -> None:
    """Count label sets that rules left out because their unit is no time."""
    if chosen.selected["times"].null_count():
        left_out = chosen.selected.filter(pl.col("times").is_null()).join(chosen.wanted, on="selection")
        for job, count in left_out["job"].value_counts().iter_rows():
            facts[job].other_units = count


def _note_zeros(chosen: Chosen, series: pl.DataFrame, groups: pl.DataFrame, facts: Sequence[SeriesFacts]) -> None:
    """Count the series of native function rules that would be 0."""
    if not chosen.wanted["is_native"].any():
        return
    native = chosen.wanted.lazy().filter("is_native")
    possible = chosen.asked.lazy().select("selection", "group").unique().join(native, on="selection")
    missing = possible.join(series.lazy(), on=["rule", "group"], how="anti").join(groups.lazy(), on="group")
    for job, count in run(missing.group_by("job").len()).iter_rows():
        facts[job].skipped_zero_series = count


def _note_rounded(series: pl.DataFrame, facts: Sequence[SeriesFacts]) -> None:
    """Count values that are no doubles."""
    if series["is_rounded"].any():
        for job, count in series.filter("is_rounded")["job"].value_counts().iter_rows():
            facts[job].rounded_values = count


def _first_of_equal(frame: pl.DataFrame, identity: U64, rules: CompiledRules, rule: I64) -> Bool:
    """Which series no rule before gives already; rules of the language come after all other forms.

    Args:
        frame: n series.
        identity: uint64[n], equal where series are.
        rules: r rules.
        rule: int64[n].
    """
    keep = np.ones(len(frame), dtype=np.bool_)
    equal = pl.Series(identity)
    if not rules.any("yields") or equal.n_unique() == len(equal):
        return keep
    twice = np.flatnonzero(equal.is_duplicated().to_numpy())
    is_late = rules.frame["yields"].gather(rule.take(twice)).to_numpy()
    order = twice.take(np.argsort(is_late, kind="stable"))
    keep[order] = identities(frame[order]).is_first_distinct().to_numpy()
    return keep


def note_refused(refused: pl.DataFrame, facts: SeriesFacts) -> None:
    """Count series that were left out because another rule gives them, and show the first."""
    facts.conflicting_series += len(refused)
    for row in refused.head(MAX_EXAMPLES).iter_rows(named=True):
        labels = ", ".join(f"{label['name']}={label['value']}" for label in row["labels"])
        example = f"rule {row['rule']} gives {row['metric']}{{{labels}}}, which another rule gives already: left out"
        facts.collision_examples = [*facts.collision_examples, example][:MAX_EXAMPLES]
