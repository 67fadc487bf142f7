"""Prometheus remote read: queries in, series of the archive out, hour by hour and as columns.

`wire` reads requests and frames answers, `files` and `rows` find what a query may mean, `dressing` makes a receiver's
series of it, `bits` and `encode` write samples, `spool` keeps them until all of a series is there, and `answer` is the
way through all of it.
"""
