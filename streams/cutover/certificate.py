"""The record of a GO: what it rests on, who is not at cidaas as in the legacy database, and by whose word (pure).

A key that stands in the environment signs all of it: whoever has the key can tell that nothing was changed since. There
are counts, ids, reasons, positions and fingerprints in it, and no value of a user and no secret.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from streams.audit.fingerprint import digests, fingerprint
from streams.cutover.gate import case_of
from streams.cutover.held import ANSWERED, sign_off
from streams.cutover.record import moment
from streams.reconcile.cases import Case
from streams.views import lsn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.audit.records import Actor
    from streams.cutover.freezing import Proof
    from streams.cutover.held import Held, SignOff
    from streams.settings import Secret, Settings

KIND, FORMAT = "cidaas-sync certificate of the go-live", 1
ALGORITHM = "HMAC-SHA256"
_SIGNATURE = "signature"


class Signature(enum.Enum):
    """What became of looking at a certificate."""

    GENUINE = "genuine"
    CHANGED = "changed"
    ANOTHER_KEY = "another key"
    NONE = "no certificate"


@dataclass(frozen=True, slots=True)
class Place:
    """Where and when a GO was said: the database (system and name), up to which offsets the topic was looked at."""

    at: float
    actor: Actor
    database: str
    offsets: Mapping[int, int]
    versions: Mapping[str, str]


def build(settings: Settings, proof: Proof, place: Place) -> dict[str, Any]:
    """The document, not signed yet."""
    result = proof.result
    return {
        "kind": KIND,
        "format": FORMAT,
        "verdict": "GO",
        "at": place.at,
        "time": moment(place.at),
        "by": {"name": place.actor.name, "account": place.actor.account, "host": place.actor.host},
        "seconds": round(proof.seconds, 1),
        "database": place.database,
        "tables": [table.name for table in settings.source.tables],
        "marker": {**proof.marker._asdict(), "position": lsn(proof.marker.lsn)},
        "topic": {
            "name": settings.topics.identity,
            "offsets": {str(number): offset for number, offset in sorted(place.offsets.items())},
        },
        "cidaas": settings.cidaas.base_url,
        "users": result.counts.total(),
        "cases": {case.value: result.counts[case] for case in Case if result.counts[case]},
        "compared": {
            "at": result.at,
            "seconds": round(result.seconds, 1),
            "read_back": result.read_back,
            "columns_left_out": list(result.left_out),
            "fields_not_stored": list(result.not_stored),
        },
        "not_confirmed": [
            _not_confirmed(one, proof.sight.signed) for one in sorted(proof.held, key=lambda one: one.user)
        ],
        "configuration": {
            "pipeline": settings.app_id,
            "fingerprint": fingerprint(digests(settings)),
            "mapping": settings.mapping.id,
        },
        "versions": dict(place.versions),
    }


def _not_confirmed(one: Held, signed: Mapping[str, SignOff]) -> dict[str, Any]:
    word = sign_off(one, signed)
    answer = {"by": one.by, "command": ANSWERED.get(one.situation, ""), "why": "", "at": one.since}
    if word is not None:
        answer = {"by": word.who, "command": "cutover sign-off", "why": word.why, "at": word.at}
    return {
        "user": one.user,
        "case": case_of(one).value,
        "reason": one.reason,
        "since": one.since,
        "version": list(one.version),
        "signed_off": answer,
    }


# -- the signature ----------------------------------------------------------------------------------------------------


def sign(document: Mapping[str, Any], key: Secret) -> dict[str, Any]:
    """The document with a signature over all of it, and the fingerprint of the key."""
    mark = {"algorithm": ALGORITHM, "key": _name(key), "value": _mac(document, key)}
    return {**document, _SIGNATURE: mark}


def check(document: Any, key: Secret) -> Signature:
    """Say whether it is what was signed with this key; nothing of the time that it takes tells how it differs."""
    if not isinstance(document, dict) or document.get("kind") != KIND:
        return Signature.NONE
    mark = document.get(_SIGNATURE)
    if not isinstance(mark, dict) or mark.get("algorithm") != ALGORITHM:
        return Signature.NONE
    if _same(mark.get("value"), _mac(document, key)):
        return Signature.GENUINE
    return Signature.CHANGED if _same(mark.get("key"), _name(key)) else Signature.ANOTHER_KEY


def _mac(document: Mapping[str, Any], key: Secret) -> str:
    signed = {name: part for name, part in document.items() if name != _SIGNATURE}
    text = orjson.dumps(signed, option=orjson.OPT_SORT_KEYS)
    return hmac.new(key.reveal().encode(), text, hashlib.sha256).hexdigest()


def _name(key: Secret) -> str:
    """A name of the key that tells nothing of it."""
    return hmac.new(key.reveal().encode(), b"cidaas-sync: which key", hashlib.sha256).hexdigest()[:16]


def _same(given: object, wanted: str) -> bool:
    return hmac.compare_digest(str(given).encode(errors="replace"), wanted.encode())
