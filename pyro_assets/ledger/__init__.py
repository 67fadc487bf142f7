"""The ledger's database: connections, tables, migrations, and the records that several rooms share.

Add tables and what every room needs of them; statements of one room stand there, as `Queries`.
"""
