"""Profiles to series: what a configuration asks for, computed exactly from the columns of a job.

`rules` says what is wanted, `engine` computes it in Polars, `frame` keeps it as Parquet. Nothing here reads or writes
files of the archive, sends anything or knows Dagster.
"""
