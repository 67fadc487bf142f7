"""Series to receivers: which jobs a receiver lacks, sending, receipts, files of history, and comparing what arrived.

The room `receivers` says to whom, `remote_write` how; nothing here derives series.
"""
