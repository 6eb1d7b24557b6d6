"""What is said of a pause, wherever it is shown: why, by whom, and since when (pure)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Mapping


def pause_words(record: Mapping[str, Any]) -> str:
    """Why, by whom and since when something is paused; who paused in pipeline.toml did so at no moment."""
    when = _since(record)
    return f"{record.get('why', '')} ({record.get('who', 'somebody')}{when and f', {when}'})"


def lasting(record: Mapping[str, Any], now: float) -> str:
    """The same, and for how long already."""
    since = record.get("at")
    return pause_words(record) + (f", for {duration(max(0.0, now - since))} now" if since else "")


def by(record: Mapping[str, Any]) -> str:
    """Who paused, and when, as far as that is known: to stand behind the reason."""
    who, when = record.get("who"), _since(record)
    return (f" by {who}" if who else "") + (when and f" {when}")


def _since(record: Mapping[str, Any]) -> str:
    at = record.get("at")
    return time.strftime("since %Y-%m-%d %H:%M:%S UTC", time.gmtime(at)) if at else ""
