"""The committed dashboard as tests use it: its queries, filled in as Grafana does.

Add what several tests ask of the dashboard; a test of one thing keeps it to itself.
"""

import json
from pathlib import Path
from typing import Any

OBSERVABILITY = Path(__file__).parents[2] / "resources" / "observability"
DASHBOARD: dict[str, Any] = json.loads((OBSERVABILITY / "dashboard.json").read_text())
QUERIES: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def filled(query: str) -> str:
    """A query with a step of an hour, of every service."""
    return query.replace("$__interval_ms", "3600000").replace("$__interval", "1h").replace("$service", ".*")
