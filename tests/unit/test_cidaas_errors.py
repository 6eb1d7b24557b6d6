"""What cidaas says of an error: read in every shape, classified, and never repeated with what must not be shown."""

from __future__ import annotations

import re
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.cidaas import CURE, POLICY, REMEDY, Cure, Halve, Kind, OutcomeKind, Reason, classify, errors, redact
from streams.cidaas.errors import CidaasError, failure, kind_of
from streams.cidaas.redaction import read_error

HASH = "$2b$12$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("invalid email passed", "invalid email passed"),
        ("user ada.l+x@example.org exists", "user <e-mail> exists"),
        ('"ada l"@example.org', "<e-mail>"),
        ("ÄÖ@müller.example; ok", "<e-mail>; ok"),
        ("ada%40example.org", "<e-mail>"),
        (f"hash {HASH}, bad", "hash <secret> bad"),
        ("$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b", "<secret>"),
        ("sha 5f4dcc3b5aa765d61d8327deb882cf99", "sha <secret>"),
        ("token eyJhbGciOiJSUzI1NiIs.eyJzdWIiOiJBTk9O.c2ln", "token <secret>"),
        ("Authorization: Bearer abc", "Authorization: <secret>"),
        ("call +49 171 1234567 now", "call <number> now"),
        ("sub 0b9f6c1e-7a52-5f0e-9a31-5d3c7e1f2a44 locked", "sub 0b9f6c1e-7a52-5f0e-9a31-5d3c7e1f2a44 locked"),
        ("missing_required_fields_to_create_entity", "missing_required_fields_to_create_entity"),
        ("a\nb\x00c\u2028d", "a b c d"),
    ],
)
def test_redact(text: str, shown: str) -> None:
    assert redact(text) == shown


@given(st.text(max_size=40), st.emails(), st.text(max_size=2000), st.from_regex(r"[0-9a-f]{32}", fullmatch=True))
def test_no_address_and_no_hash_gets_through(before: str, mail: str, after: str, digest: str) -> None:
    shown = redact(f"{before} {mail} {digest} {HASH} {after}")
    assert mail not in shown and digest not in shown and HASH not in shown and len(shown) <= 300
    assert not re.search(r"\w@\w", shown)


def test_a_long_run_without_an_end_is_quickly_done() -> None:
    assert len(redact("a" * 1_000_000)) <= 300


@pytest.mark.parametrize(
    ("body", "code", "text", "status"),
    [
        ({"success": False, "status": 417, "code": "01230", "error": "missing"}, "01230", "missing", 417),
        ({"ErrorResp": {"success": False, "status": 400, "code": 7, "error": "bad"}}, "7", "bad", 400),
        (
            {"success": False, "status": 400, "error": {"code": 10301, "type": "U", "status": 404, "error": "no user"}},
            "10301",
            "no user",
            404,
        ),
        ({"error": "invalid_client", "error_description": "no ada@x.org"}, "", "invalid_client: no <e-mail>", None),
        ({"schemas": ["urn:x"], "detail": "no", "status": "404"}, "", "no", 404),
        ([1], "", "", None),
        ({"error": None, "code": True, "status": {}}, "", "", None),
    ],
)
def test_error_envelopes(body: object, code: str, text: str, status: int | None) -> None:
    envelope = read_error(orjson.dumps(body))
    assert (envelope.code, envelope.text, envelope.status) == (code, text, status)


def test_a_page_is_not_quoted() -> None:
    assert "ada" not in read_error(b"<html>ada</html>").text
    assert read_error(b"").text == ""


@given(st.binary(max_size=100))
def test_read_error_never_raises(body: bytes) -> None:
    read_error(body)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("invalid email passed", Reason.INVALID_EMAIL),
        ("507", Reason.INVALID_EMAIL),
        ("E-Mail address is not valid", Reason.INVALID_EMAIL),
        ("disposable domain", Reason.INVALID_EMAIL),
        ("no MX record", Reason.INVALID_EMAIL),
        ("email already exists", Reason.EMAIL_CONFLICT),
        ("conflict: email is already used by another account", Reason.EMAIL_CONFLICT),
        ("user ada@example.org already exists", Reason.EMAIL_CONFLICT),
        ("duplicate username", Reason.USERNAME_CONFLICT),
        ("mobile_number is taken", Reason.MOBILE_CONFLICT),
        ("identity conflict", Reason.CONFLICT),
        ("invalid mobile_number", Reason.INVALID_MOBILE),
        ("wrong datatype for customer_number", Reason.BAD_FIELD),
        ("invalid value of field newsletter", Reason.BAD_FIELD),
        ("custom field email_confirmed is invalid", Reason.BAD_FIELD),
        ("missing user identifier", Reason.MISSING_IDENTIFIER),
        ("unknown algorithmTypeId", Reason.UNKNOWN_ALGORITHM),
        ("password can not be overwritten, migrationMode is not enabled", Reason.MIGRATION_MODE),
        ("processing failed", Reason.UNKNOWN),
        ("timeout of conflict@duplicate.example", Reason.UNKNOWN),
        ("", Reason.UNKNOWN),
    ],
)
def test_classify(message: str, reason: Reason) -> None:
    assert classify(message) is reason


def test_every_refusal_has_a_cure_and_every_reason_a_remedy() -> None:
    unclear = {Reason.NONE, Reason.FOREIGN_SUB, Reason.UNMATCHED, Reason.UNREADABLE}
    whole = {Reason.REFUSED_CALL, Reason.SERVER_ERROR, Reason.DELETE_REFUSED, Reason.PURGE_WITHOUT_EFFECT}
    assert set(CURE) == set(Reason) - unclear - whole
    assert set(REMEDY) == set(Reason) - {Reason.NONE}
    assert CURE[Reason.UNKNOWN] is Cure.UNKNOWN
    assert {kind.value for kind in OutcomeKind} == {"done", "failed", "unclear"}


def test_the_table_has_every_kind_and_the_docstring_draws_it() -> None:
    assert set(POLICY) == set(Kind)
    for kind in Kind:
        assert kind.name in (errors.__doc__ or "")
        error = failure(kind, "Something happened")
        branch = type(error).__name__
        tree = (errors.__doc__ or "").split(branch)[1].split("──")[0]
        assert kind.name in tree, f"{kind} is not drawn under {branch}"
        assert str(error).endswith(".")


def test_what_may_have_been_applied_settles_and_is_never_halved_at_once() -> None:
    for kind in (Kind.UNCLEAR, Kind.SERVER):
        assert POLICY[kind].settle
        assert POLICY[kind].halve is not Halve.AT_ONCE
    assert not POLICY[Kind.UNAVAILABLE].settle


def test_every_status_has_a_kind() -> None:
    for status in range(100, 600):
        kind = kind_of(status)
        if status in (502, 503, 504) or status >= 520:
            assert POLICY[kind].settle, status
        elif status >= 500:
            assert kind in (Kind.SERVER, Kind.NOT_FOUND_ENDPOINT, Kind.REFUSED), status
        elif 300 <= status < 400:
            assert POLICY[kind].person, status


def test_an_error_shows_neither_more_nor_less() -> None:
    error = failure(Kind.RATE_LIMITED, "cidaas answered 429", status=429, retry_after=3.0)
    assert isinstance(error, CidaasError)
    assert str(error).startswith("cidaas answered 429. ")
    assert error.retry_after == 3.0


def test_no_module_of_the_client_knows_kafka() -> None:
    for path in Path(errors.__file__).parent.glob("*.py"):
        assert not re.search(r"^\s*(import|from) (faust|aiokafka|mode)\b", path.read_text(), re.MULTILINE)
