"""Rows in, `Census` out (pure): each user is judged by the mapping that will send it, and then counted.

What cidaas refuses is not in the mapping, which sends what it has; that is foreseen here, from what is documented
(`streams.cidaas.refusals`). Each live user has exactly one fate, so the fates add up to the live users.
"""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from streams.census import emails
from streams.census.duplicates import Duplicates
from streams.credentials import is_login, is_password, is_second_factor
from streams.mapping import Mapper
from streams.passwords import NOTES

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from streams.mapping import Mapped
    from streams.newest import Credentials
    from streams.settings import FieldRule, Settings

#: Ids that stand for all users of a finding.
EXAMPLES = 5
#: Kinds of hashes that are told apart; iterations may be drawn for each user.
_KINDS = 100
PHONE_NOTE = "invalid_phone"
_ARGON2 = re.compile(r"m=[0-9]{1,10},t=[0-9]{1,5},p=[0-9]{1,5}", re.ASCII)
#: Names of algorithms that may be shown. Any other word in that column may be a value of a user, put there by mistake.
_ALGORITHM = re.compile(
    r"(?:(?:s?md[245]|s?sha|bcrypt|s?crypt|pbkdf2|argon2|phpass|des|ntlm|lm|plain|drupal|django|ldap|whirlpool|ripemd"
    r"|hmac|blowfish|tiger|crc32)[a-z0-9._+/-]{0,12})",
    re.ASCII,
)


class Fate(StrEnum):
    """What becomes of a live user on the first day at cidaas."""

    UNCHANGED = "unchanged"  # logs in as before
    SECOND_FACTOR_LOST = "second_factor_lost"  # logs in with the old password alone
    RESET = "reset"  # arrives, and needs a new password
    BARRED = "barred"  # arrives with a status that lets nobody in
    REFUSED = "refused"  # cidaas does not take the user


#: Why a user needs a new password, beside the notes of `streams.passwords`.
NO_PASSWORD, NOT_MAPPED, UNAVAILABLE = "password_none", "password_not_mapped", "password_unavailable"
#: Why cidaas refuses a user, in the order in which it is looked at.
NO_IDENTIFIER, UNRESOLVABLE = "no_identifier", "unresolvable_domain"
EMAIL_TAKEN, USERNAME_TAKEN = "email_taken", "username_taken"
ORPHANS = "orphans"


class Hash(NamedTuple):
    """A kind of password hash: its name at cidaas or, where it is not sent, in the legacy table; its cost in words."""

    name: str
    cost: str
    #: whether it goes to cidaas
    sent: bool
    #: why nobody can log in with it, "" if all is well
    note: str


@dataclass(slots=True)
class Phones:
    """Users with a phone number among those looked at, and with one that is no valid number."""

    looked_at: int = 0
    given: int = 0
    invalid: int = 0


@dataclass(slots=True)
class Domain:
    """The users who are not refused for another reason and have their address in one domain."""

    fates: Counter[tuple[Fate, str]] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Logins:
    """Live users with social logins, those of the columns too; `alone` have no password beside them."""

    users: int = 0
    alone: int = 0
    providers: Counter[str] = field(default_factory=Counter)
    #: rows of tables of their own, whoever owns them; those of nobody are orphans.
    rows: int = 0


