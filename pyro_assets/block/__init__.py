"""The block format: bytes to columns and back, no storage and no policy (FORMAT.md explains the bytes).

Every structure's reader and writer stand side by side; nothing here knows what the numbers mean to a user.
"""
