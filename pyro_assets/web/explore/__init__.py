"""The page Explore, in parts: `asked` (its address), `page`, `shown` (figures and drawings), `api`."""
