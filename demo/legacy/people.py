"""People of the example legacy database: one user and its credential rows, the same for the same seed and id (pure).

Everything that grows in a user table over the years is in it: umlauts, NULLs, blanks around texts, phone numbers as
free text, addresses that no mail server knows, hashes of five generations of shop software.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING

from demo.legacy.hashes import Hashes

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 1, 8, 0, tzinfo=UTC)  # the moment at which the example database was "exported"
DOMAINS = ("example.org", "example.net", "post.example.org", "mail.example.net")
# cidaas takes none of these (facts/cidaas-api.md §2): bad syntax, disposable domain, domain without mail server.
REFUSED_EMAILS = (
    "{name}.at.example.org",
    "{name}@mailinator.com",
    "{name}@example..org",
    "{name}@shop.invalid",
    "{name} {id}@example.org",
    "{name}@yopmail.com",
    "jürgen.{name}@example.org",
)
GIVEN = (
    "Ada", "Jürgen", "Zoë", "Søren", "Łukasz", "Björn", "Chloé", "Đorđe", "Mária", "Aylin", "Hans-Peter", "Käthe",
    "Åsa", "İpek", "Noël", "Renée", "Thomas", "Sabine", "Max", "Ursula", "Günther", "Yıldız", "Anna", "Paul", "美咲",
)  # fmt: skip
FAMILY = (
    "Müller", "Schäfer", "Weiß", "O’Neill", "Žižek", "García Márquez", "Ångström", "Öztürk", "d'Arc", "von der Heide",
    "Kovács", "Nowak", "Schmidt", "Großmann", "Lövgren", "Dvořák", "Nguyễn", "Fischer", "Jäger", "Bäcker", "Smith",
    "李",
)  # fmt: skip
CITIES = (("80331", "München"), ("50667", "Köln"), ("90402", "Nürnberg"), ("40213", "Düsseldorf"), ("1010", "Wien"),
          ("8001", "Zürich"), ("24937", "Flensburg"), ("01067", "Dresden"), ("SW1A 1AA", "London"))  # fmt: skip
STREETS = (
    "Königstraße", "Am Mühlbach", "Straße des 17. Juni", "Lange Gasse", "Bahnhofstr.", 'Weg "Zur Linde"', "Åvägen",
)  # fmt: skip
FREE_PHONES = ("0171/1234567", "siehe Vertrag", "+49 (0)89 123456", "privat: 089-998877", "00 49 171 55 44 33", "-", "")
LOCALES = ("de-DE", "de-AT", "de-CH", "en-GB", "fr-FR", None)
ALGORITHMS = (
    *(("bcrypt",) * 60), *(("pbkdf2-sha256",) * 12), *(("sha256",) * 9), *(("sha1",) * 9), *(("argon2id",) * 6),
    *(("md5",) * 4),
)  # fmt: skip
_ASCII = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "ł": "l", "é": "e", "ë": "e"})

USER_COLUMNS = (
    "id", "email", "email_verified", "username", "given_name", "family_name", "phone", "birthdate", "gender", "locale",
    "street_address", "postal_code", "city", "country", "status", "customer_number", "newsletter", "created_at",
    "updated_at", "last_login_at",
)  # fmt: skip
CREDENTIAL_COLUMNS = ("user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at")

Value = str | int | bool | date | datetime | None


@dataclass(slots=True)
class Person:
    """One user: its row, its credential rows, and words for what is special about it (`marks`)."""

    row: tuple[Value, ...]
    credentials: list[tuple[Value, ...]] = field(default_factory=list)
    marks: list[str] = field(default_factory=list)


class People:
    """Makes users; `make(id)` depends on the seed and the id alone."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._hashes = Hashes(seed)

    def __call__(self, count: int, start: int = 1) -> Iterator[Person]:
        """Make `count` users with growing ids."""
        return (self.make(number) for number in range(start, start + count))

    def make(self, user_id: int) -> Person:
        """Make the user `user_id`; what must not be missing in a small database goes by the number, not by chance."""
        rng = Random(self.seed * 1_000_000_007 + user_id)
        person = Person(())
        given, family = _maybe(rng, 0.95, GIVEN), _maybe(rng, 0.97, FAMILY)
        created = NOW - timedelta(seconds=rng.randrange(3600, 15 * 365 * 86400), microseconds=rng.randrange(10**6))
        updated = created + (NOW - created) * rng.random()
        status = _status(user_id, person.marks)
        postal_code, city = rng.choice(CITIES) if rng.random() < 0.7 else (None, None)
        person.row = (
            user_id,
            _email(user_id, rng, given, family, status, person.marks),
            rng.random() < 0.8,
            f"kunde{user_id}" if rng.random() < 0.5 else None,
            f" {given} " if given and user_id % 61 == 7 else given,
            family,
            _phone(rng, person.marks),
            date(1930, 1, 1) + timedelta(days=rng.randrange(28000)) if rng.random() < 0.6 else None,
            _maybe(rng, 0.6, ("male", "female", "diverse")),
            rng.choice(LOCALES),
            _street(user_id, rng) if city else None,
            postal_code,
            city,
            rng.choice(("DE", "AT", "CH")) if city else None,
            status,
            f"K-{user_id:07d}" if rng.random() < 0.8 else None,
            rng.random() < 0.3,
            created,
            updated,
            updated + (NOW - updated) * rng.random() if rng.random() < 0.7 else None,
        )
        self._credentials(person, user_id, rng, created, updated)
        return person

    def _credentials(self, person: Person, user_id: int, rng: Random, created: datetime, updated: datetime) -> None:
        if user_id % 17 == 4:
            person.marks.append("without password")
        else:
            if user_id % 29 == 8:
                person.marks.append("two passwords")
                # The newest counts; of two with the same time the greater id, which is the later row.
                earlier = updated if user_id % 2 else created
                person.credentials.append(self._password(user_id, rng, "sha1", earlier, earlier))
            algorithm = ALGORITHMS[(user_id * 37 + self.seed) % len(ALGORITHMS)]
            person.marks.append(f"hash {algorithm}")
            person.credentials.append(self._password(user_id, rng, algorithm, created, updated))
            if user_id % 499 == 11 and algorithm == "bcrypt":
                person.marks.append("damaged hash")
                damaged = person.credentials.pop()
                person.credentials.append((*damaged[:3], str(damaged[3])[:40], *damaged[4:]))
        if user_id % 9 == 2:
            person.marks.append("with TOTP")
            params = json.dumps({"digits": 6, "period": 30})
            secret = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=32))
            person.credentials.append((user_id, "totp", "SHA1", secret, None, params, updated, updated))

    def _password(
        self, user_id: int, rng: Random, algorithm: str, created: datetime, updated: datetime
    ) -> tuple[Value, ...]:
        made = self._hashes.make(algorithm, rng)
        return (user_id, "password", algorithm, made.secret, made.salt, made.params, created, updated)


