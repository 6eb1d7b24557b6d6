"""Asks name servers, the target, the legacy database and the topic, and changes nothing there but for the marker."""
