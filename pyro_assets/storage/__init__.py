"""Where bytes come from and go to: buckets, keys, ULIDs and checksums.

Add ways to reach objects and rules for their names; what is inside an object belongs to `block`.
"""