@dataclass(slots=True)
class Census:
    """What was counted. `examples` has at most five ids for each finding: a note, a fate and its reason, orphans."""

    users: Counter[str] = field(default_factory=Counter)  # by `Mapped.status`
    user_status: Counter[str] = field(default_factory=Counter)  # live users, by userStatus at cidaas
    fates: Counter[tuple[Fate, str]] = field(default_factory=Counter)  # live users, by fate and why
    hashes: Counter[Hash] = field(default_factory=Counter)  # live users with a password
    second_factor: int = 0  # live users
    notes: Counter[str] = field(default_factory=Counter)  # live users, by what the mapping notes of them
    credentials: Counter[str] = field(default_factory=Counter)  # rows: password, totp, other, orphans
    logins: Logins = field(default_factory=Logins)
    phones: Phones = field(default_factory=Phones)
    emails: Duplicates = field(default_factory=Duplicates)
    usernames: Duplicates = field(default_factory=Duplicates)
    examples: defaultdict[Hashable, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def live(self) -> int:
        """Users who will be sent."""
        return self.users["live"]

    def of(self, fate: Fate) -> int:
        """Live users with this fate."""
        return sum(number for (one, _), number in self.fates.items() if one is fate)

    def why(self, fate: Fate) -> Counter[str]:
        """The same by reason."""
        return Counter({why: number for (one, why), number in self.fates.items() if one is fate and number})

    def ids(self, finding: Hashable) -> list[str]:
        """The ids that stand for a finding."""
        return list(self.examples.get(finding, ()))

    def example(self, finding: Hashable, one: str) -> None:
        """Remember an id, if there is room."""
        known = self.examples[finding]
        if len(known) < EXAMPLES and one not in known:
            known.append(one)


class Count:
    """Counts rows into `census`."""

    def __init__(self, settings: Settings, *, phones_every: int = 1, by_domain: bool = False) -> None:
        """Read the phone number of one user in `phones_every`; keep users `by_domain` if those will be looked up."""
        self.census = Census()
        self.domains: defaultdict[str, Domain] = defaultdict(Domain)
        self._by_domain, self._every = by_domain, phones_every
        self._tables = {table.name: table for table in settings.source.credentials}
        self._mapper = Mapper(settings)
        # A phone number takes longer than all else of a user; the same mapping without it judges most users.
        light, phones = _without_phones(settings)
        self._light, self._phones = Mapper(light), phones
        self._dice = Random(0)  # noqa: S311  no secret: the same users each time, and no regular ones

    def user(self, user_id: str, row: Mapping[str, Any], credentials: Credentials) -> None:
        """Count a user; columns as Debezium's JSON has them."""
        census = self.census
        second_factor = self._credentials(credentials)
        sampled = self._every == 1 or self._dice.random() * self._every < 1
        mapped = (self._mapper if sampled else self._light).map(user_id, row, credentials)
        if not sampled and NO_IDENTIFIER in mapped.notes:  # the number may be the only one
            mapped = self._mapper.map(user_id, row, credentials)
        census.users[mapped.status] += 1
        entity = mapped.entity
        if entity is None:
            return
        census.user_status[entity["userStatus"]] += 1
        census.second_factor += second_factor
        for note in mapped.notes:
            if note != PHONE_NOTE:
                census.notes[note] += 1
                census.example(note, user_id)
        if sampled and self._phones:
            self._phone(user_id, row, mapped)
        password = self._password(mapped, user_id, row, credentials)
        self._logins(entity, mapped)
        domain, refused = self._refused(mapped, entity)
        fate = _fate(entity["userStatus"], refused, password, second_factor)
        census.fates[fate] += 1
        if fate[0] is not Fate.UNCHANGED:
            census.example(fate, user_id)
        if self._by_domain and domain and not refused:
            known = self.domains[domain]
            known.fates[fate] += 1
            if len(known.examples) < EXAMPLES:
                known.examples.append(user_id)

    def orphan(self, table: str, row: Mapping[str, Any]) -> None:
        """Count a credential row whose user is not there."""
        self.census.credentials[ORPHANS] += 1
        key = str(row[self._tables[table].id])
        self.census.example(ORPHANS, key if len(self._tables) == 1 else f"{table} {key}")

    def unresolvable(self, dead: Iterable[str]) -> None:
        """These domains take no mail: cidaas will refuse their users."""
        for name in dead:
            domain = self.domains.pop(name)
            self.census.fates -= domain.fates
            self.census.fates[Fate.REFUSED, UNRESOLVABLE] += domain.fates.total()
            for one in domain.examples:
                self.census.example((Fate.REFUSED, UNRESOLVABLE), one)

    def _credentials(self, credentials: Credentials) -> bool:
        """Count a user's credential rows by kind; return whether one is a second factor."""
        second_factor = False
        for name, rows in credentials.items():
            table = self._tables[name]
            for row in rows:
                if is_password(table, row):
                    self.census.credentials["password"] += 1
                elif is_second_factor(table, row):
                    self.census.credentials["totp"] += 1
                    second_factor = True
                elif is_login(table):
                    self.census.logins.rows += 1
                else:
                    self.census.credentials["other"] += 1
        return second_factor

    def _logins(self, entity: Mapping[str, Any], mapped: Mapped) -> None:
        """Count the social logins that are sent; the names of providers are those of the file."""
        if there := entity.get("identities"):
            logins = self.census.logins
            logins.users += 1
            logins.alone += not mapped.has_password
            logins.providers.update(one["provider"] for one in there)

    def _phone(self, user_id: str, row: Mapping[str, Any], mapped: Mapped) -> None:
        phones = self.census.phones
        phones.looked_at += 1
        phones.given += any(row.get(column) not in (None, "") for column in self._phones)
        if PHONE_NOTE in mapped.notes:
            phones.invalid += 1
            self.census.example(PHONE_NOTE, user_id)

    def _password(self, mapped: Mapped, user_id: str, row: Mapping[str, Any], credentials: Credentials) -> str:
        """Count the hash; return why the user cannot log in with it, "" if it can."""
        columns, found = self._mapper.password_of(row, credentials)
        if columns is None:
            return NOT_MAPPED
        if not mapped.has_password or found is None:
            return NO_PASSWORD
        info = (mapped.entity or {}).get("password_hash_info")
        note = next((note for note in mapped.notes if note in NOTES), "" if info else UNAVAILABLE)
        name, cost = _sent(info) if info else (_legacy(columns.algorithm_constant, found, columns.algorithm), "")
        kind = Hash(name, cost, bool(info), note)
        if kind not in self.census.hashes and len(self.census.hashes) >= _KINDS:
            kind = Hash("others", "", bool(info), note)
        self.census.hashes[kind] += 1
        return note

    def _refused(self, mapped: Mapped, entity: Mapping[str, Any]) -> tuple[str, str]:
        """Return the domain of the address, and why cidaas will refuse the user ("" for one that it takes)."""
        if NO_IDENTIFIER in mapped.notes:
            return "", NO_IDENTIFIER
        domain, address = "", entity.get("email")
        if address:
            domain, wrong = emails.judge(address)
            if wrong:
                return domain, wrong
        # Both are looked at in any case: who is refused for one of them may have taken the other.
        taken = mapped.email_key is not None and self.census.emails.seen(mapped.email_key)
        username = entity.get("username")
        named = isinstance(username, str) and self.census.usernames.seen(username.casefold())
        return domain, EMAIL_TAKEN if taken else USERNAME_TAKEN if named else ""


def _fate(status: str, refused: str, password: str, second_factor: bool) -> tuple[Fate, str]:
    if refused:
        return Fate.REFUSED, refused
    if status != "VERIFIED":
        return Fate.BARRED, status
    if password:
        return Fate.RESET, password
    return (Fate.SECOND_FACTOR_LOST if second_factor else Fate.UNCHANGED), ""


def _without_phones(settings: Settings) -> tuple[Settings, frozenset[str]]:
    """The settings without rules for phone numbers, and the columns of those."""
    mapping = settings.mapping
    columns: set[str] = set()

    def others(rules: tuple[FieldRule, ...]) -> tuple[FieldRule, ...]:
        columns.update(column for rule in rules if rule.kind == "phone" for column in rule.reads)
        return tuple(rule for rule in rules if rule.kind != "phone")

    light = dataclasses.replace(
        mapping,
        fields=others(mapping.fields),
        address=others(mapping.address),
        custom_fields=others(mapping.custom_fields),
    )
    return dataclasses.replace(settings, mapping=light), frozenset(columns)


def _sent(info: Mapping[str, Any]) -> tuple[str, str]:
    """Name what is sent, and its cost, from what is sent."""
    name, data = str(info["algorithmTypeId"]), info.get("hData", {})
    if name.startswith("BCRYPT_"):
        return "bcrypt", f"cost {name.removeprefix('BCRYPT_')}"
    if name.startswith("argon2"):
        cost = _ARGON2.search(info["passwordHash"])
        return name, cost[0] if cost else ""
    words = [f"{data['iterations']} iterations"] if "iterations" in data else []
    return name, ", ".join([*words, "salted"] if "salt" in data else words)


def _legacy(constant: str | None, row: Mapping[str, Any], column: str | None) -> str:
    """The legacy name of an algorithm, where it is one."""
    if constant:
        return constant
    word = row.get(column or "")
    if word is None or word == "":
        return "(no name)"
    known = isinstance(word, str) and _ALGORITHM.fullmatch(word.strip().lower())
    return str(word).strip().lower() if known else "(another name)"
