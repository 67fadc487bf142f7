"""Reports of rules: which are in force, and how far their backfills are."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RuleProgress:
    """How far the backfill of a rule is in an hour: `done` of `total` derived jobs have its series in this version."""

    rule: str
    hash: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RulesReport:
    """The rules of a run.

    Attributes:
        hash: of the snapshot.
        from_file, from_ledger: how many rules are in force.
        left_out: rules that give no series, and why.
        backfill: of the rules that the run is restricted to.
    """

    hash: str
    from_file: int = 0
    from_ledger: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    backfill: tuple[RuleProgress, ...] = ()
