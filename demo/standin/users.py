"""All users of the stand-in in memory: entities, indexes for what must be unique, and their history.

Small on purpose, so that 500,000 users fit: an entity is its JSON text (sorted keys) behind 24 bytes of times and
number, one accepted state in the history is 33 bytes. Each change also leaves a line in `lines`, for the journal.
"""

from __future__ import annotations

import base64
import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

HEAD = struct.Struct("<qqQ")  # created, updated (microseconds since 1970), number of the state
STATE = struct.Struct("<qc8s8s8s")  # time, C|U|D, fingerprints of entity, password and e-mail
STATES = {b"C": "CREATED", b"U": "UPDATED", b"D": "DELETED"}
_NOTHING = bytes(8)


class Row(NamedTuple):
    """One user as the reading endpoints see it."""

    sub: str
    created: int
    updated: int
    number: int
    text: bytes


def row(sub: str, value: bytes) -> Row:
    """The parts of a stored value."""
    created, updated, number = HEAD.unpack_from(value)
    return Row(sub, created, updated, number, value[HEAD.size :])


def fingerprint(text: bytes) -> bytes:
    """8 bytes that stand for `text`: BLAKE2b."""
    return blake2b(text, digest_size=8).digest()


def dumps(entity: Any) -> bytes:
    """JSON with sorted keys: equal entities are equal texts."""
    return orjson.dumps(entity, option=orjson.OPT_SORT_KEYS)


def email_key(provider: Any, email: str) -> str:
    """What must be unique: the e-mail (case-folded; only ASCII is taken) within its provider."""
    return email.lower() if not provider or provider == "self" else f"{provider}\n{email.lower()}"


def username_key(name: str) -> str:
    """What must be unique: the username. No e-mail begins with a line end."""
    return "\n" + name


def keys_of(entity: dict[str, Any]) -> list[str]:
    """Everything of an entity, flat or with identities, that nobody else may have; its e-mail first."""
    email, name = entity.get("email"), entity.get("username")
    keys = []
    if email:
        keys.append(email_key(entity.get("provider"), email))
    if "identities" in entity:
        for identity in entity["identities"]:
            keys += keys_of(identity)
    if name:
        keys.append("\n" + name)
    return keys


