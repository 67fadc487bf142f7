"""Series to receivers: remote write, files for history, and the proof of what arrived.

`receivers` says to whom, `samples` and `validate` what, `batch` and `encode` in which bytes, `client` sends them;
`openmetrics` writes files instead, `reconcile` asks back. Receipts, jobs and Dagster are not known here.
"""
