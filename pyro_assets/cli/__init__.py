"""`pyro-assets`, the command line: one module per command, and what they share.

Add a command as a module and a line in `main.py`. Work belongs to the rooms below; here are only options, words and
tables.
"""
