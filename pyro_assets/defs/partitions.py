"""All partition definitions: one, UTC hours of block creation, shared by every asset.

Hours because people backfill hours and they stay few: at 100,000 keys the UI's queries take a second, and one key per
segment is there in hours, per compaction job in days, per hour and shard in weeks; per hour in eleven years.
"""

import dagster as dg


def hours(start_hour: str) -> dg.HourlyPartitionsDefinition:
    """Hours from `start_hour` ("2026-11-25-13:00", UTC) up to and including the running one."""
    return dg.HourlyPartitionsDefinition(start_date=start_hour, timezone="UTC", end_offset=1)