def _maybe(rng: Random, share: float, values: tuple[str, ...]) -> str | None:
    return rng.choice(values) if rng.random() < share else None


def _status(user_id: int, marks: list[str]) -> str:
    word = {5: "deleted", 12: "pending", 19: "locked"}.get(user_id % 40, "active")
    marks.append({"deleted": "soft-deleted"}.get(word, word))
    return word


def _email(user_id: int, rng: Random, given: str | None, family: str | None, status: str, marks: list[str]) -> str:
    words = f"{given or 'kunde'}.{family or 'x'}".lower().translate(_ASCII)
    name = "".join(each for each in words if each.isascii() and (each.isalnum() or each == ".")).strip(".") or "kunde"
    name = f"{name.replace('..', '.')}.{user_id}"
    if user_id % 150 == 33:
        if status != "deleted":
            marks.append("refused e-mail")
        return REFUSED_EMAILS[user_id // 150 % len(REFUSED_EMAILS)].format(name=name, id=user_id)
    email = f"{name}@{rng.choice(DOMAINS)}"
    if user_id % 23 == 6:
        return email.title()
    return f"{email} " if user_id % 211 == 9 else email


def _street(user_id: int, rng: Random) -> str:
    return f"{rng.choice(STREETS)} {rng.randrange(1, 200)}" + ("\nHinterhaus" if user_id % 97 == 3 else "")


def _phone(rng: Random, marks: list[str]) -> str | None:
    chance = rng.random()
    if chance < 0.45:
        return f"+4915{rng.choice('127')}{rng.randrange(10**7, 10**8)}"
    if chance < 0.55:
        marks.append("phone as free text")
        return rng.choice(FREE_PHONES)
    return None
