"""Prometheus remote write: samples to requests, requests to a server, and answers to decisions."""
