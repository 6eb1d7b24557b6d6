"""What the check found: numbers, and for what is not right the user's id and the names of the fields."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES = 1000  # users named of each verdict; all are counted


class OracleError(Exception):
    """The check could not be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One user that is not equal: its legacy id (of an unexpected one its sub), and what is wrong or why."""

    user: str
    what: str = ""


@dataclass(slots=True)
class Report:
    """The verdicts over all users. `users` are those that should be in cidaas."""

    users: int = 0
    equal: int = 0
    deleted: int = 0  # soft-deleted in the legacy database, and rightly not in cidaas
    older_login: int = 0  # part of `equal`: lastLoggedInTime is older at cidaas, as lazy fields may be
    at_cidaas: int = 0
    counts: Counter[str] = field(default_factory=Counter)  # missing, stale, resurrected, set aside, unexpected
    reasons: Counter[str] = field(default_factory=Counter)  # of those set aside
    findings: dict[str, list[Finding]] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Nothing is missing, stale or resurrected."""
        return not (self.missing or self.stale or self.resurrected)

    @property
    def missing(self) -> int:
        """Live in the legacy database, not in cidaas."""
        return self.counts["missing"]

    @property
    def stale(self) -> int:
        """In cidaas with other values."""
        return self.counts["stale"]

    @property
    def resurrected(self) -> int:
        """In cidaas although deleted in the legacy database."""
        return self.counts["resurrected"]

    @property
    def set_aside(self) -> int:
        """Rightly refused by cidaas; see `reasons`."""
        return self.counts["set aside"]

    @property
    def unexpected(self) -> int:
        """In cidaas, and no legacy user's."""
        return self.counts["unexpected"]

    def add(self, verdict: str, user: str, what: str = "") -> None:
        """Count one user that is not equal."""
        self.counts[verdict] += 1
        if verdict == "set aside":
            self.reasons[what] += 1
        found = self.findings.setdefault(verdict, [])
        if len(found) < EXAMPLES:
            found.append(Finding(user, what))

    def lines(self, examples: int = 5) -> list[str]:
        """The report for a person: numbers, reasons, a few users of each kind."""
        lines = [f"{name:<13}{number:>10,}" for name, number in self._numbers() if number or name in _ALWAYS]
        for verdict in ("missing", "stale", "resurrected", "unexpected"):
            found = self.findings.get(verdict, [])[:examples]
            lines += [f"  {verdict}: user {each.user}" + (f" ({each.what})" if each.what else "") for each in found]
        lines += [f"  set aside: {number:,} {reason}" for reason, number in self.reasons.most_common()]
        return lines

    def _numbers(self) -> list[tuple[str, int]]:
        verdicts = ("missing", "stale", "resurrected", "set aside", "unexpected")
        return [("users", self.users), ("equal", self.equal), *((name, self.counts[name]) for name in verdicts)]


_ALWAYS = ("users", "equal", "missing", "stale", "resurrected")
