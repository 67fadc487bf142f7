"""The archive's profiles as Pyroscope's own clients ask for them: its messages in, its messages out.

No transport is known here: `web.pyroscope` has that. `querier` names the methods; add one there, with a module of its
own where it computes something.
"""
