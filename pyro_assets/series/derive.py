"""Series of one job: the columns of its profiles, and a configuration, to exact values with names and labels.

The order of the steps stands here: label sets, rows that count, sums per rule and group, frames. What stacks contain
is found by `stacks`, what rules mean by `rules` and `rule_set`. A value depends on nothing but the job's profiles and
the configuration: not on the order of sources, rules or anything seen before.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import xxhash

from pyro_assets.block.columns import BlockColumns
from pyro_assets.series.config import SeriesConfig
from pyro_assets.series.facts import MAX_EXAMPLES, SeriesFacts, count_services, note_overflows
from pyro_assets.series.frame import identities, series_table, to_polars
from pyro_assets.series.job_info import JobInfo
from pyro_assets.series.label_sets import find_label_sets, note_collisions, rank_groups
from pyro_assets.series.names import METRIC_PREFIX, SHARD_LABEL
from pyro_assets.series.rule_series import rule_series
from pyro_assets.series.rule_set import compile_rules
from pyro_assets.series.rules import INSTANCE_VALUE, KINDS, SHARD_VALUE
from pyro_assets.series.sums import sum_series

if TYPE_CHECKING:
    import polars as pl

ALL_KINDS: Final = frozenset(KINDS)
_EXACT_DOUBLE: Final = 2**53


@dataclass(slots=True)
class Derived:
    """Series by kind, and what was noticed.

    Attributes:
        frames: kind -> frame with the columns tenant, metric, labels (list of name and value, sorted by name, without
            `__name__`), timestamp_ms, value (float64), value_int (int64, the exact value), rule and job; sorted by
            tenant, rule, metric and labels. A kind that was asked for is there even when it has no series.
        facts: counts.
    """

    frames: "dict[str, pl.DataFrame]"
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
    """Derive the series of a job.

    Flows (and everything that an imported recording rule asks for) are summed. Of a gauge the last profile of each
    target counts, see `profiles`. Function series of native rules that would be 0 are left out; those of imported rules
    are kept. A series whose value does not fit int64, and the series of a rule with `overflow: error` that gives a
    tenant too many, are left out and named in the facts: they cost no other series.

    Args:
        columns: merged columns, or those read from level-1 blocks; datasets may repeat a tenant and service.
        job: names and time of the job.
        config: what is wanted.
        kinds: "dimension", "function" or both; what is not asked for is not computed.
    """
    rules = compile_rules(config)
    sets = find_label_sets(columns, rules)
    facts = SeriesFacts(services=count_services(columns))
    facts.negative_samples = int(np.count_nonzero(columns.rows.value < 0))
    note_collisions(sets, facts, {SHARD_LABEL: str(job.shard)})
    rule, group, sums = sum_series(columns, rules, sets, kinds, facts)
    tenants, rank, tenant_rank = rank_groups(sets)
    order = np.lexsort((rank.take(group), rule, tenant_rank.take(group), rules.kind_of_rule.take(rule)))
    rule, group = rule.take(order), group.take(order)
    value, is_over = sums.take(order).narrow()
    of_job = {INSTANCE_VALUE: job.instance, SHARD_VALUE: str(job.shard)}
    constants = [[of_job.get(text, text) for text in one.constants] for one in rules.rules]
    table = series_table(
        rules.rules, constants, sets.memory, sets.groups, tenants, rule, group, value, job.timestamp_ms, job.job_id
    )
    if is_over.any():
        note_overflows(table.filter(pa.array(is_over)), facts)
        table, value, rule = table.filter(pa.array(~is_over)), value.compress(~is_over), rule.compress(~is_over)
    large = value.compress((value > _EXACT_DOUBLE) | (value < -_EXACT_DOUBLE)).tolist()
    facts.rounded_values = sum(int(float(number)) != number for number in large)
    frame = to_polars(table)
    split = int(np.count_nonzero(rules.kind_of_rule.take(rule) == 0))
    parts: dict[str, pl.DataFrame] = {KINDS[0]: frame[:split], KINDS[1]: frame[split:]}
    frames = {kind: part for kind, part in parts.items() if kind in kinds}
    if any(rule.enabled for rule in config.rules):
        _add_rules(frames, columns, job, config, facts)
    facts.series = {kind: part.height for kind, part in frames.items()}
    return Derived(frames, facts)


def _add_rules(
    frames: "dict[str, pl.DataFrame]", columns: BlockColumns, job: JobInfo, config: SeriesConfig, facts: SeriesFacts
) -> None:
    """Add the series of `rules`; of two rules that give the same one, the first by kind and name has it."""
    import polars as pl

    found = rule_series(columns, job, config, frozenset(frames), facts)
    frame = to_polars(found.table)
    added: dict[str, pl.DataFrame] = {KINDS[0]: frame[: found.split], KINDS[1]: frame[found.split :]}
    if _may_conflict(config, found.makers):
        every = pl.concat([*frames.values(), *added.values()])
        is_first = identities(every).is_first_distinct()
        note_refused(every.filter(~is_first), facts)
        begin = sum(map(len, frames.values()))
        for kind in KINDS:
            end = begin + len(added[kind])
            added[kind], begin = added[kind].filter(is_first[begin:end]), end
    for name, before in frames.items():
        if len(added[name]):
            both = pl.concat([before, added[name]])
            frames[name] = both.sort("tenant", "rule", maintain_order=True) if len(before) else both


def note_refused(refused: "pl.DataFrame", facts: SeriesFacts) -> None:
    """Count series that were left out because another rule gives them, and show the first."""
    facts.conflicting_series += len(refused)
    for row in refused.head(MAX_EXAMPLES).iter_rows(named=True):
        labels = ", ".join(f"{label['name']}={label['value']}" for label in row["labels"])
        example = f"rule {row['rule']} gives {row['metric']}{{{labels}}}, which another rule gives already: left out"
        facts.collision_examples = [*facts.collision_examples, example][:MAX_EXAMPLES]


def _may_conflict(config: SeriesConfig, makers: set[tuple[str, str]]) -> bool:
    """Whether two rules may give the same series: not where no function is counted by two of them."""
    functions = Counter(function for _, function in makers)
    functions.update(config.functions.keys())
    functions.update([""] if config.dimensions.selectors else [])
    recorded = {rule.metric_name for rule in config.recording_rules}
    metrics = {rule.metric for rule in config.rules}
    is_ours = any(name in metrics or name.startswith(METRIC_PREFIX) for name in recorded)
    return is_ours or max(functions.values(), default=0) > 1
