"""The pages of rules: list, form, text, import, preview and watch, and their API."""
