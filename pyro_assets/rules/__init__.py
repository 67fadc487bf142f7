"""Which series exist: the language of rules, selectors and patterns, the file, rules of the ledger and their versions.

Add what a rule may say here; how its series are computed belongs to `series`.
"""
