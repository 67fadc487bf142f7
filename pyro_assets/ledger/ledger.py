"""The ledger: one class over sources, planning, claims, failures and status.

Add tables to `schema`, and methods to the part of the ledger they belong to; nothing but the sum stands here.
"""

from pyro_assets.ledger.active_series import ActiveSeriesRecords
from pyro_assets.ledger.archived import Archived
from pyro_assets.ledger.beats import Beats
from pyro_assets.ledger.calendar import Calendar
from pyro_assets.ledger.claims import Claims, Retry
from pyro_assets.ledger.collapsing import Collapsing
from pyro_assets.ledger.configurations import Configurations
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.ledger.expiry import Expiry
from pyro_assets.ledger.health import Health
from pyro_assets.ledger.hours import Hours
from pyro_assets.ledger.lag import Lags
from pyro_assets.ledger.listings import Listings
from pyro_assets.ledger.loading import Loading
from pyro_assets.ledger.modes import Modes
from pyro_assets.ledger.pardons import Pardons
from pyro_assets.ledger.plan import Planner
from pyro_assets.ledger.policy import Policy
from pyro_assets.ledger.quarantine import Quarantine
from pyro_assets.ledger.receipts import Receipts
from pyro_assets.ledger.receivers import ReceiverStates
from pyro_assets.ledger.records import Lane
from pyro_assets.ledger.restoring import Restoring
from pyro_assets.ledger.rule_use import RuleUse
from pyro_assets.ledger.rules import Rules
from pyro_assets.ledger.scrubs import Scrubs
from pyro_assets.ledger.shown import Shown
from pyro_assets.ledger.sources import Sources
from pyro_assets.ledger.status import Status
from pyro_assets.ledger.upkeep import Upkeep

__all__ = ["Lane", "Ledger", "Policy", "Retry"]


class Ledger(
    Sources,
    Configurations,
    Listings,
    Planner,
    Modes,
    Claims,
    Quarantine,
    Pardons,
    Loading,
    Archived,
    Status,
    Hours,
    Lags,
    Beats,
    Receipts,
    ReceiverStates,
    ActiveSeriesRecords,
    Restoring,
    Upkeep,
    Expiry,
    Collapsing,
    Health,
    Rules,
    RuleUse,
    Calendar,
    DecisionRecords,
    Shown,
    Scrubs,
):
    """Every source, job, output and receipt. Open one with `Ledger.open(url)`, close it with `close`."""
