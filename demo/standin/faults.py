"""Scripted faults: what goes wrong, for which calls, how often. README.md shows each as JSON.

A call takes the first fault that fires of each sort: one delay, one failure, and all changes of the answer.
"""

from __future__ import annotations

import asyncio
import difflib
import itertools
import random
import time
from dataclasses import dataclass, field
from typing import Any

ENDPOINTS = frozenset({"token", "bulk", "purge", "scim", "userexistence", "user", "search", "bulkread", "discovery"})
FAILURES = frozenset({"status", "drop-before", "drop-after", "partial-answer", "apply-later", "rate-limit"})
DELAYS = frozenset({"latency", "hold"})
ANSWERS = frozenset({"fail-users", "answers", "keys", "wrapped"})
ACTIONS = FAILURES | DELAYS | ANSWERS
MODES = frozenset({"missing", "shuffled", "unknown", "anonymous", "other-sub", "extra", "not-json", "empty"})

_KINDS: dict[str, tuple[type, ...]] = {
    "match": (dict,), "skip": (int,), "count": (int, type(None)), "probability": (int, float), "seed": (int,),
    "action": (str,), "status": (int,), "body": (str, dict, list, type(None)), "headers": (dict,), "when": (str,),
    "seconds": (int, float), "jitter": (int, float), "rate": (int, float), "burst": (int, float),
    "retry_after": (int, float, str, type(None)), "users": (int,), "share": (int, float), "message": (str,),
    "subs": (list,), "mode": (str,), "keys": (dict,), "reset": (bool,),
}  # fmt: skip
_MATCHES = frozenset({"endpoint", "method", "sub", "email"})


class FaultError(ValueError):
    """A fault that cannot be scripted; the message says what is wrong with it."""


