"""The ledger: one class over sources, planning, claims and status, and the lane that a worker takes.

Add tables to `schema`, and methods to the part of the ledger they belong to.
"""

from dataclasses import dataclass

from pyro_assets.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Lane:
    """A share of the shards: those whose number modulo `count` is `index`.

    >>> Lane(1, 4).has_shard(5), Lane().has_shard(5)
    (True, True)
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise SettingsError(f"lane {self.index} of {self.count} does not exist; lanes are numbered from 0")

    def has_shard(self, shard: int) -> bool:
        """Whether the lane takes this shard."""
        return shard % self.count == self.index


class Ledger:
    """Every source, job, output and receipt."""

    @classmethod
    def open(cls, url: str) -> "Ledger":
        """Opens (and makes or migrates) the ledger at an SQLAlchemy URL or the path of an SQLite file."""
        raise NotImplementedError

    def close(self) -> None:
        """Gives the connections back."""
