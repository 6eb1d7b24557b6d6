"""A survey in words: sections of lines, each with a figure, a share and what follows from it (pure)."""

from __future__ import annotations

import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams import passwords
from streams.census import counting
from streams.census.counting import Fate
from streams.census.words import why
from streams.notes import explained
from streams.quantities import duration
from streams.source.fit import covered

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
    #: what becomes of these users, where each live user is in exactly one line of the section.
    fate: Fate | None = None

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
    when: str
    verdict: str
    sections: tuple[Section, ...]


#: Columns of a terminal: what is read well, and what is used of a narrow one.
WIDEST, NARROWEST = 110, 60
_INDENT = " " * 23


def build(survey: Survey) -> Report:
    """Put a survey into words."""
    census = survey.census
    title = f"census of {' and '.join(table.name for table in survey.tables)}"
    at = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(survey.at))
    when = f"{at}: {census.users.total():,} users read in {duration(survey.seconds)}"
    sections = [
        ("The first day at cidaas", _first_day(survey)),
        ("Need a new password", _why(survey, Fate.RESET)),
        ("Will be refused by cidaas, in brackets what `quarantine list` will call it", _why(survey, Fate.REFUSED)),
        ("The initial load", _load(survey)),
        ("Users", _users(census)),
        ("Password hashes that count, by algorithm and cost", _hashes(survey)),
        ("Second factors and other credentials", _credentials(survey)),
        ("Social logins", _logins(census)),
        ("E-mail addresses, user names, phone numbers", _identifiers(survey)),
        ("Values that cannot be sent as they are", _notes(survey)),
        ("Columns that are not mapped", _unmapped(survey)),
        ("Not known here", _unknown(survey)),
    ]
    full = tuple(Section(name, tuple(lines)) for name, lines in sections)
    return Report(title, when, verdict(census), tuple(section for section in full if section.lines))


def text(report: Report, width: int = WIDEST) -> str:
    """The report for a terminal of so many columns."""
    width = max(NARROWEST, min(width, WIDEST))
    lines = textwrap.wrap(f"{report.title}, {report.when}", width)
    lines += ["", *textwrap.wrap(report.verdict, width)]
    for section in report.sections:
        lines += ["", *textwrap.wrap(section.title, width)]
        for line in section.lines:
            figure = "" if line.number is None else f"{line.number:,}"
            start = f"{figure:>12} {line.share:>8}  "
            lines += textwrap.wrap(line.what, width, initial_indent=start, subsequent_indent=_INDENT)
            for words in (line.remark, examples(line)):
                lines += textwrap.wrap(words, width, initial_indent=_INDENT, subsequent_indent=_INDENT)
    return "\n".join(lines)


def examples(line: Line) -> str:
    """The ids of a line."""
    return f"for example {', '.join(line.examples)}" if line.examples else ""


#: What is said of the users who do not log in unchanged.
_OTHERS = (
    (Fate.SECOND_FACTOR_LOST, "without their second factor"),
    (Fate.RESET, "need a new password"),
    (Fate.BARRED, "cannot log in because of their status"),
    (Fate.REFUSED, "will be refused by cidaas"),
)


def verdict(census: Census) -> str:
    """The first day in one sentence."""
    if not census.live:
        return "There is nobody to send: the table is empty, or everybody is deleted or not selected."
    same = census.of(Fate.UNCHANGED)
    parts = [f"{same:,} of {census.live:,} users ({Line(same, '', census.live).share}) log in unchanged"]
    parts += [f"{census.of(fate):,} {words}" for fate, words in _OTHERS if census.of(fate)]
    if not census.of(Fate.REFUSED):
        parts.append("nobody will be refused, as far as known")
    return f"On the first day {'; '.join(parts)}."


