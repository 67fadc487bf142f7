"""Commands on receivers: sending, checking and comparing."""
