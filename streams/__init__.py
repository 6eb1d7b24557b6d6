"""Moves users from a legacy PostgreSQL to cidaas and keeps both equal, without losing one (docs/design.md)."""
