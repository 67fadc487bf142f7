"""One job from claim to committed series: compaction, derivation, commit records, verification, quarantine.

Add what happens to a job here; which sources become a job is decided in `planning`.
"""
