"""The independent check: what it expects, whom cidaas may refuse, and what it calls wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.legacy.people import REFUSED_EMAILS, USER_COLUMNS, People
from demo.oracle.expected import Expected, LegacyUser, microseconds, password, stored, wrong_fields
from demo.oracle.report import OracleError, Report
from demo.oracle.rules import Rules
from demo.oracle.verdicts import HELD_BY_ASIDE, HELD_BY_OTHER, SWAP, Wrong, judge
from demo.standin.checks import Checks, RefusalError
from demo.standin.switches import Switches
from streams.mapping import map_user
from streams.settings import load

ROOT = Path(__file__).resolve().parents[2]
EXPECTED = Expected(ROOT / "pipeline.toml")
BCRYPT = "$2y$08$" + "a" * 53
RULES = Rules(Switches().to_json())


def user(**changes: Any) -> LegacyUser:
    """A user with a password and nothing else."""
    nothing = dict.fromkeys(LegacyUser._fields)
    plain = {"id": "42", "status": "active", "email": "ada@example.org", "created_us": 1_700_000_000_000_000,
             "newsletter": False, "algorithm": "md5", "secret": "0" * 32}  # fmt: skip
    return LegacyUser(**{**nothing, **plain, **changes})


def test_it_imports_nothing_of_the_pipeline() -> None:
    code = "import sys, demo.oracle; print([name for name in sys.modules if name.split('.')[0] == 'streams'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_another_mapping_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "pipeline.toml"
    other.write_text((ROOT / "pipeline.toml").read_text().replace('email = "email"', 'email = "mail"'))
    with pytest.raises(OracleError, match="knows the example database only"):
        Expected(other)


@pytest.mark.parametrize(
    ("algorithm", "secret", "salt", "params", "info"),
    [
        ("bcrypt", BCRYPT, None, None, {"algorithmTypeId": "BCRYPT_8", "passwordHash": BCRYPT}),
        ("bcrypt", "$2y$08$short", None, None, None),
        ("md5", "0" * 32, None, None, None),
        ("sha1", "ab", None, None, {"algorithmTypeId": "SHA1", "passwordHash": "ab"}),
        ("sha256", "ab", "s", None, {"algorithmTypeId": "SHA256", "passwordHash": "ab", "hData": {"salt": "s"}}),
        (
            "pbkdf2-sha256",
            "ab",
            "s",
            {"iterations": 5, "keylen": 64},
            {
                "algorithmTypeId": "PBKDF2",
                "passwordHash": "ab",
                "hData": {"salt": "s", "iterations": "5", "keylen": "64"},
            },
        ),
        (None, None, None, None, None),
    ],
)
def test_password_hash_info(
    algorithm: str | None, secret: str | None, salt: str | None, params: Any, info: Any
) -> None:
    assert password(algorithm, secret, salt, params) == info


def test_it_agrees_with_the_mapping_on_the_example_people() -> None:
    """Two codes written apart say the same of 2,000 users; a difference is an error of one of them."""
    settings = load(ROOT / "pipeline.toml", env={})
    for person in People(5)(2000):
        row = dict(zip(USER_COLUMNS, person.row, strict=True))
        if row["status"] == "deleted":
            continue
        debezium = {name: _as_debezium(value) for name, value in row.items()}
        names = ("user_id", "kind", "algorithm", "secret", "salt", "params", "created_at", "updated_at")
        credentials = [
            {"id": number, **{name: _as_debezium(value) for name, value in zip(names, each, strict=True)}}
            for number, each in enumerate(person.credentials)
        ]
        mapped = map_user(str(row["id"]), debezium, {"public.credentials": credentials}, settings)
        assert mapped.entity is not None
        there, last_login = stored(mapped.entity)
        legacy = _as_sql(row, credentials)
        assert wrong_fields(EXPECTED.entity(legacy, EXPECTED.sub(legacy.id)), there) == []
        assert last_login == legacy.last_login_us


def _as_debezium(value: Any) -> Any:
    if hasattr(value, "hour"):
        return value.isoformat().replace("+00:00", "Z")
    return value.isoformat() if hasattr(value, "isoformat") else value


def _as_sql(row: dict[str, Any], credentials: list[dict[str, Any]]) -> LegacyUser:
    passwords = [each for each in credentials if each["kind"] == "password"]
    newest: dict[str, Any] = max(passwords, key=lambda each: (microseconds(each["updated_at"]), each["id"]), default={})
    params = newest.get("params")
    return user(
        **{name: row[name] for name in LegacyUser._fields if name in row}
        | {name: newest.get(name) for name in ("algorithm", "secret", "salt")}
        | {
            "id": str(row["id"]),
            "birthdate": _as_debezium(row["birthdate"]),
            "created_us": microseconds(_as_debezium(row["created_at"])),
            "last_login_us": row["last_login_at"] and microseconds(_as_debezium(row["last_login_at"])),
            "params": json.loads(params) if params else None,
        }
    )


@pytest.mark.parametrize("email", [each.format(name="ada", id=1) for each in REFUSED_EMAILS])
def test_refused_addresses_are_refused_by_both(email: str) -> None:
    assert RULES.refusal({"email": email})
    with pytest.raises(RefusalError):
        Checks(Switches()).user({"sub": "1", "email": email})


def test_whom_cidaas_takes() -> None:
    assert RULES.refusal({"email": "Ada.Lovelace+shop@Mail.Example.org"}) is None
    assert RULES.refusal({"username": "ada"}) is None
    assert RULES.refusal({"given_name": "Ada"}) == "no e-mail, user name or phone"


def test_wrong_fields_are_named_without_values() -> None:
    wanted = EXPECTED.entity(user(city="Köln", country="DE"), "s")
    there, _ = stored(
        {**wanted, "createdTime": "2023-11-14T22:13:20Z", "address": {"locality": "Bonn"}, "mfa_enabled": True}
    )
    assert wrong_fields(wanted, there) == ["address.country", "address.locality", "mfa_enabled"]


class Tenant:
    """A stand-in's dump."""

    def __init__(self, *entities: dict[str, Any]) -> None:
        self._entities = list(entities)

    async def users(self) -> Any:
        """All at once."""
        yield self._entities


