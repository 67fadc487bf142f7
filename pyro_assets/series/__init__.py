"""Profiles to series: what a configuration asks for, computed exactly from the columns of a job.

`config` says what is wanted, `derive` computes it, `store` keeps it as Parquet. Nothing here reads or writes files of
the archive, sends anything or knows Dagster.
"""
