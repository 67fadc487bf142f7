"""Slow implementations from the specification alone: what the product says is compared with what they say."""
