"""Moves users from a legacy PostgreSQL to cidaas and keeps both equal, without losing one (docs/design.md)."""

#: of this project, as in pyproject.toml.
VERSION = "0.1.0"
