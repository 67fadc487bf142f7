"""Where the layers meet without Dagster: ticks, jobs, hours and runs, as the sensor, the assets and the CLI need them.

Add orchestration; formats, compaction, series and SQL belong to their own packages.
"""
