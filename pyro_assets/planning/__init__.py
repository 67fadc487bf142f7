"""Sources as they are first seen, and the jobs that are made of them: listings, sweeps, policy, what is due.

Add what decides which segments or blocks belong together and when; work on them belongs to `jobs`.
"""
