"""Series to receivers: who lacks what, sending it, receipts, files for history, and the proof of what arrived.

The room `receivers` says to whom, `remote_write` how; nothing here derives series.
"""
