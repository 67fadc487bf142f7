"""The symbols section: strings, mappings, functions, locations and stack traces; imports nothing."""
