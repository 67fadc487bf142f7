"""What stands between a request and a page: access, sessions, limits, the API and its description."""
