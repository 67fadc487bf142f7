"""Answers from the archive for people: profiles of a range, series as they were derived, previews of rules.

Add a question that a page or a command asks; nothing here writes to the archive or plans work.
"""
