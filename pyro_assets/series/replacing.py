"""Series of some rules put in the place of their earlier ones, while every other rule's stay as they are.

This is the backfill of a rule. What the series are worth is `derive`'s business; here only rows change hands.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from pyro_assets.series.frame import identities

if TYPE_CHECKING:
    import polars as pl


def replace_rules(
    before: "Mapping[str, pl.DataFrame]", found: "Mapping[str, pl.DataFrame]", ids: Collection[str]
) -> "tuple[dict[str, pl.DataFrame], pl.DataFrame]":
    """Put what was found of some rules among the series of a job.

    Args:
        before: kind -> all series of the job so far.
        found: kind -> series of these rules alone, as `derive` gives them.
        ids: of the rules.

    Returns:
        The kinds of `before`, in the order in which one derivation of all rules gives them; and the series that were
        left out because another rule has given them already, which keeps them.
    """
    import polars as pl

    kept = {kind: frame.filter(~pl.col("rule").is_in(list(ids))) for kind, frame in before.items()}
    taken = pl.concat([identities(frame) for frame in kept.values()])
    refused = []
    result = {}
    for kind, frame in kept.items():
        is_taken = identities(found[kind]).is_in(taken.implode())
        refused.append(found[kind].filter(is_taken))
        result[kind] = pl.concat([frame, found[kind].filter(~is_taken)]).sort("tenant", "rule", maintain_order=True)
    return result, pl.concat(refused)
