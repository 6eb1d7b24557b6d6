"""A survey in words: sections of lines, each with a figure, a share and what follows from it (pure)."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import passwords
from streams.census import counting, emails
from streams.census.counting import Fate
from streams.census.forecast import REFUSALS
from streams.cidaas.refusals import REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.census.counting import Census
    from streams.census.forecast import Survey


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. `number` None: a line of words only. `of` is what the share is of, 0 for no share."""

    number: int | None
    what: str
    of: int = 0
    remark: str = ""
    examples: tuple[str, ...] = ()

    @property
    def share(self) -> str:
        """The share in percent; "" without one."""
        if not self.of or self.number is None:
            return ""
        share = 100 * self.number / self.of
        return "< 0.1 %" if 0 < share < 0.05 else "> 99.9 %" if 99.95 <= share < 100 else f"{share:.1f} %"


@dataclass(frozen=True, slots=True)
class Section:
    """Findings of one kind."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """All that is shown."""

    title: str
    verdict: str
    sections: tuple[Section, ...]


#: Why a user needs a new password × in words, and what can be done about it.
RESETS: dict[str, tuple[str, str]] = {
    counting.NO_PASSWORD: ("have no password in the legacy tables", ""),
    counting.NOT_MAPPED: (
        "bring no password, because no column is mapped",
        "Name it under [tables.users.password] or [tables.credentials] in pipeline.toml.",
    ),
    passwords.UNKNOWN: (
        "have a hash of an algorithm that cidaas has no id for",
        "A CUSTOM_ id that cidaas support sets up takes it: [mapping.passwords.algorithms].",
    ),
    passwords.MALFORMED: (
        "have a hash that is not what its algorithm writes, or lacks salt or iterations",
        "Compare the columns of algorithm, salt and parameters with pipeline.toml.",
    ),
    passwords.COST: ("have a bcrypt hash with a cost that cidaas does not know", ""),
    passwords.UNUSUAL: (
        "have a hash that is sent, but is no hex digest of the right length",
        "Probably nobody can log in with it: compare one with what the legacy application writes.",
    ),
    counting.UNAVAILABLE: ("have what the connector writes for a value that it does not know", ""),
}

#: Why cidaas will refuse a user × in words.
REFUSED: dict[str, str] = {
    counting.NO_IDENTIFIER: "have neither e-mail address, user name nor valid mobile number",
    emails.INVALID: "have an e-mail address that is none",
    emails.DISPOSABLE: "have an address in a disposable domain",
    counting.UNRESOLVABLE: "have an address in a domain without MX and A record",
    counting.EMAIL_TAKEN: "have the address of another legacy user, who comes first",
    counting.USERNAME_TAKEN: "have the user name of another legacy user, who comes first",
}

#: What this table's owner can do, where cidaas's remedy is about somebody else.
_TAKEN = "Case does not count. Change, merge or delete one of them in the legacy database."
_WIDTH, _INDENT = 110, " " * 23
_STATUS = {"LOCKED": "are locked", "PENDING": "are pending", "DECLINED": "are declined"}


def build(survey: Survey) -> Report:
    """Put a survey into words."""
    census = survey.census
    title = f"census of {' and '.join(survey.tables)}, {survey.at}"
    title += f": {census.users.total():,} users read in {duration(survey.seconds)}"
    sections = [
        ("The first day at cidaas", _first_day(survey)),
        ("Need a new password", _resets(census)),
        ("Will be refused by cidaas", _refused(census)),
        ("The initial load", _load(survey)),
        ("Users", _users(census)),
        ("Password hashes that count, by algorithm and cost", _hashes(census)),
        ("Second factors and other credentials", _credentials(survey)),
        ("E-mail addresses, user names, phone numbers", _identifiers(survey)),
        ("Values that cannot be sent as they are", _notes(census)),
        ("Columns that are not mapped", _unmapped(survey)),
        ("Not known here", _unknown(survey)),
    ]
    full = tuple(Section(name, tuple(lines)) for name, lines in sections)
    return Report(title, _verdict(census), tuple(section for section in full if section.lines))


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60:,} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def text(report: Report) -> str:
    """The report for a terminal."""
    lines = [report.title, "", report.verdict]
    for section in report.sections:
        lines += ["", section.title]
        for line in section.lines:
            figure = "" if line.number is None else f"{line.number:,}"
            lines.append(f"{figure:>12} {line.share:>8}  {line.what}".rstrip())
            for words in (line.remark, examples(line)):
                lines += textwrap.wrap(words, _WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return "\n".join(lines)


def examples(line: Line) -> str:
    """The ids of a line."""
    return f"for example {', '.join(line.examples)}" if line.examples else ""


def _verdict(census: Census) -> str:
    if not census.live:
        return "There is nobody to send: the table is empty, or everybody is deleted or not selected."
    same, reset, refused = (census.of(fate) for fate in (Fate.UNCHANGED, Fate.RESET, Fate.REFUSED))
    share = Line(same, "", census.live).share
    said = f"{same:,} of {census.live:,} users ({share}) can log in unchanged on the first day"
    said += f"; {reset:,} need a new password"
    return (
        f"{said}; {refused:,} will be refused by cidaas."
        if refused
        else f"{said}; nobody will be refused, as far as known."
    )


def _first_day(survey: Survey) -> Iterator[Line]:
    census, live = survey.census, survey.census.live
    if not live:
        return
    yield Line(census.of(Fate.UNCHANGED), "log in as before", live)
    if lost := census.of(Fate.SECOND_FACTOR_LOST):
        remark = "cidaas takes no TOTP seeds: these users enrol again."
        if survey.mfa_enabled:
            remark += " With mapping.mfa_enabled they may be locked out: ask cidaas first."
        what = "log in with the old password, and their second factor is gone"
        yield Line(lost, what, live, remark, _ids(census, Fate.SECOND_FACTOR_LOST))
    yield Line(census.of(Fate.RESET), "need a new password", live)
    for status, number in census.why(Fate.BARRED).most_common():
        yield Line(number, f"{_STATUS.get(status, status)} ({status}): cidaas lets only VERIFIED in", live)
    yield Line(census.of(Fate.REFUSED), "will be refused by cidaas", live)


def _resets(census: Census) -> Iterator[Line]:
    for why, number in census.why(Fate.RESET).most_common():
        what, remark = RESETS[why]
        yield Line(number, what, census.live, remark, _ids(census, why))


def _refused(census: Census) -> Iterator[Line]:
    for why, number in census.why(Fate.REFUSED).most_common():
        reason = REFUSALS[why]
        remark = _TAKEN if why in (counting.EMAIL_TAKEN, counting.USERNAME_TAKEN) else REMEDY[reason]
        yield Line(number, f"{REFUSED[why]} ({reason.value})", census.live, remark, _ids(census, why))


def _load(survey: Survey) -> Iterator[Line]:
    users = f"{survey.census.live:,} users"
    if survey.load_seconds is None:
        remark = "Give --rate USERS_PER_SECOND, or look again while a worker sends."
        yield Line(None, f"How long {users} take is not known: {survey.rate.said_by}.", remark=remark)
    else:
        took = duration(survey.load_seconds)
        yield Line(None, f"{users} take {took} at {survey.rate.users:,.4g} users/s ({survey.rate.said_by}).")


def _users(census: Census) -> Iterator[Line]:
    total = census.users.total()
    yield Line(census.live, "live", total)
    yield Line(census.users["deleted"], "deleted, and never sent", total)
    if number := census.users["not_selected"]:
        yield Line(number, "not selected by [mapping.select]", total)
    for status, number in census.user_status.most_common():
        yield Line(number, f"live as {status}", total)


def _hashes(census: Census) -> Iterator[Line]:
    for kind, number in census.hashes.most_common():
        name = f"{kind.name}, {kind.cost}" if kind.cost else kind.name
        state = "goes to cidaas" if kind.sent else "is not sent"
        note = f" ({kind.note})" if kind.note else ""
        yield Line(number, f"{name}: {state}{note}", census.live)


def _credentials(survey: Survey) -> Iterator[Line]:
    census, rows = survey.census, survey.census.credentials
    if census.second_factor:
        yield Line(census.second_factor, "live users with a TOTP seed, which cannot travel", census.live)
    if rows:
        yield Line(rows["password"], "rows with a password; of several of one user the newest counts")
        yield Line(rows["totp"], "rows with a TOTP seed")
        if rows["other"]:
            yield Line(rows["other"], "rows of other kinds, which are not sent")
    if rows[counting.ORPHANS]:
        remark = "They are never sent. `status` will count them as credentials only."
        ids = _ids(census, counting.ORPHANS)
        yield Line(rows[counting.ORPHANS], "rows whose user is not there (ids of the rows)", 0, remark, ids)


def _identifiers(survey: Survey) -> Iterator[Line]:
    census, phones = survey.census, survey.census.phones
    for what, shared in (("e-mail address", census.emails), ("user name", census.usernames)):
        if shared.users:
            line = (
                f"users share {shared.shared:,} {what}{'' if shared.shared == 1 else 'es' if what[0] == 'e' else 's'}"
            )
            yield Line(shared.users, f"{line}; the first of each is taken", census.live)
    if phones.looked_at:
        everybody = phones.looked_at == census.live
        among = "" if everybody else f", of {phones.looked_at:,} live users looked at (--sample)"
        yield Line(phones.given, f"with a phone number{among}", phones.looked_at)
        guess = "" if everybody else f"; about {phones.invalid * census.live / phones.looked_at:,.0f} of all live users"
        region = "They arrive without it. phone_region in [mapping] says how numbers without a country code are read."
        what = f"with one that is no valid number{guess}"
        yield Line(phones.invalid, what, phones.looked_at, region, _ids(census, "invalid_phone"))
    if (found := survey.resolved) is not None:
        yield Line(found.asked, "domains looked up")
        yield Line(len(found.dead), "domains have neither MX nor A record", found.asked)
        if found.unknown:
            yield Line(found.unknown, "domains gave no answer; their users count as taken", found.asked)


def _notes(census: Census) -> Iterator[Line]:
    for note, number in census.notes.most_common():
        if note not in passwords.NOTES and note not in (counting.NO_IDENTIFIER, counting.UNAVAILABLE):
            yield Line(number, note, census.live, "", _ids(census, note))


def _unmapped(survey: Survey) -> Iterator[Line]:
    for table, columns in survey.unmapped.items():
        if columns:
            yield Line(len(columns), f"of {table}: {', '.join(columns)}")


def _unknown(survey: Survey) -> Iterator[Line]:
    if survey.resolved is None:
        yield Line(None, "Whether the domains of the addresses take mail: --dns looks them up.")
    yield Line(None, "Users that cidaas already has, with the same address, user name or number.")
    yield Line(
        None,
        "How the tenant's fields are set up, and which hash algorithms it has: send one user of each kind first.",
    )
    yield Line(None, "cidaas's own lists and its exact syntax of addresses: it publishes neither.")


def _ids(census: Census, finding: str) -> tuple[str, ...]:
    return tuple(census.examples.get(finding, ()))
