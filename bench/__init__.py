"""Measurements; what they found stands in docs/figures.md."""
