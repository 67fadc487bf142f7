"""Where bytes come from and go to: buckets, keys, ULIDs and the discovery of new keys.

Add ways to reach objects and rules for their names; what is inside an object belongs to `block`.
"""
