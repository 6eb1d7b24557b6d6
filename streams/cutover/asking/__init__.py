"""Asks name servers, the target and the legacy database, and changes nothing there."""