def _first_day(survey: Survey) -> Iterator[Line]:
    """Each live user once; what has reasons of its own has a section with them."""
    census, live = survey.census, survey.census.live
    if not live:
        return
    same = why(Fate.UNCHANGED, "", survey.settings).what
    yield Line(census.of(Fate.UNCHANGED), same, live, fate=Fate.UNCHANGED)
    yield from _why(survey, Fate.SECOND_FACTOR_LOST)
    yield Line(census.of(Fate.RESET), "need a new password", live, fate=Fate.RESET)
    yield from _why(survey, Fate.BARRED)
    yield Line(census.of(Fate.REFUSED), "will be refused by cidaas", live, fate=Fate.REFUSED)


def _why(survey: Survey, fate: Fate) -> Iterator[Line]:
    """The users of a fate, by reason; what helps all of them is said at the first."""
    census, last = survey.census, ""
    for reason, number in census.why(fate).most_common():
        said = why(fate, reason, survey.settings)
        remark = said.remedy if said.remedy != last else ""
        yield Line(number, said.what, census.live, remark, tuple(census.ids((fate, reason))), fate)
        last = said.remedy


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


def _hashes(survey: Survey) -> Iterator[Line]:
    census = survey.census
    for kind, number in census.hashes.most_common():
        name = f"{kind.name}, {kind.cost}" if kind.cost else kind.name
        state = "goes to cidaas" if kind.sent else "not sent"
        note = f" ({explained(kind.note, survey.settings).what})" if kind.note else ""
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
        ids = tuple(census.ids(counting.ORPHANS))
        yield Line(rows[counting.ORPHANS], "rows whose user is not there (ids of the rows)", 0, remark, ids)


def _logins(census: Census) -> Iterator[Line]:
    logins = census.logins
    if logins.rows:
        yield Line(logins.rows, "rows with a social login, in tables of their own")
    if not logins.users:
        return
    yield Line(logins.users, "live users with a social login that is sent", census.live)
    for provider, number in logins.providers.most_common():
        yield Line(number, f"live users with one at {provider}", census.live)
    if logins.alone:
        remark = "Counted above as users without password: whether such a login lets anybody in, try at cidaas first."
        yield Line(logins.alone, "live users with a social login and no password", census.live, remark)


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
        yield Line(phones.given, f"users with a phone number{among}", phones.looked_at)
        guess = "" if everybody else f"; about {phones.invalid * census.live / phones.looked_at:,.0f} of all live users"
        what = f"users with one that is not valid: null is sent{guess}"
        region = explained(counting.PHONE_NOTE, survey.settings).remedy
        yield Line(phones.invalid, what, phones.looked_at, region, tuple(census.ids(counting.PHONE_NOTE)))
    if (found := survey.resolved) is not None:
        yield Line(found.asked, "domains looked up")
        yield Line(len(found.dead), "domains have neither MX nor A record", found.asked)
        if found.unknown:
            yield Line(found.unknown, "domains gave no answer; their users count as taken", found.asked)


def _notes(survey: Survey) -> Iterator[Line]:
    census = survey.census
    for note, number in census.notes.most_common():
        if note not in passwords.NOTES and note not in (counting.NO_IDENTIFIER, counting.UNAVAILABLE):
            said = explained(note, survey.settings)
            yield Line(number, said.what, census.live, said.remedy, tuple(census.ids(note)))


def _unmapped(survey: Survey) -> Iterator[Line]:
    for table in covered(survey.settings, survey.tables):
        if left := table["not_mapped"]:
            yield Line(len(left), f"of the {table['columns']} columns of {table['name']}: {', '.join(left)}")


def _unknown(survey: Survey) -> Iterator[Line]:
    if survey.resolved is None:
        yield Line(None, "Whether the domains of the addresses take mail: --dns looks them up.")
    yield Line(None, "Users that cidaas already has, with the same address, user name or number.")
    yield Line(
        None,
        "How the tenant's fields are set up, and which hash algorithms it has: send one user of each kind first.",
    )
    yield Line(None, "cidaas's own lists and its exact syntax of addresses: it publishes neither.")
