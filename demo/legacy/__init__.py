"""The example legacy database."""