def sub(number: int) -> str:
    return EXPECTED.sub(str(number))


def entity(number: int, email: str) -> dict[str, Any]:
    return EXPECTED.entity(user(id=str(number), email=email), sub(number))


def at_cidaas(number: int, email: str) -> dict[str, Any]:
    return {**entity(number, email), "createdTime": "2023-11-14T22:13:20Z"}


async def verdicts(
    wanted: dict[int, str], there: dict[int, str], refused: tuple[int, ...] = (), left: tuple[int, ...] = ()
) -> Report:
    report = Report()
    wrong = {
        sub(n): Wrong(str(n), entity(n, email), stored=n in there, refused=n in refused) for n, email in wanted.items()
    }
    tenant: Any = Tenant(*(at_cidaas(number, email) for number, email in there.items()))
    await judge(report, wrong, {sub(number) for number in left}, tenant, EXPECTED)
    return report


async def test_missing_and_stale_users_are_wrong() -> None:
    report = await verdicts({1: "a@example.org", 2: "b@example.org"}, {2: "old@example.org"})
    assert (report.missing, report.stale, report.ok) == (1, 1, False)
    assert report.findings["stale"][0].what == "email"


async def test_a_user_who_arrived_between_the_looks_is_equal() -> None:
    report = await verdicts({1: "a@example.org"}, {1: "a@example.org"})
    assert (report.equal, report.ok) == (1, True)


async def test_a_swap_is_set_aside_only_where_no_temporary_address_is_configured() -> None:
    swap = ({1: "b@example.org", 2: "a@example.org"}, {1: "a@example.org", 2: "b@example.org"})
    assert (await verdicts(*swap)).reasons == {SWAP: 2}
    configured = Expected(ROOT / "pipeline.toml")
    configured.temporary_email = "swap+{id}@example.org"
    report = Report()
    wrong = {sub(n): Wrong(str(n), entity(n, email), stored=True) for n, email in swap[0].items()}
    tenant: Any = Tenant(*(at_cidaas(number, email) for number, email in swap[1].items()))
    await judge(report, wrong, set(), tenant, configured)
    assert report.stale == 2


async def test_who_waits_for_an_address_is_judged_by_its_holder() -> None:
    held = await verdicts({1: "a@example.org", 2: "x@mailinator.com"}, {2: "a@example.org"}, refused=(2,))
    assert held.reasons == {HELD_BY_ASIDE: 1}
    other = await verdicts({1: "A@example.org"}, {2: "a@example.org"})
    assert other.reasons == {HELD_BY_OTHER: 1}
    gone = await verdicts({1: "a@example.org"}, {2: "a@example.org"}, left=(2,))
    assert (gone.missing, gone.resurrected) == (1, 1)


async def test_a_user_of_nobody_is_unexpected() -> None:
    stranger = {"sub": "someone", "email": "s@example.org"}
    report = Report()
    tenant: Any = Tenant(stranger)
    await judge(report, {}, {"someone"}, tenant, EXPECTED)
    assert (report.unexpected, report.resurrected) == (1, 0)


def test_the_report_names_users_and_fields() -> None:
    report = Report(users=2, equal=1)
    report.add("stale", "42", "email")
    assert "  stale: user 42 (email)" in report.lines()
