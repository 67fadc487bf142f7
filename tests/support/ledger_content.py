"""What a ledger holds, so that two of them can be compared: everything but when and by whom work was done."""

from typing import Any

from pyro_assets.ledger.database import Ledger

#: Columns that only say when or by whom work was done, or that the archive does not hold.
_OF_WORK = {
    "planned_ms", "attempts", "next_attempt_ms", "run_id", "lease_expires_ms", "fence", "compacted_ms", "derived_ms",
    "exported_ms", "verified_ms", "config_hash", "compact_seconds", "derive_seconds", "derive_facts", "written_ms",
    "first_seen_ms", "id", "source_id", "first_failed_ms", "last_failed_ms", "rows",
}  # fmt: skip


def content(ledger: Ledger) -> dict[str, list[tuple[Any, ...]]]:
    """All that matters in a ledger; ids of sources, which are only numbers, become keys."""
    found = {}
    with ledger.read() as connection:
        for name in ("sources", "jobs", "outputs", "series_files", "quarantine"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {name}").mappings().all()
            keep = [{k: v for k, v in row.items() if k not in _OF_WORK or (name, k) == ("jobs", "id")} for row in rows]
            found[name] = sorted(tuple(row.items()) for row in keep)
        found["links"] = sorted(
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT s.key, j.job_id, j.position FROM job_sources j JOIN sources s ON s.id = j.source_id"
            )
        )
    return found
