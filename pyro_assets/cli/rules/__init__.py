"""`pyro-assets rules` and its sub-commands."""
