"""Made-up but realistic load: seeded programs, their profiles as agents upload them, segments, and what they amount to.

`generate.py` drives it; add a program's vocabulary to `trees_*.py` and a service to `fleet.py`. Nothing here may be
imported by the code that it tests, and what the manifest says must never come from that code.
"""
