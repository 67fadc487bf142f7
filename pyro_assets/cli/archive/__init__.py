"""Commands on the archive and on what was left out of it."""
