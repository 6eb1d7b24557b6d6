"""How the tenant behaves, as the live workers have seen it, and what makes the stand-in do the same (pure)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streams.stages import Stage, shares

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from streams.settings import Settings

#: Seconds of a call where no worker has measured one.
_USUAL = 0.05
#: Calls from which on a share of failed ones says something.
_ENOUGH = 50
_LIMITED = "call_rate_limited"


@dataclass(frozen=True, slots=True)
class Tenant:
    """Seconds of a call, calls a second that it allows (None: no limit was met), the share of calls that fail.

    `measured`: the live workers have seen it; otherwise it is assumed, or a person has said it.
    """

    latency: float
    limit: float | None
    errors: float
    measured: bool

    def with_words(self, latency: float | None, limit: float | None, errors: float | None) -> Tenant:
        """The same with what a person has said."""
        return replace(
            self,
            latency=self.latency if latency is None else latency,
            limit=self.limit if limit is None else limit,
            errors=self.errors if errors is None else errors,
        )

    def __str__(self) -> str:
        """Say it."""
        limit = "no limit" if self.limit is None else f"at most {self.limit:.3g} calls a second"
        errors = "none fails" if not self.errors else f"{self.errors:.2%} of them fail"
        source = "as the live workers have seen it" if self.measured else "assumed: no live worker has measured it"
        return f"a call takes {self.latency * 1000:.0f} ms, {limit}, {errors} ({source})"

    def faults(self) -> list[dict[str, Any]]:
        """What the stand-in is told (demo/standin/README.md)."""
        bulk = {"endpoint": "bulk"}
        found: list[dict[str, Any]] = []
        if self.latency:
            found.append({"match": bulk, "action": "latency", "seconds": self.latency, "jitter": self.latency / 5})
        if self.limit is not None:
            found.append({"match": bulk, "action": "rate-limit", "rate": self.limit, "burst": max(1, int(self.limit))})
        if self.errors:
            found.append({"match": bulk, "action": "status", "status": 503, "probability": self.errors})
        return found


def measured(workers: Iterable[Mapping[str, Any]]) -> Tenant:
    """What the workers' `/sync/status` say of it; several share its limit."""
    told = [one for one in workers if "stages" in one]
    found = shares(one["stages"] for one in told)
    calls = sum(one["calls"] for one in told)
    failed = sum(
        number
        for one in told
        for outcome, number in one["outcomes"].items()
        if outcome.startswith("call_") and outcome != _LIMITED
    )
    limits = [one["call_limit"] for one in told if one.get("call_limit") is not None]
    call = found.get(Stage.CALL)
    return Tenant(
        latency=_USUAL if call is None else call.seconds,
        limit=sum(limits) if limits else None,
        errors=failed / calls if calls >= _ENOUGH else 0.0,
        measured=call is not None,
    )


#: The datatype of a custom field, by what the mapping makes of a column.
_DATATYPES = {"boolean": "CHECKBOX", "number": "NUMBER", "date": "DATE"}


def switches(settings: Settings) -> dict[str, Any]:
    """The switches by which the stand-in takes what this mapping sends, as a tenant does that was set up for it."""
    rules = settings.mapping.custom_fields
    fields = {rule.target: {"type": _DATATYPES.get(rule.kind, "TEXT"), "enabled": True} for rule in rules}
    algorithms = settings.mapping.passwords.algorithms.values()
    custom = sorted({name for name in algorithms if name.startswith("CUSTOM_")})
    return {"token_lifetime": 86_400, "history_limit": 1, "fields": fields, "custom_algorithms": custom}
