"""The project's own web process: health as metrics; pages come beside it.

Add routes here; what they show is computed in `explore` and `monitoring`.
"""
