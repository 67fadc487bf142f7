"""Profiles of the archive for people: totals over time, call trees, series, and the same in other tools' protocols."""
