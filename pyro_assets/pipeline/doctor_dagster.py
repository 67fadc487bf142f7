"""Whether Dagster's own settings are those that runs rely on; the reasons stand in the project's dagster.yaml.

Add a setting here when a run would hang, double or pile up without it. Nothing of Dagster is imported.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from pyro_assets.pipeline.findings import Finding, Installation

#: What live and backfill runs rely on; the reasons stand in the project's own dagster.yaml.
_DAGSTER: Final = ("run_coordinator", "run_monitoring", "run_retries", "retention")
#: The first is ours; with Dagster's own, runs of single hours from the asset graph have no limit.
_QUEUES: Final = ("LaneRunCoordinator", "QueuedRunCoordinator")


def check_dagster(it: Installation) -> Iterator[Finding]:
    """What dagster.yaml says of queues, lanes, watching, retries and ticks."""
    copy = "copy resources/dagster.yaml there"
    if it.dagster_home is None:
        yield Finding("Dagster", "warning", "DAGSTER_HOME is not set", f"set it to a folder that stays, and {copy}")
        return
    path = it.dagster_home / "dagster.yaml"
    if not path.is_file():
        yield Finding("Dagster", "problem", f"{path} does not exist: runs are neither queued nor watched", copy)
        return
    import yaml

    try:
        found: Any = yaml.safe_load(path.read_text("utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        yield Finding("Dagster", "problem", f"{path} is no YAML: {error}", copy)
        return
    missing = [name for name in _DAGSTER if name not in found]
    if missing:
        yield Finding("Dagster", "warning", f"{path} has no {', '.join(missing)}", f"{copy}, or add these sections")
    limits = ((found.get("run_coordinator") or {}).get("config") or {}).get("tag_concurrency_limits") or []
    if not any(isinstance(limit, dict) and limit.get("key") == "lane" for limit in limits):
        text = f"{path} limits no lane: two live runs at a time only get into each other's way"
        yield Finding(
            "Dagster", "warning", text, "add tag_concurrency_limits for the key lane, as resources/dagster.yaml"
        )
    elif not missing:
        yield Finding("Dagster", "ok", f"{path} queues, watches and retries runs")
    yield from _values(path, found)


def _values(path: Path, found: dict[str, Any]) -> Iterator[Finding]:
    """Sections that are there and do not do what is relied on."""
    monitoring = found.get("run_monitoring")
    if isinstance(monitoring, dict) and not (monitoring.get("enabled") and monitoring.get("max_runtime_seconds")):
        text = f"{path} does not end runs whose machine died: such a one stays started, and its lane waits for ever"
        yield Finding("Dagster", "problem", text, "set run_monitoring: {enabled: true, max_runtime_seconds: 21600}")
    coordinator = found.get("run_coordinator")
    if isinstance(coordinator, dict) and coordinator.get("class") not in _QUEUES:
        text = f"{path} starts runs at once instead of queueing them: no limit of a lane holds"
        yield Finding("Dagster", "problem", text, "use the LaneRunCoordinator, as resources/dagster.yaml")
    retention = found.get("retention")
    for kind in ("sensor", "schedule"):
        if isinstance(retention, dict) and "purge_after_days" not in (retention.get(kind) or {}):
            text = f"{path} keeps every tick of a {kind} for ever: some thousands a day"
            yield Finding("Dagster", "warning", text, f"set {kind}: purge_after_days there, as resources/dagster.yaml")
