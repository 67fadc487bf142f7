"""Addresses of Pyroscope's own clients: Grafana's data source, Profiles Drilldown, profilecli.

`connect` is the protocol; `querier`, `rules` and `render` are what is asked for. What is answered is computed in
`explore.pyroscope`.
"""
