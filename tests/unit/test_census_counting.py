"""`census`: odd users are counted as what they will be at cidaas, and nothing of them is shown."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams import passwords
from streams.census import counting, emails
from streams.census.counting import EXAMPLES, Census, Count, Fate
from streams.census.domains import Resolved
from streams.census.duplicates import Duplicates
from streams.census.forecast import Rate, Survey, body
from streams.census.page import page
from streams.census.report import build, text
from streams.census.words import REFUSALS, why
from streams.settings import Settings, load
from streams.source.catalog import Column, Table
from tests.unit.test_fit import CREDENTIALS, USERS

DEFAULT = Path(__file__).parents[2] / "pipeline.toml"
SETTINGS = load(DEFAULT, {})
BCRYPT = "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW"
ARGON2 = "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b6gW"
PARAMS = '{"iterations": 27500, "keylen": 64}'
HEX = "5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8"


def user(**columns: Any) -> dict[str, Any]:
    return {
        "id": 1, "email": "ada@example.org", "username": None, "given_name": "Ada", "family_name": "L", "phone": None,
        "birthdate": None, "gender": None, "locale": None, "street_address": None, "postal_code": None, "city": None,
        "country": None, "status": "active", "customer_number": None, "newsletter": False,
        "created_at": "2019-03-01T08:15:00Z", "last_login_at": None,
    } | columns  # fmt: skip


def password(secret: str = BCRYPT, algorithm: str | None = "bcrypt", **columns: Any) -> dict[str, Any]:
    return {
        "id": 1, "user_id": 1, "kind": "password", "algorithm": algorithm, "secret": secret, "salt": None,
        "params": None, "created_at": "2019-03-01T08:15:00Z", "updated_at": "2019-03-01T08:15:00Z",
    } | columns  # fmt: skip


TOTP = password("JBSWY3DPEHPK3PXP", "SHA1", id=2, kind="totp")
OTHER = password("x", None, id=3, kind="webauthn")


def counted(*people: tuple[dict[str, Any], list[dict[str, Any]]], settings: Settings = SETTINGS) -> Census:
    count = Count(settings)
    for number, (row, credentials) in enumerate(people, 1):
        count.user(str(number), row, {TABLE: credentials} if settings.source.credentials else {})
    return count.census


def changed(tmp_path: Path, *lines: tuple[str, str]) -> Settings:
    """pipeline.toml with lines replaced."""
    text = DEFAULT.read_text()
    for old, new in lines:
        assert old in text
        text = text.replace(old, new, 1)
    tomllib.loads(text)
    path = tmp_path / "pipeline.toml"
    path.write_text(text)
    return load(path, {})


GOOD = [password()]
TABLE = "public.credentials"


@pytest.mark.parametrize(
    ("row", "credentials", "fate", "why"),
    [
        (user(), GOOD, Fate.UNCHANGED, ""),
        (user(), [password(ARGON2, "argon2id")], Fate.UNCHANGED, ""),
        (user(), [password("c2VjcmV0", "pbkdf2-sha256", salt="aa", params=PARAMS)], Fate.UNCHANGED, ""),
        (user(email=None, username="ada"), GOOD, Fate.UNCHANGED, ""),
        (user(email=None, phone="+4915112345678"), GOOD, Fate.UNCHANGED, ""),
        (user(), [password(), TOTP], Fate.SECOND_FACTOR_LOST, ""),
        (user(), [password("5f4dcc3b5aa765d61d8327deb882cf99", "md5"), TOTP], Fate.RESET, passwords.UNKNOWN),
        (user(), [password("kurz", "sha256", salt="s")], Fate.RESET, passwords.UNUSUAL),
        (user(), [password(BCRYPT.replace("$12$", "$31$"))], Fate.RESET, passwords.COST),
        (user(), [password(BCRYPT[:-1])], Fate.RESET, passwords.MALFORMED),
        (user(), [password("c2VjcmV0", "pbkdf2", params=PARAMS)], Fate.RESET, passwords.MALFORMED),
        (user(), [password("__debezium_unavailable_value")], Fate.RESET, counting.UNAVAILABLE),
        (user(), [], Fate.RESET, counting.NO_PASSWORD),
        (user(), [TOTP, OTHER], Fate.RESET, counting.NO_PASSWORD),
        (user(status="locked"), GOOD, Fate.BARRED, "LOCKED"),
        (user(status="pending"), [], Fate.BARRED, "PENDING"),
        (user(status="none of these"), GOOD, Fate.BARRED, "LOCKED"),
        (user(email=None), GOOD, Fate.REFUSED, counting.NO_IDENTIFIER),
        (user(email=" ", username="", phone="keine"), GOOD, Fate.REFUSED, counting.NO_IDENTIFIER),
        (user(email="no address"), GOOD, Fate.REFUSED, emails.INVALID),
        (user(email="no address", username="ada"), GOOD, Fate.REFUSED, emails.INVALID),
        (user(email="ada@sub.Mailinator.com", status="locked"), GOOD, Fate.REFUSED, emails.DISPOSABLE),
    ],
)
def test_a_live_user_has_one_fate(row: dict[str, Any], credentials: list[dict[str, Any]], fate: Fate, why: str) -> None:
    census = counted((row, credentials))
    assert dict(census.fates) == {(fate, why): 1}
    assert (census.live, census.of(fate)) == (1, 1)


def test_deleted_users_and_those_not_selected_have_none(tmp_path: Path) -> None:
    selecting = '[mapping.select]\ncolumn = "country"\nvalues = ["DE"]\n\n[mapping.passwords]'
    settings = changed(tmp_path, ("[mapping.passwords]", selecting))
    census = counted(
        (user(country="DE"), []), (user(country="AT"), [TOTP]), (user(status="deleted", email="x"), GOOD),
        settings=settings,
    )  # fmt: skip
    assert census.users == {"live": 1, "not_selected": 1, "deleted": 1}
    assert census.fates.total() == 1
    assert census.credentials == {"totp": 1, "password": 1}, "rows count whoever owns them"
    assert census.second_factor == 0


def test_of_several_passwords_the_newest_counts() -> None:
    old = password("5f4dcc3b5aa765d61d8327deb882cf99", "md5", id=9, updated_at="2010-01-01T00:00:00Z")
    census = counted((user(), [password(), old]))
    assert census.of(Fate.UNCHANGED) == 1
    assert [kind.name for kind in census.hashes] == ["bcrypt"]


@pytest.mark.parametrize(
    ("credential", "name", "cost", "sent", "note"),
    [
        (password(), "bcrypt", "cost 12", True, ""),
        (password(algorithm=None), "bcrypt", "cost 12", True, ""),
        (password(ARGON2, "argon2"), "argon2id", "m=65536,t=3,p=4", True, ""),
        (password("c2Vj", "PBKDF2-sha256", salt="a", params=PARAMS), "PBKDF2", "27500 iterations, salted", True, ""),
        (password(HEX, "sha256"), "SHA256", "", True, ""),
        (password(HEX, "sha-256", salt="aa"), "SHA256", "salted", True, ""),
        (password("kurz", "sha1"), "SHA1", "", True, passwords.UNUSUAL),
        (password("5f4dcc3b5aa765d61d8327deb882cf99", " MD5 "), "md5", "", False, passwords.UNKNOWN),
        (password("x", None), "(no name)", "", False, passwords.UNKNOWN),
        (password("x", "Tr0ub4dor&3"), "(another name)", "", False, passwords.UNKNOWN),
        (password("x", "md55f4dcc3b5aa765d61d8327deb882cf99"), "(another name)", "", False, passwords.UNKNOWN),
        (password(BCRYPT.replace("$12$", "$31$")), "bcrypt", "", False, passwords.COST),
    ],
)  # fmt: skip
def test_hashes_by_algorithm_and_cost(credential: dict[str, Any], name: str, cost: str, sent: bool, note: str) -> None:
    assert dict(counted((user(), [credential])).hashes) == {(name, cost, sent, note): 1}


def test_kinds_of_hashes_are_bounded() -> None:
    people = [
        (user(email=f"u{n}@example.org"), [password("c2VjcmV0", "pbkdf2", salt="a", params={"iterations": 1000 + n})])
        for n in range(300)
    ]
    census = counted(*people)
    assert len(census.hashes) <= 101
    assert census.hashes.total() == 300


def test_a_custom_id_takes_md5(tmp_path: Path) -> None:
    settings = changed(
        tmp_path, ("[mapping.passwords.algorithms]", '[mapping.passwords.algorithms]\nmd5 = "CUSTOM_MD5"')
    )
    census = counted((user(), [password("5f4dcc3b5aa765d61d8327deb882cf99", "md5", salt="aa")]), settings=settings)
    assert census.of(Fate.UNCHANGED) == 1
    assert [(kind.name, kind.sent) for kind in census.hashes] == [("CUSTOM_MD5", True)]


def test_a_password_in_the_users_table(tmp_path: Path) -> None:
    text = DEFAULT.read_text()
    begin, end = text.index("\n[tables.credentials]") + 1, text.index("# --- Your columns at cidaas")
    own = '[tables.users.password]\nsecret = "pw"\nalgorithm_constant = "md5"\n\n'
    path = tmp_path / "pipeline.toml"
    path.write_text(text[:begin] + own + text[end:])
    settings = load(path, {})
    census = counted((user(pw="x"), []), (user(email="b@example.org", pw=None), []), settings=settings)
    assert census.why(Fate.RESET) == {passwords.UNKNOWN: 1, counting.NO_PASSWORD: 1}
    assert [kind.name for kind in census.hashes] == ["md5"]
    assert not census.credentials

    path.write_text(text[:begin] + text[end:])
    assert counted((user(), []), settings=load(path, {})).why(Fate.RESET) == {counting.NOT_MAPPED: 1}


def test_addresses_that_differ_in_case_only_collide() -> None:
    census = counted(
        (user(email="ada@example.org"), GOOD), (user(email=" ADA@example.org"), GOOD), (user(email="bob@b.org"), GOOD),
        (user(email="Ada@Example.ORG"), GOOD), (user(email="ada@example.org", status="deleted"), GOOD),
    )  # fmt: skip
    assert (census.emails.shared, census.emails.users) == (1, 3)
    assert census.why(Fate.REFUSED) == {counting.EMAIL_TAKEN: 2}
    assert census.ids((Fate.REFUSED, counting.EMAIL_TAKEN)) == ["2", "4"]


def test_user_names_collide_too_and_nobody_is_refused_twice() -> None:
    census = counted(
        (user(email="a@b.org", username="Ada"), GOOD), (user(email="c@b.org", username="ada"), GOOD),
        (user(email="A@b.org", username="ADA"), GOOD),
    )  # fmt: skip
    assert (census.usernames.users, census.emails.users) == (3, 2)
    assert census.why(Fate.REFUSED) == {counting.USERNAME_TAKEN: 1, counting.EMAIL_TAKEN: 1}


def test_duplicates_are_counted_without_the_texts() -> None:
    duplicates = Duplicates()
    assert [duplicates.seen(word) for word in ("a", "b", "a", "a", "b", "c")] == [False, False, True, True, True, False]
    assert (duplicates.shared, duplicates.later, duplicates.users) == (2, 3, 5)
    other = Duplicates()
    other.seen("a")
    assert not other._once & duplicates._once, "another run has another key"


@pytest.mark.parametrize(
    ("address", "verdict"),
    [
        ("ada@example.org", None),
        ("a.b+c_d'e@sub.example-shop.co.uk", None),
        ("ada@EXAMPLE.org", None),
        ("ada@xn--mller-kva.de", None),
        ("", emails.INVALID),
        ("ada", emails.INVALID),
        ("@example.org", emails.INVALID),
        ("ada@", emails.INVALID),
        ("ada@localhost", emails.INVALID),
        ("ada@example..org", emails.INVALID),
        ("ada.@example.org", emails.INVALID),
        ("a b@example.org", emails.INVALID),
        ("ada@@example.org", emails.INVALID),
        ("ada@example.org, bob@example.org", emails.INVALID),
        ("ada@127.0.0.1", emails.INVALID),
        ("ada@-example.org", emails.INVALID),
        ("ada@example.org\n", emails.INVALID),
        ("jörg@example.org", emails.INVALID),
        ("a" * 65 + "@example.org", emails.INVALID),
        ("ada@" + "a" * 64 + ".org", emails.INVALID),
        ("ada@" + "abcdefg." * 40 + "org", emails.INVALID),
        ("ada@yopmail.com", emails.DISPOSABLE),
        ("ada@a.b.yopmail.com", emails.DISPOSABLE),
        ("ada@notyopmail.com", None),
    ],
)
def test_addresses(address: str, verdict: str | None) -> None:
    assert emails.judge(address)[1] == verdict


def test_the_list_of_disposable_domains_is_clean() -> None:
    lines = [line for line in emails._LIST.read_text().splitlines() if not line.startswith("#")]
    assert lines == sorted(set(lines))
    assert all(line == line.strip().lower() and "." in line for line in lines)


def test_phone_numbers_are_read_of_a_sample_only() -> None:
    count = Count(SETTINGS, phones_every=10)
    for number in range(2000):
        count.user(
            str(number), user(email=f"u{number}@example.org", phone="keine" if number % 2 else "+4915112345678"), {}
        )
    phones = count.census.phones
    assert 120 < phones.looked_at < 280
    assert phones.given == phones.looked_at
    assert 0.3 < phones.invalid / phones.looked_at < 0.7
    assert "invalid_phone" not in count.census.notes
    assert len(count.census.examples["invalid_phone"]) == EXAMPLES


def test_a_number_that_is_the_only_identifier_is_read_of_everybody() -> None:
    count = Count(SETTINGS, phones_every=1000)
    for number in range(200):
        count.user(str(number), user(email=None, phone="+4915112345678" if number % 2 else "keine"), {TABLE: GOOD})
    assert count.census.why(Fate.REFUSED) == {counting.NO_IDENTIFIER: 100}
    assert count.census.of(Fate.UNCHANGED) == 100


def test_who_stands_for_a_fate_has_it_though_others_have_the_same_note() -> None:
    md5 = [password("5f4dcc3b5aa765d61d8327deb882cf99", "md5")]
    census = counted((user(email="no address"), md5), (user(), md5))
    assert census.ids(passwords.UNKNOWN) == ["1", "2"]
    assert census.ids((Fate.RESET, passwords.UNKNOWN)) == ["2"]


def test_notes_of_the_mapping_are_counted_with_five_examples() -> None:
    people = [(user(email=f"u{n}@example.org", birthdate="gestern", created_at="infinityZ"), GOOD) for n in range(9)]
    census = counted(*people, (user(status="odd"), GOOD))
    assert census.notes == {"birthdate_invalid": 9, "createdTime_invalid": 9, "status_unknown": 1}
    assert census.examples["birthdate_invalid"] == ["1", "2", "3", "4", "5"]


def test_orphans_are_named_by_their_own_id() -> None:
    count = Count(SETTINGS)
    count.orphan(TABLE, password(id=77))
    count.orphan(TABLE, password(id=78, user_id=None))
    assert count.census.credentials == {counting.ORPHANS: 2}
    assert count.census.examples[counting.ORPHANS] == ["77", "78"]


def test_users_of_dead_domains_are_refused_whatever_they_were_before() -> None:
    count = Count(SETTINGS, by_domain=True)
    people = [
        ("a@dead.org", "active", GOOD), ("b@Dead.ORG", "locked", GOOD), ("c@dead.org", "active", []),
        ("a@dead.org", "active", GOOD), ("d@live.org", "active", GOOD), ("no address", "active", GOOD),
    ]  # fmt: skip
    for number, (email, status, credentials) in enumerate(people, 1):
        count.user(str(number), user(email=email, status=status), {TABLE: credentials})
    assert set(count.domains) == {"dead.org", "live.org"}
    count.unresolvable(["dead.org"])
    census = count.census
    assert census.why(Fate.REFUSED) == {counting.UNRESOLVABLE: 3, counting.EMAIL_TAKEN: 1, emails.INVALID: 1}
    assert census.of(Fate.UNCHANGED) == 1
    assert census.fates.total() == census.live == 6
    assert census.ids((Fate.REFUSED, counting.UNRESOLVABLE)) == ["1", "2", "3"]


# -- what is shown ----------------------------------------------------------------------------------------------------


def survey(census: Census, **changes: Any) -> Survey:
    known: dict[str, Any] = {
        "settings": SETTINGS, "tables": (USERS, CREDENTIALS), "at": 1_795_791_600.0, "seconds": 1.0, "census": census,
        "rate": Rate(None, "no worker runs whose rate could be taken"), "resolved": None,
    }  # fmt: skip
    return Survey(**known | changes)


def test_everything_that_is_counted_has_words() -> None:
    resets = (*passwords.NOTES, counting.NO_PASSWORD, counting.NOT_MAPPED, counting.UNAVAILABLE)
    for fate, reasons in ((Fate.RESET, resets), (Fate.REFUSED, REFUSALS), (Fate.BARRED, ("LOCKED", "PENDING"))):
        for reason in reasons:
            assert not why(fate, reason, SETTINGS).what.startswith(reason), "a word of ours is none for people"


def test_no_value_of_a_user_is_shown() -> None:
    secret = "Zz9Geheim"
    row = user(**dict.fromkeys(user(), secret) | {"id": 5, "email": f"{secret}@dead.org"})
    odd = password(secret, secret, salt=secret, params=secret)
    count = Count(SETTINGS, by_domain=True)
    for at, change in enumerate(({}, {"email": secret}, {"status": "active"}, {"email": None, "username": None}, {})):
        count.user(str(at), row | change, {TABLE: [odd, OTHER | {"kind": secret}, TOTP | {"secret": secret}]})
    count.orphan(TABLE, odd)
    count.unresolvable(["dead.org"])
    found = survey(count.census, resolved=Resolved(1, 0, ["dead.org"]))
    shown = text(build(found)) + page(build(found)) + orjson.dumps(body(found)).decode()
    assert secret.lower() not in shown.lower()
    assert "dead.org" not in shown


def test_the_report_says_what_will_happen() -> None:
    people = [(user(email=f"u{n}@example.org"), GOOD) for n in range(7)]
    people += [(user(email="x@example.org"), [*GOOD, TOTP]), (user(email="y@example.org"), []), (user(email="z"), GOOD)]
    said = text(build(survey(counted(*people), rate=Rate(2.0, "--rate"))))
    assert (
        "On the first day 7 of 10 users (70.0 %) log in unchanged; 1 without their second factor; 1 need a new\n"
        "password; 1 will be refused by cidaas.\n" in said
    )
    assert "10 users take 5 s at 2 users/s (--rate)" in said
    assert "enrol again" in said
    assert "of the 20 columns of public.users: email_verified, updated_at" in said
    for width, widest in ((200, 110), (80, 80), (20, 60)):
        assert max(map(len, text(build(survey(counted(*people))), width).splitlines())) <= widest
    unknown = text(build(survey(counted(*people))))
    assert "How long 10 users take is not known: no worker runs" in unknown


def test_wrong_is_who_will_be_refused_and_nobody_at_all() -> None:
    assert not survey(counted((user(), []))).wrong
    assert survey(counted((user(email=None), []))).wrong
    empty = survey(counted())
    assert empty.wrong
    assert "There is nobody to send" in text(build(empty))
    assert page(build(empty))
    assert body(empty)["load"]["seconds"] is None


def test_the_page_stands_alone_and_escapes_names() -> None:
    odd = Table("public.users", "r", (Column("<script>alert(1)</script>", "text", "text"),))
    found = survey(counted((user(), GOOD)), tables=(odd,))
    html = page(build(found))
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "width=device-width" in html
    assert html.count('<i class="') == 1, "one user, one part of the bar"
    assert '<i class="unchanged" style="flex-grow: 1">' in html
    for outside in ("http:", "https:", "//", "src=", "href=", "url(", "@import"):
        assert outside not in html
