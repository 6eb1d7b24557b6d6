"""What a `Census` means for the first day at cidaas, in figures (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.census.counting import EMAIL_TAKEN, NO_IDENTIFIER, UNRESOLVABLE, USERNAME_TAKEN, Fate
from streams.census.emails import DISPOSABLE, INVALID
from streams.cidaas.refusals import Reason

if TYPE_CHECKING:
    from streams.census.counting import Census
    from streams.census.domains import Resolved

#: Why a user will be refused × the reason under which `quarantine list` will show it.
REFUSALS: dict[str, Reason] = {
    NO_IDENTIFIER: Reason.MISSING_IDENTIFIER,
    INVALID: Reason.INVALID_EMAIL,
    DISPOSABLE: Reason.INVALID_EMAIL,
    UNRESOLVABLE: Reason.INVALID_EMAIL,
    EMAIL_TAKEN: Reason.EMAIL_CONFLICT,
    USERNAME_TAKEN: Reason.USERNAME_CONFLICT,
}


@dataclass(frozen=True, slots=True)
class Rate:
    """Users that go to cidaas in a second, None if that is not known, and where that comes from."""

    users: float | None
    said_by: str


@dataclass(frozen=True, slots=True)
class Survey:
    """A census and what belongs to it: where, when, and what was asked for beside it. `seconds` the reading took."""

    tables: tuple[str, ...]
    at: str
    seconds: float
    census: Census
    unmapped: dict[str, list[str]]
    rate: Rate
    resolved: Resolved | None
    mfa_enabled: bool

    @property
    def load_seconds(self) -> float | None:
        """How long the initial load will take; deleted users and those not selected cost no call."""
        return self.census.live / self.rate.users if self.rate.users else None

    @property
    def wrong(self) -> bool:
        """Whether somebody has to do something first: users will be refused, or there are none."""
        return not self.census.live or self.census.of(Fate.REFUSED) > 0


def body(survey: Survey) -> dict[str, Any]:
    """Everything as JSON."""
    census, phones = survey.census, survey.census.phones
    return {
        "tables": list(survey.tables),
        "at": survey.at,
        "seconds": round(survey.seconds, 3),
        "users": {name: census.users[name] for name in ("live", "deleted", "not_selected")},
        "user_status": dict(census.user_status),
        "forecast": {
            "unchanged": census.of(Fate.UNCHANGED),
            "second_factor_lost": census.of(Fate.SECOND_FACTOR_LOST),
            "reset": dict(census.why(Fate.RESET)),
            "barred": dict(census.why(Fate.BARRED)),
            "refused": dict(census.why(Fate.REFUSED)),
            "load": {
                "users": census.live,
                "rate": survey.rate.users,
                "rate_from": survey.rate.said_by,
                "seconds": survey.load_seconds,
            },
        },
        "second_factor": census.second_factor,
        "hashes": [
            {"name": kind.name, "cost": kind.cost, "sent": kind.sent, "note": kind.note, "users": number}
            for kind, number in census.hashes.most_common()
        ],
        "emails": {"shared": census.emails.shared, "users": census.emails.users},
        "usernames": {"shared": census.usernames.shared, "users": census.usernames.users},
        "phones": {"looked_at": phones.looked_at, "given": phones.given, "invalid": phones.invalid},
        "domains": None
        if survey.resolved is None
        else {
            "asked": survey.resolved.asked,
            "dead": len(survey.resolved.dead),
            "unknown": survey.resolved.unknown,
        },
        "notes": dict(census.notes),
        "credentials": {name: census.credentials[name] for name in ("password", "totp", "other", "orphans")},
        "unmapped": survey.unmapped,
        "examples": {str(finding): ids for finding, ids in census.examples.items() if ids},
        "wrong": survey.wrong,
    }
