"""What must come out, worked out from the users themselves: no broker, no store, no call is on that way.

The entity is that of `streams.mapping`, which the tests hold to the documentation, and the peers’ to it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import orjson

from bench import people
from bench.target import state_digest
from streams.mapping import Mapper

if TYPE_CHECKING:
    from streams.settings import Settings


def joined(users: int) -> dict[str, Any]:
    """The snapshots of users 1 to `users`, as bench/peers/README.md defines their digest."""
    whole = hashlib.sha256()
    for key in sorted(str(number) for number in range(1, users + 1)):
        credential = people.json_row(people.credential(int(key)))
        snapshot = {"credentials": {str(credential["id"]): credential}, "user": people.json_row(people.user(int(key)))}
        whole.update(key.encode() + b"\t" + orjson.dumps(snapshot, option=orjson.OPT_SORT_KEYS) + b"\n")
    return {"users": users, "digest": whole.hexdigest()}


def delivered(users: int, settings: Settings) -> dict[str, Any]:
    """The target's digest when everybody has arrived."""
    mapper = Mapper(settings)
    states: list[tuple[str, bytes]] = []
    for number in range(1, users + 1):
        (table,) = settings.source.credentials
        rows = {table.name: [people.json_row(people.credential(number))]}
        mapped = mapper.map(str(number), people.json_row(people.user(number)), rows)
        assert mapped.entity is not None and not mapped.notes
        states.append((mapped.sub, state_digest(mapped.entity)))
    whole = hashlib.sha256()
    for sub, digest in sorted(states):
        whole.update(sub.encode() + digest)
    return {"users": users, "digest": whole.hexdigest()}
