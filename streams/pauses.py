"""What is said of a pause, wherever it is shown: why, by whom, and since when (pure)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Mapping


def pause_words(record: Mapping[str, Any]) -> str:
    """Why, by whom and since when something is paused; who paused in pipeline.toml did so at no moment."""
    since = record.get("at")
    when = time.strftime(", since %Y-%m-%d %H:%M:%S UTC", time.gmtime(since)) if since else ""
    return f"{record.get('why', '')} ({record.get('who', 'somebody')}{when})"


def lasting(record: Mapping[str, Any], now: float) -> str:
    """The same, and for how long already."""
    since = record.get("at")
    return pause_words(record) + (f", for {duration(max(0.0, now - since))} now" if since else "")


def by(record: Mapping[str, Any]) -> str:
    """Who paused, and when, as far as that is known: to stand behind the reason."""
    who, since = record.get("who"), record.get("at")
    when = time.strftime(" since %Y-%m-%d %H:%M:%S UTC", time.gmtime(since)) if since else ""
    return (f" by {who}" if who else "") + when