class Users:
    """Users by sub, in the order in which they were created."""

    def __init__(self, history_limit: int = 1000, full_history: bool = False) -> None:
        self.history_limit = history_limit
        self.full_history = full_history
        self.values: dict[str, bytes] = {}
        self.owners: dict[str, str] = {}  # keys_of() -> sub
        self.history: dict[str, bytes] = {}
        self.entities: dict[str, list[bytes]] = {}  # only with full history
        self.purges: dict[str, int] = {}  # accepted, not carried out yet: sub -> due
        self.number = 0
        self.lines: list[bytes] = []

    def __len__(self) -> int:
        return len(self.values)

    def entity(self, sub: str) -> dict[str, Any] | None:
        """The entity of one user."""
        value = self.values.get(sub)
        return None if value is None else orjson.loads(value[HEAD.size :])

    def put(self, sub: str, entity: dict[str, Any], keys: list[str], old: dict[str, Any] | None, now: int) -> bool:
        """Store a state; `keys` are its keys_of(), `old` is the entity before it. True if it changed nothing."""
        text = dumps(entity)
        unchanged = self._set(sub, entity, keys, old, text, now)
        state = b"U" if old else b"C"
        self.lines.append(b'{"t":%d,"s":"%b","k":%b,"u":%b}' % (now, state, orjson.dumps(sub), text))
        return unchanged

    def _set(
        self, sub: str, entity: dict[str, Any], keys: list[str], old: dict[str, Any] | None, text: bytes, now: int
    ) -> bool:
        self.number += 1
        before = self.values.get(sub)
        created, state, unchanged = now, b"C", False
        if old is not None and before is not None:
            created, state, unchanged = HEAD.unpack_from(before)[0], b"U", before.endswith(text)
        if not unchanged:
            if old is not None:
                self._unlink(sub, old)
            for key in keys:
                self.owners[key] = sub
        self.values[sub] = HEAD.pack(created, now, self.number) + text
        self._remember(sub, now, state, entity, text, keys)
        return unchanged and before is not None and len(before) == HEAD.size + len(text)

    def _unlink(self, sub: str, entity: dict[str, Any]) -> None:
        for key in keys_of(entity):
            if self.owners.get(key) == sub:
                del self.owners[key]

    def remove(self, sub: str, now: int) -> bool:
        """Delete a user; False if there is none."""
        old = self.entity(sub)
        self.purges.pop(sub, None)
        if old is None:
            return False
        self.number += 1
        self._unlink(sub, old)
        del self.values[sub]
        self._remember(sub, now, b"D", {}, b"", [])
        self.lines.append(b'{"t":%d,"s":"D","k":%s}' % (now, orjson.dumps(sub)))
        return True

    def purge_later(self, sub: str, now: int, due: int) -> None:
        """Accept a delete that is carried out at `due`; it survives a restart."""
        self.purges[sub] = due
        self.lines.append(b'{"t":%d,"s":"P","k":%s,"due":%d}' % (now, orjson.dumps(sub), due))

    def _remember(self, sub: str, now: int, state: bytes, entity: dict[str, Any], text: bytes, keys: list[str]) -> None:
        info = entity.get("password_hash_info")
        password = fingerprint(info["passwordHash"].encode()) if info else _NOTHING
        email = fingerprint(keys[0].encode()) if keys and keys[0][0] != "\n" else _NOTHING
        packed = STATE.pack(now, state, fingerprint(text) if text else _NOTHING, password, email)
        before = self.history.get(sub)
        if before is None:
            self.history[sub] = packed
        else:
            self.history[sub] = (before + packed)[-STATE.size * self.history_limit :]
        if self.full_history:
            kept = self.entities.setdefault(sub, [])
            kept.append(text or b"null")
            del kept[: -self.history_limit]

    def states(self, sub: str) -> list[dict[str, Any]] | None:
        """The accepted states of one user in their order, as JSON has them."""
        packed = self.history.get(sub)
        if packed is None:
            return None
        full = self.entities.get(sub, [])
        states = []
        for now, state, entity, password, email in STATE.iter_unpack(packed):
            states.append(
                {
                    "at_us": now,
                    "state": STATES[state],
                    "entity": _hex(entity),
                    "password": _hex(password),
                    "email": _hex(email),
                }
            )
        for each, text in zip(reversed(states), reversed(full), strict=False):
            each["full"] = orjson.loads(text)
        return states

    def taken_by(self, keys: list[str], sub: str | None) -> tuple[str, str] | None:
        """(What, whose sub) of the first of `keys` that belongs to another user."""
        for key in keys:
            owner = self.owners.get(key)
            if owner is not None and owner != sub:
                return "username" if key[0] == "\n" else "email", owner
        return None

    def forget(self) -> None:
        """Forget all users and all history."""
        for each in (self.values, self.owners, self.history, self.entities, self.purges):
            each.clear()
        self.lines.clear()

    # What the journal needs ------------------------------------------------------------------------------------------

    def replay(self, line: bytes) -> None:
        """Apply one line of the journal."""
        if line[-1:] != b"}":
            raise ValueError("a line without an end")
        record = orjson.loads(line)
        kind, sub, now = record["s"], record.get("k"), record.get("t", 0)
        if kind in ("C", "U"):
            text = line[line.index(b',"u":') + 5 : -1]
            entity = record["u"]
            self._set(sub, entity, keys_of(entity), self.entity(sub) if kind == "U" else None, text, now)
        elif kind == "D":
            self.remove(sub, now)
            self.lines.clear()
        elif kind == "P":
            self.purges[sub] = record["due"]
        elif kind == "S":
            text = line[line.index(b',"u":') + 5 : -1]
            self.owners |= dict.fromkeys(keys_of(record["u"]), sub)
            self.values[sub] = HEAD.pack(record["c"], now, record["n"]) + text
            self.history[sub] = base64.b64decode(record["h"])
        elif kind == "H":
            self.history[sub] = base64.b64decode(record["h"])
        elif kind == "N":
            self.number = record["n"]
        else:
            raise ValueError("a record of unknown kind")

    def compacted(self) -> Iterator[bytes]:
        """The lines that make these users anew."""
        yield b'{"s":"N","n":%d}' % self.number
        for sub, value in self.values.items():
            created, updated, number = HEAD.unpack_from(value)
            past = base64.b64encode(self.history[sub])
            yield b'{"s":"S","t":%d,"c":%d,"n":%d,"k":%s,"h":"%s","u":%s}' % (
                updated, created, number, orjson.dumps(sub), past, value[HEAD.size :],
            )  # fmt: skip
        for sub, packed in self.history.items():
            if sub not in self.values:
                yield b'{"s":"H","k":%s,"h":"%s"}' % (orjson.dumps(sub), base64.b64encode(packed))
        for sub, due in self.purges.items():
            yield b'{"s":"P","k":%s,"due":%d}' % (orjson.dumps(sub), due)


def _hex(mark: bytes) -> str | None:
    return None if mark == _NOTHING else mark.hex()
