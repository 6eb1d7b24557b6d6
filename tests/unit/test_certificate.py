"""A certificate says what a GO rests on and nothing of anybody; whatever is changed in it is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from fakes import SETTINGS
from test_freeze_gate import ASIDE, AT, DROPPED, REFUSED, result, status, word

from streams.audit.records import Actor
from streams.census.page import page
from streams.census.report import text
from streams.cutover import certificate, paper
from streams.cutover.certificate import Place, Signature
from streams.cutover.freezing import Proof
from streams.cutover.gate import Sight
from streams.cutover.held import SignOff
from streams.cutover.record import Marker
from streams.reconcile.cases import Case
from streams.settings import ConfigError, Secret, load

if TYPE_CHECKING:
    from pathlib import Path

KEY = Secret("a key that nobody guesses")
CANARY = "KANARIE"


def built(settings: Any = SETTINGS, **signed: SignOff) -> dict[str, Any]:
    found = result(Case.QUARANTINED, Case.SIGNED_OFF, Case.SET_ASIDE, confirmed=612)
    found.left_out = ["public.users.span"]
    sight = Sight(status(), [REFUSED, ASIDE], word(REFUSED) | word(ASIDE) | signed)
    proof = Proof(Marker("m-1", 0x16B3748), found, sight, [REFUSED, ASIDE, DROPPED], 7.2)
    versions = {"app": "0.1.0", "debezium": ""}
    return certificate.build(
        settings, proof, Place(AT, Actor("deploy", "anna", "host"), "7/shop", {1: 5, 0: 9}, versions)
    )


def signed() -> dict[str, Any]:
    """As it comes back from a file."""
    document: dict[str, Any] = orjson.loads(orjson.dumps(certificate.sign(built(), KEY), option=orjson.OPT_INDENT_2))
    return document


def test_it_says_when_up_to_where_for_whom_and_who_is_not_in() -> None:
    document = built()
    assert (document["verdict"], document["time"]) == ("GO", "2027-01-15 08:00:00 UTC")
    assert document["by"] == {"name": "anna", "account": "deploy", "host": "host"}
    assert document["marker"] == {"id": "m-1", "lsn": 0x16B3748, "position": "0/16B3748"}
    assert document["topic"] == {"name": SETTINGS.topics.identity, "offsets": {"0": 9, "1": 5}}
    assert document["users"] == 615
    assert document["cases"] == {"confirmed": 612, "set_aside": 1, "quarantined": 1, "signed_off": 1}
    assert document["compared"]["read_back"] is None and document["compared"]["columns_left_out"] == [
        "public.users.span"
    ]
    assert document["configuration"]["mapping"] == SETTINGS.mapping.id
    assert len(document["configuration"]["fingerprint"]) == 12
    held = {one["user"]: one for one in document["not_confirmed"]}
    assert list(held) == ["42", "44", "45"]
    assert held["42"]["case"] == "quarantined" and held["42"]["reason"] == "invalid_email"
    assert held["42"]["signed_off"] == {
        "by": "anna", "command": "cutover sign-off", "why": "the help desk calls", "at": AT,
    }  # fmt: skip
    assert held["45"]["signed_off"] == {"by": "anna", "command": "quarantine drop", "why": "", "at": AT}


def test_a_reason_can_be_given_for_whom_another_command_has_signed_off() -> None:
    document = built(**{"45": SignOff(DROPPED.version, "he died", "ben", AT)})
    (one,) = [one for one in document["not_confirmed"] if one["user"] == "45"]
    assert (one["case"], one["signed_off"]["by"], one["signed_off"]["why"]) == ("signed_off", "ben", "he died")


# -- the signature ----------------------------------------------------------------------------------------------------


def test_what_was_signed_is_genuine_with_this_key_and_no_other() -> None:
    document = signed()
    assert certificate.check(document, KEY) is Signature.GENUINE
    assert certificate.check(document, Secret("another key of somebody")) is Signature.ANOTHER_KEY
    assert document["signature"]["algorithm"] == "HMAC-SHA256"
    reordered = dict(reversed(document.items()))
    assert certificate.check(reordered, KEY) is Signature.GENUINE, "the order of keys says nothing"


@pytest.mark.parametrize("name", [name for name in certificate.sign(built(), KEY) if name not in ("kind", "signature")])
def test_whatever_is_changed_is_found_out(name: str) -> None:
    document = signed()
    assert certificate.check(document | {name: "another"}, KEY) is Signature.CHANGED
    without = {one: part for one, part in document.items() if one != name}
    assert certificate.check(without, KEY) is Signature.CHANGED


def test_what_is_changed_inside_or_added_is_found_out() -> None:
    document = signed()
    document["not_confirmed"][0]["signed_off"]["by"] = "ben"
    assert certificate.check(document, KEY) is Signature.CHANGED
    document = signed() | {"remark": "all is well"}
    assert certificate.check(document, KEY) is Signature.CHANGED
    document = signed()
    document["signature"]["value"] = "ä" * 64
    assert certificate.check(document, KEY) is Signature.CHANGED


@pytest.mark.parametrize(
    "document",
    [None, [], "GO", {}, {"kind": "another"}, {"kind": certificate.KIND}, {"kind": certificate.KIND, "signature": 1}],
)
def test_what_is_no_certificate_is_none(document: Any) -> None:
    assert certificate.check(document, KEY) is Signature.NONE


# -- page and screen --------------------------------------------------------------------------------------------------


def test_page_and_screen_name_everybody_who_is_not_in() -> None:
    report = paper.build(signed())
    assert report.verdict == (
        "GO: every change up to LSN 0/16B3748 is in, for 615 users; 3 of them are not, by somebody's word."
    )
    shown = page(report)
    for said in (
        "user 42: quarantined (invalid_email)",
        "cutover sign-off by anna",
        "quarantine drop by anna",
        "HMAC-",
    ):
        assert said in shown and said in " ".join(text(report).split()), said
    assert "set aside" in shown and "public.users.span" in shown and "debezium not known" in shown


def test_what_a_person_has_typed_is_text_on_the_page() -> None:
    document = certificate.sign(built(**{"42": SignOff(REFUSED.version, "<script>x</script>", "a&b", AT)}), KEY)
    shown = page(paper.build(document))
    assert "<script>" not in shown and "&lt;script&gt;x" in shown and "a&amp;b" in shown


def test_no_secret_is_in_it() -> None:
    """Every secret of the configuration has a word of its own."""
    settings = replace(
        SETTINGS,
        certificate_key=Secret(f"{CANARY}-key-of-the-certificate"),
        source=replace(
            SETTINGS.source,
            url=Secret(f"postgresql://r:{CANARY}1@db/shop"),
            admin_url=Secret(f"postgresql://a:{CANARY}2@db/shop"),
            role_password=Secret(f"{CANARY}3"),
        ),
        cidaas=replace(SETTINGS.cidaas, client_secret=Secret(f"{CANARY}4"), client_id=f"{CANARY}5"),
        kafka=replace(SETTINGS.kafka, sasl_password=Secret(f"{CANARY}6")),
    )
    assert settings.certificate_key is not None
    document = certificate.sign(built(settings), settings.certificate_key)
    report = paper.build(document)
    for written in (orjson.dumps(document).decode(), page(report), text(report), repr(settings.certificate_key)):
        assert CANARY not in written


# -- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key in a file, long enough\n")
    by_file = load(SETTINGS.path, {"SYNC_CERTIFICATE_KEY_FILE": str(tmp_path / "key")}).certificate_key
    by_value = load(SETTINGS.path, {"SYNC_CERTIFICATE_KEY": "a key in a file, long enough"}).certificate_key
    assert by_file == by_value and by_file is not None
    assert load(SETTINGS.path, {}).certificate_key is None
    with pytest.raises(ConfigError, match="SYNC_CERTIFICATE_KEY: is shorter than 16 characters"):
        load(SETTINGS.path, {"SYNC_CERTIFICATE_KEY": "short"})
    with pytest.raises(ConfigError, match="SYNC_CERTIFICATE_KEY: is not set"):
        SETTINGS.require("SYNC_CERTIFICATE_KEY")
