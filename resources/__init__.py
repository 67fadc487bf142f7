"""Dagster configuration -> plain objects: buckets, ledger, rules, the pipeline.

The only place that names environment variables (`environment.py` lists them all with their defaults). Add a resource
when a new outside thing must be configurable; what it does belongs below, in `pyro_assets`.
"""
