"""What a `Census` means for the first day at cidaas, in figures (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.census.counting import ORPHANS, PHONE_NOTE, Fate
from streams.census.words import why
from streams.notes import explained
from streams.source.fit import covered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.census.counting import Census
    from streams.census.domains import Resolved
    from streams.settings import Settings
    from streams.source.catalog import Table


@dataclass(frozen=True, slots=True)
class Rate:
    """Users that go to cidaas in a second, None if that is not known, and where that comes from."""

    users: float | None
    said_by: str


@dataclass(frozen=True, slots=True)
class Survey:
    """A census and what belongs to it: by which mapping, of what, when, and what was asked for beside it."""

    settings: Settings
    tables: tuple[Table, ...]
    at: float  # seconds since 1970, at its beginning
    seconds: float  # the reading took
    census: Census
    rate: Rate
    resolved: Resolved | None

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
    census, phones, resolved = survey.census, survey.census.phones, survey.resolved
    return {
        "at": survey.at,
        "seconds": round(survey.seconds, 3),
        "tables": covered(survey.settings, survey.tables),
        "users": census.users.total(),
        "status": {name: census.users[name] for name in ("live", "deleted", "not_selected")},
        "user_status": dict(census.user_status),
        "fates": list(_fates(survey)),
        "load": {
            "users": census.live,
            "rate": survey.rate.users,
            "rate_from": survey.rate.said_by,
            "seconds": survey.load_seconds,
        },
        "hashes": [
            {"name": kind.name, "cost": kind.cost, "sent": kind.sent, "note": kind.note, "users": number}
            for kind, number in census.hashes.most_common()
        ],
        "second_factor": {"users": census.second_factor},
        "emails": {"shared": census.emails.shared, "users": census.emails.users},
        "usernames": {"shared": census.usernames.shared, "users": census.usernames.users},
        "phones": {
            "read": phones.looked_at,
            "users": phones.given,
            "invalid": phones.invalid,
            "examples": census.ids(PHONE_NOTE),
        },
        "domains": None
        if resolved is None
        else {"asked": resolved.asked, "dead": len(resolved.dead), "unknown": resolved.unknown},
        "notes": [
            {"note": note, **explained(note, survey.settings)._asdict(), "users": number, "examples": census.ids(note)}
            for note, number in census.notes.most_common()
        ],
        "credentials": {name: census.credentials[name] for name in ("password", "totp", "other")},
        "social_logins": {
            "rows": census.logins.rows,
            "users": census.logins.users,
            "without_password": census.logins.alone,
            "providers": [
                {"provider": name, "users": number} for name, number in census.logins.providers.most_common()
            ],
        },
        "orphans": {"rows": census.credentials[ORPHANS], "examples": census.ids(ORPHANS)},
        "wrong": survey.wrong,
    }


def _fates(survey: Survey) -> Iterator[dict[str, Any]]:
    census = survey.census
    for fate in Fate:
        for reason, number in census.why(fate).most_common():
            said = why(fate, reason, survey.settings)._asdict()
            ids = census.ids((fate, reason))
            yield {"fate": fate.value, "reason": reason, **said, "users": number, "examples": ids}
