"""Blocks in, blocks out, no I/O: the samples of many level-0 segments become level-1 blocks.

Add what decides which rows and symbols survive; bytes belong to `block`, storage to `storage`, jobs to `jobs`.
"""
