"""`make demo`: the whole system on made input, in front of a person, or as a proof that ends by itself.

Add what a first look needs; what a production needs belongs to `defs`, `resources` and the README.
Everything that this starts is ended by it, whatever ends it.
"""