@dataclass(slots=True, eq=False)
class Fault:
    """One scripted fault with its own random numbers and counts."""

    number: int
    script: dict[str, Any]
    random: random.Random
    seen: int = 0
    fired: int = 0
    tokens: float = 0.0
    filled: float = field(default_factory=time.monotonic)
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def action(self) -> str:
        """What goes wrong."""
        return str(self.script["action"])

    def get(self, key: str, default: Any) -> Any:
        """A value of the script."""
        value = self.script.get(key)
        return default if value is None else value

    def fires(self, endpoint: str, method: str, subs: list[str], emails: list[str]) -> bool:
        """Whether this call meets the fault; counts it."""
        match = self.script.get("match") or {}
        if match.get("endpoint", "*") not in ("*", endpoint) or match.get("method", method).upper() != method:
            return False
        if "sub" in match and match["sub"] not in subs:
            return False
        only = self.script.get("subs")
        if only is not None and not set(only) & set(subs):
            return False
        if "email" in match and match["email"].casefold() not in (each.casefold() for each in emails):
            return False
        self.seen += 1
        if self.seen <= self.get("skip", 0):
            return False
        count = self.script.get("count")
        if count is not None and self.fired >= count:
            return False
        if self.random.random() >= self.get("probability", 1.0):
            return False
        if self.action == "rate-limit" and self._allowed():
            return False
        self.fired += 1
        return True

    def _allowed(self) -> bool:
        """A token bucket of `rate` calls a second and `burst` at once."""
        rate, now = self.script["rate"], time.monotonic()
        burst = self.get("burst", max(1.0, rate))
        if self.seen == 1:
            self.tokens = burst
        self.tokens = min(burst, self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def some(self, subs: list[str]) -> list[int]:
        """The positions of the users that this fault touches: `users` of them, a `share`, or `subs`; one by default."""
        size, share, only = len(subs), self.script.get("share"), self.script.get("subs")
        if only is not None:
            return [position for position, sub in enumerate(subs) if sub in only]
        wanted = self.get("users", 1) if share is None else round(size * share)
        return sorted(self.random.sample(range(size), min(size, wanted)))

    def to_json(self) -> dict[str, Any]:
        """The script and what became of it."""
        return {"id": self.number, **self.script, "seen": self.seen, "fired": self.fired}


@dataclass(slots=True)
class Plan:
    """What goes wrong with one call."""

    delay: Fault | None = None
    failure: Fault | None = None
    answers: list[Fault] = field(default_factory=list)


class Faults:
    """The scripted list."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._numbers = itertools.count(1)

    def add(self, scripts: Any) -> list[dict[str, Any]]:
        """Append one fault, a list, or {"seed": n, "faults": [...]}; all or none. Returns them with their ids."""
        seed = None
        if isinstance(scripts, dict) and "faults" in scripts:
            seed, scripts = scripts.get("seed"), scripts["faults"]
        if isinstance(scripts, dict):
            scripts = [scripts]
        if not isinstance(scripts, list):
            raise FaultError("faults are an object, a list of objects, or an object with seed and faults")
        for script in scripts:
            check(script)
        added = []
        for position, script in enumerate(scripts):
            own = script.get("seed", None if seed is None else seed + position)
            added.append(Fault(next(self._numbers), script, random.Random(own)))
        self._faults.extend(added)
        return [fault.to_json() for fault in added]

    def clear(self, number: int | None = None) -> None:
        """Forget all faults, or one; the calls that it holds go on."""
        kept = []
        for fault in self._faults:
            if number is None or fault.number == number:
                fault.removed.set()
            else:
                kept.append(fault)
        self._faults = kept

    def to_json(self) -> list[dict[str, Any]]:
        """All of them."""
        return [fault.to_json() for fault in self._faults]

    def plan(self, endpoint: str, method: str, subs: list[str], emails: list[str]) -> Plan:
        """What goes wrong with this call."""
        plan = Plan()
        for fault in self._faults:
            action = fault.action
            if (action in DELAYS and plan.delay) or (action in FAILURES and plan.failure):
                continue
            if not fault.fires(endpoint, method, subs, emails):
                continue
            if action in DELAYS:
                plan.delay = fault
            elif action in FAILURES:
                plan.failure = fault
            else:
                plan.answers.append(fault)
        return plan


def check(script: Any) -> None:
    """Raise FaultError if `script` is none."""
    if not isinstance(script, dict):
        raise FaultError("a fault is an object")
    for key, value in script.items():
        if key not in _KINDS:
            near = difflib.get_close_matches(key, _KINDS, n=1)
            raise FaultError(f"a fault has no key {key}" + (f"; did you mean {near[0]}?" if near else ""))
        if not isinstance(value, _KINDS[key]):
            raise FaultError(f"key {key} of a fault has a value of the wrong kind")
    action = script.get("action")
    if action not in ACTIONS:
        raise FaultError(f"a fault's action is one of {', '.join(sorted(ACTIONS))}")
    needed = {"status": "status", "apply-later": "seconds", "latency": "seconds", "rate-limit": "rate",
              "answers": "mode", "keys": "keys"}.get(action)  # fmt: skip
    if needed and needed not in script:
        raise FaultError(f"a fault with action {action} needs {needed}")
    if not all(isinstance(each, str) for each in script.get("subs", [])):
        raise FaultError("subs is a list of texts")
    if script.get("mode", "missing") not in MODES:
        raise FaultError(f"mode is one of {', '.join(sorted(MODES))}")
    if script.get("when", "before") not in ("before", "after"):
        raise FaultError("when is before or after (the call is applied)")
    match = script.get("match") or {}
    if not set(match) <= _MATCHES or not all(isinstance(each, str) for each in match.values()):
        raise FaultError(f"match takes texts for {', '.join(sorted(_MATCHES))}")
    if match.get("endpoint", "*") not in ENDPOINTS | {"*"}:
        raise FaultError(f"endpoint is * or one of {', '.join(sorted(ENDPOINTS))}")
