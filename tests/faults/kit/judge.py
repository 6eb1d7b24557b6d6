"""What the oracle cannot see in two tables: the order in which states arrived, calls that overlapped, secrets in print.

The end state is judged by `demo/oracle`: missing, stale, resurrected, wrong field, wrong password hash. Here the
history that the stand-in kept of each user is read, state by state.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx
import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

#: What may stand nowhere that is printed or noted: the seeded users' hashes and addresses, and the canary's values.
CANARY = "kanarie"
SECRETS = re.compile(
    rb"\$2[aby]\$\d\d\$[./A-Za-z0-9]{20}|\$argon2id\$|[A-Za-z0-9.+_-]+@(?:[a-z]+\.)?example\.(?:org|net)|"
    + CANARY.encode(),
    re.IGNORECASE,
)


@dataclass(slots=True)
class History:
    """What the history since `since_us` shows."""

    states: int = 0
    duplicates: int = 0  # a state equal to the one before: allowed (at least once), but it costs calls
    disorder: list[str] = field(default_factory=list)  # subs of whom an older state was accepted after a newer one


def history(url: str, since_us: int) -> History:
    """Read every user's states; only what was accepted after `since_us` is judged."""
    seen = History()
    with (
        httpx.Client(base_url=url, timeout=120, trust_env=False) as http,
        http.stream("GET", "/_test/history") as answer,
    ):
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line:
                _user(seen, orjson.loads(line), since_us)
    return seen


def _user(seen: History, user: dict[str, Any], since_us: int) -> None:
    newest, before = -1, None
    for state in user["states"]:
        judged = state["at_us"] >= since_us
        seen.states += judged
        if state["state"] == "DELETED":
            before = None
            continue
        version = version_of(state.get("full") or {})
        if judged and version < newest:
            seen.disorder.append(user["sub"])
        seen.duplicates += judged and state["entity"] == before
        newest, before = max(newest, version), state["entity"]


def version_of(entity: dict[str, Any]) -> int:
    """The number that the trigger gave this state of the row; 0 for none."""
    text = str((entity.get("customFields") or {}).get("customer_number") or "")
    return int(text[1:]) if re.fullmatch(r"v\d+", text) else 0


def secrets_in(texts: Iterable[tuple[str, bytes]]) -> list[str]:
    """Name every text with a secret in it, and where; never the secret itself."""
    found = []
    for name, text in texts:
        hit = SECRETS.search(text)
        if hit is not None:
            line = text.count(b"\n", 0, hit.start()) + 1
            found.append(f"{name} line {line}: {len(hit.group())} characters beginning {hit.group()[:3]!r}")
    return found


def files(paths: Iterable[Path]) -> Iterable[tuple[str, bytes]]:
    """The texts of files that are there."""
    for path in paths:
        if path.exists():
            yield path.name, path.read_bytes()
