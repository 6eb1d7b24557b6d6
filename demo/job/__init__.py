"""The demo: from an empty machine to every user in cidaas (`make demo`, `python -m demo`)."""
