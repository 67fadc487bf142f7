"""The archive over months: merging, retention, scrubbing and repair, and a ledger rebuilt from its records.

Add what happens to objects after their jobs are done; jobs themselves belong to `jobs`.
"""
