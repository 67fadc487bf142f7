"""The ledger: every source, job, output and receipt in a database, for decisions (Dagster's event log is for people).

Add states, queries and locking; bytes and buckets belong to `storage`, the order inside a job to `pipeline`.
"""
