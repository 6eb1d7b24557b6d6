"""What becomes of a user, and why, in words, with what can be done about it (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.census import counting, emails
from streams.census.counting import Fate
from streams.cidaas.refusals import REMEDY, Reason
from streams.notes import Note, explained

if TYPE_CHECKING:
    from streams.settings import Settings

#: Why a user will be refused × the reason under which `quarantine list` will show it.
REFUSALS: dict[str, Reason] = {
    counting.NO_IDENTIFIER: Reason.MISSING_IDENTIFIER,
    emails.INVALID: Reason.INVALID_EMAIL,
    emails.DISPOSABLE: Reason.INVALID_EMAIL,
    counting.UNRESOLVABLE: Reason.INVALID_EMAIL,
    counting.EMAIL_TAKEN: Reason.EMAIL_CONFLICT,
    counting.USERNAME_TAKEN: Reason.USERNAME_CONFLICT,
}
#: What the legacy tables' owner can do, where cidaas's remedy is about somebody else.
_TAKEN = "Case does not count. Change, merge or delete one of them in the legacy database."
#: Reasons that are no notes of the mapping. Remedies of refusals are cidaas's where none stands here.
_WHY: dict[str, Note] = {
    counting.NO_PASSWORD: Note("no password in the legacy tables"),
    counting.NOT_MAPPED: Note(
        "no column with a password is mapped",
        "Name it under [tables.users.password] or [tables.credentials] in pipeline.toml.",
    ),
    emails.INVALID: Note("the e-mail address is not valid"),
    emails.DISPOSABLE: Note("the e-mail address is in a disposable domain"),
    counting.UNRESOLVABLE: Note("the domain of the e-mail address has neither MX nor A record"),
    counting.EMAIL_TAKEN: Note("another legacy user, who comes first, has this e-mail address", _TAKEN),
    counting.USERNAME_TAKEN: Note("another legacy user, who comes first, has this user name", _TAKEN),
}
_STATUS = {"LOCKED": "locked", "PENDING": "pending", "DECLINED": "declined"}


def why(fate: Fate, reason: str, settings: Settings) -> Note:
    """Say why users have this fate."""
    match fate:
        case Fate.UNCHANGED:
            return Note("log in as before")
        case Fate.SECOND_FACTOR_LOST:
            more = " With mapping.mfa_enabled they may be locked out: ask cidaas first."
            return Note(
                "log in with the old password, and their second factor is gone",
                "cidaas takes no TOTP seeds: these users enrol again." + (more if settings.mapping.mfa_enabled else ""),
            )
        case Fate.BARRED:
            return Note(f"{_STATUS.get(reason, reason)} ({reason}): cidaas lets only VERIFIED in")
    said = _WHY.get(reason) or explained(reason, settings)
    if fate is Fate.REFUSED:
        shown = REFUSALS[reason]
        return Note(f"{said.what} ({shown.value})", said.remedy or REMEDY[shown])
    return said
