"""pprof profiles, as agents upload them, and the way from there to the columns of a level-0 segment.

It serves the generator and the tests; the live path starts at segments that someone else has written. Nothing here
knows buckets or jobs.
"""
