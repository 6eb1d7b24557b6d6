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
    """What must be unique: the e-mail (case-folded) within its provider."""
    folded = email.casefold()
    return folded if provider is None or provider == "self" else f"{provider}\n{folded}"


def emails_of(entity: dict[str, Any]) -> list[str]:
    """The keys of all e-mails of an entity, flat or with identities."""
    email = entity.get("email")
    keys = [email_key(entity.get("provider"), email)] if email else []
    keys.extend(
        email_key(each.get("provider"), each["email"]) for each in entity.get("identities") or () if each.get("email")
    )
    return keys


def usernames_of(entity: dict[str, Any]) -> list[str]:
    """All usernames of an entity, flat or with identities."""
    name = entity.get("username")
    names = [name] if name else []
    names.extend(each["username"] for each in entity.get("identities") or () if each.get("username"))
    return names


class Users:
    """Users by sub, in the order in which they were created."""

    def __init__(self, history_limit: int = 1000, full_history: bool = False) -> None:
        self.history_limit = history_limit
        self.full_history = full_history
        self.values: dict[str, bytes] = {}
        self.emails: dict[str, str] = {}
        self.usernames: dict[str, str] = {}
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

    def put(self, sub: str, entity: dict[str, Any], old: dict[str, Any] | None, now: int) -> bool:
        """Store a state; `old` is the entity before it. True if it changed nothing."""
        text = dumps(entity)
        unchanged = self._set(sub, entity, old, text, now)
        state = b"C" if old is None else b"U"
        self.lines.append(b'{"t":%d,"s":"%s","k":%s,"u":%s}' % (now, state, orjson.dumps(sub), text))
        return unchanged

    def _set(self, sub: str, entity: dict[str, Any], old: dict[str, Any] | None, text: bytes, now: int) -> bool:
        self.number += 1
        emails = emails_of(entity)
        before = self.values.get(sub)
        created = now
        if old is not None and before is not None:
            created = HEAD.unpack_from(before)[0]
            self._unlink(sub, old)
        for key in emails:
            self.emails[key] = sub
        for name in usernames_of(entity):
            self.usernames[name] = sub
        self.values[sub] = HEAD.pack(created, now, self.number) + text
        self._remember(sub, now, b"C" if old is None else b"U", entity, text, emails)
        return before is not None and before[HEAD.size :] == text

    def _unlink(self, sub: str, entity: dict[str, Any]) -> None:
        for key in emails_of(entity):
            if self.emails.get(key) == sub:
                del self.emails[key]
        for name in usernames_of(entity):
            if self.usernames.get(name) == sub:
                del self.usernames[name]

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

    def _remember(
        self, sub: str, now: int, state: bytes, entity: dict[str, Any], text: bytes, emails: list[str]
    ) -> None:
        info = entity.get("password_hash_info")
        password = fingerprint(info["passwordHash"].encode()) if info else _NOTHING
        email = fingerprint(emails[0].encode()) if emails else _NOTHING
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

    def taken_by(self, entity: dict[str, Any], sub: str | None) -> tuple[str, str] | None:
        """(What, whose sub) of the first e-mail or username of `entity` that belongs to another user."""
        for key in emails_of(entity):
            owner = self.emails.get(key)
            if owner is not None and owner != sub:
                return "email", owner
        for name in usernames_of(entity):
            owner = self.usernames.get(name)
            if owner is not None and owner != sub:
                return "username", owner
        return None

    def forget(self) -> None:
        """Forget all users and all history."""
        for each in (self.values, self.emails, self.usernames, self.history, self.entities, self.purges):
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
            self._set(sub, record["u"], self.entity(sub) if kind == "U" else None, text, now)
        elif kind == "D":
            self.remove(sub, now)
            self.lines.clear()
        elif kind == "P":
            self.purges[sub] = record["due"]
        elif kind == "S":
            text = line[line.index(b',"u":') + 5 : -1]
            self._link(sub, record["u"])
            self.values[sub] = HEAD.pack(record["c"], now, record["n"]) + text
            self.history[sub] = base64.b64decode(record["h"])
        elif kind == "H":
            self.history[sub] = base64.b64decode(record["h"])
        elif kind == "N":
            self.number = record["n"]
        else:
            raise ValueError("a record of unknown kind")

    def _link(self, sub: str, entity: dict[str, Any]) -> None:
        for key in emails_of(entity):
            self.emails[key] = sub
        for name in usernames_of(entity):
            self.usernames[name] = sub

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
