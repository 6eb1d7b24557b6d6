"""A figure of a peer is worth something only if the peer did the same job as the worker."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from fakes import SETTINGS, credential_row, envelope, user_row

from bench.peers import PEERS, entity
from streams.credentials import Names
from streams.mapping import Mapper, status_of, sub_of
from streams.rows import RowChange, RowReader
from streams.snapshots import Merger, Snapshot

ROOT = Path(__file__).parents[2]
MAPPER, READER = Mapper(SETTINGS), RowReader(SETTINGS.source)
by_table = Names(SETTINGS.source.credentials).by_table
FULL: dict[str, Any] = {
    "id": 42,
    "email": " Jörg.Weiß@Example.org ",
    "username": "joerg",
    "given_name": "  Jörg",
    "family_name": "Weiß-Ångström",
    "phone": "+4915112345678",
    "birthdate": "1970-05-01Z",
    "gender": "male",
    "locale": "de-DE",
    "street_address": "Große Straße 5",
    "postal_code": "01067",
    "city": "Dresden",
    "country": "DE",
    "customer_number": "K-000815",
    "newsletter": True,
    "created_at": "2019-03-01T08:15:00Z",
    "last_login_at": "2026-11-22T09:15:09.100668Z",
}
NEWER = "$2y$12$" + "b" * 53

USERS = {
    "everything": user_row(42, **FULL),
    "almost nothing": user_row(42),
    "blanks": user_row(42, username="  ", given_name="", city=" "),
    "pending": user_row(42, status="pending"),
    "locked": user_row(42, status="locked"),
    "another status": user_row(42, status="frozen"),
    "deleted": user_row(42, status="deleted"),
}
CREDENTIALS = {
    "none": [],
    "one password": [credential_row(7, 42)],
    "the newer counts": [credential_row(8, 42, secret=NEWER), credential_row(7, 42, updated_at="2019-03-01T08:14:59Z")],
    "the greater id counts": [credential_row(9, 42), credential_row(10, 42, secret=NEWER)],
    "a second factor": [credential_row(7, 42, kind="totp", algorithm="SHA1", secret="JBSWY3DPEHPK3PXP")],
}


def merged(*records: bytes) -> entity.Snapshot | None:
    """The peers' snapshot after these records."""
    snapshot: entity.Snapshot | None = None
    for record in records:
        snapshot = entity.merge(snapshot, orjson.loads(record)) or snapshot
    return snapshot


def ours(*records: bytes) -> Snapshot:
    """The worker's snapshot after these records."""
    merger, snap = Merger(frozenset(), lambda row: status_of(row, SETTINGS) == "live"), Snapshot()
    for offset, record in enumerate(records, 1):
        change = READER.read(b"42", record)
        assert isinstance(change, RowChange)
        merger.change(snap, change, (1, offset), 1)
    return snap


@pytest.mark.parametrize("user", USERS.values(), ids=USERS)
@pytest.mark.parametrize("credentials", CREDENTIALS.values(), ids=CREDENTIALS)
def test_the_entity_is_what_the_worker_sends(user: dict[str, Any], credentials: list[dict[str, Any]]) -> None:
    """Otherwise the outputs of a run could not be compared, and a peer could save itself work."""
    records = [envelope("r", "credentials", 900, row) for row in credentials] + [envelope("r", "users", 900, user)]
    snapshot, snap = merged(*records), ours(*records)
    assert snapshot is not None and snap.user is not None and snap.user.values is not None
    expected = MAPPER.map("42", snap.user.values, by_table(snap.live_credentials())).entity
    assert entity.entity_of("42", snapshot) == expected


def test_rows_are_merged_as_by_the_worker() -> None:
    """The same rows are left after inserts, updates and deletes, and what changes nothing is told apart."""
    records = [
        envelope("c", "credentials", 900, credential_row(7, 42)),
        envelope("c", "users", 901, user_row(42)),
        envelope("c", "credentials", 902, credential_row(8, 42)),
        envelope("u", "users", 903, user_row(42, email="new@example.org")),
        envelope("u", "credentials", 904, credential_row(8, 42, secret=NEWER)),
        envelope("d", "credentials", 905, {"id": 7, "user_id": 42}),
    ]
    snapshot, snap = merged(*records), ours(*records)
    rows = {pk: row.values for pk, row in snap.credentials.items() if row.values is not None}
    assert snap.user is not None
    assert snapshot == {"user": snap.user.values, "credentials": rows}
    assert entity.merge(snapshot, orjson.loads(records[4])) is None
    gone = entity.merge(snapshot, orjson.loads(envelope("d", "users", 906, {"id": 42})))
    assert gone is not None and entity.entity_of("42", gone) is None


def test_the_digest_is_the_one_that_the_readme_defines() -> None:
    """The harness computes it by itself for the worker; users without a row do not count."""
    user = {"user": {"id": 1, "a": "ß"}, "credentials": {"9": {"id": 9}}}
    other = {"credentials": {}, "user": {"id": 10}}
    nobody = {"user": None, "credentials": {}}
    whole = '1\t{"credentials":{"9":{"id":9}},"user":{"a":"ß","id":1}}\n10\t{"credentials":{},"user":{"id":10}}\n'
    expected = {"users": 2, "digest": hashlib.sha256(whole.encode()).hexdigest()}
    assert entity.digest([(b"10", other), (b"2", nobody), (b"1", user)]) == expected


def test_everybody_has_the_same_namespace() -> None:
    """A user's id at cidaas is made of it, in three places."""
    java = (ROOT / "bench/peers/kafka_streams/Peer.java").read_text()
    assert str(SETTINGS.cidaas.sub_namespace) in java
    assert SETTINGS.cidaas.sub_namespace == entity.NAMESPACE
    assert entity.sub_of("42") == sub_of("42", SETTINGS)


def test_the_shared_code_is_not_the_workers() -> None:
    """A peer with the worker's own code in it would be no peer."""
    for file in (ROOT / "bench/peers").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) streams\b", file.read_text(), re.MULTILINE), file.name


def test_peers_have_the_versions_of_the_project() -> None:
    """A peer with an older Kafka or aiokafka would be compared with yesterday."""
    poms = [(ROOT / name).read_text() for name in ("connectors/pom.xml", "bench/peers/kafka_streams/pom.xml")]
    kafka = {re.search("<kafka.version>(.*)</kafka.version>", pom)[1] for pom in poms}  # type: ignore[index]
    assert len(kafka) == 1
    runtime, bench = (_pinned(ROOT / "requirements" / name) for name in ("runtime.txt", "bench.txt"))
    different = {name for name in runtime.keys() & bench.keys() if runtime[name] != bench[name]}
    assert not different, "pin them anew with `make lock`"


def test_the_readme_names_every_peer_and_its_modes() -> None:
    """The harness is written against the README."""
    readme = (ROOT / "bench/peers/README.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([a-z, ]+) \|$", readme, re.MULTILINE))
    assert {name: set(modes.split(", ")) for name, modes in rows.items()} == {
        name: set(peer.modes) for name, peer in PEERS.items()
    }


def _pinned(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", file.read_text(), re.MULTILINE))
