"""What stands in the audit: two records for a command, two for the life of a worker (pure).

A command writes `began` before it does anything and `ended` when it has: an effect without any record there cannot be,
and a command that was killed in between stands there as one that never ended. Where the topic could not be written at
the beginning, `ended` stands alone, which repeats all of it and is `late`.
"""

from __future__ import annotations

import os
import pwd
import re
import socket
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import orjson

from streams.audit.fingerprint import differing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from streams.settings import Settings

WORKER = "worker"
BEGAN, ENDED = "began", "ended"
#: Words of a command line, and characters of what it said, that are kept.
WORDS, SAID = 20, 400

#: In this order: user and password of an address, a hash, NAME=VALUE of a secret, an e-mail address.
_HIDDEN = re.compile(
    r"""
      (?P<url>    (?<=://) [^\s/@]* : [^\s@]* @ )
    | (?P<hash>   \$[0-9A-Za-z-]{1,20}\$[^\s"'`;]{4,} )
    | (?P<bearer> \b(?i:bearer|basic) \s+ [A-Za-z0-9+/=._~-]{6,} )
    | (?P<pair>   \b (?P<name> [\w-]* (?i:passw(?:or)?d|passwort|pwd|secret|token|api_?key) [\w-]* )
                  (?: \s*[=:]\s* ) (?: "[^"]*" | '[^']*' | \S+ ) )
    | (?P<mail>   [^\s@<>"',;:()\[\]=]{1,256} (?:@|%40) [^\s@<>"',;:()\[\]{}]{1,256} )
    """,
    re.VERBOSE,
)


def _replacement(match: re.Match[str]) -> str:
    match match.lastgroup:
        case "url":
            return "***@"
        case "mail":
            return "<e-mail>"
        case _ if match["name"]:
            return f"{match['name']}=***"
    return "***"


@dataclass(frozen=True, slots=True)
class Hiding:
    """Takes secrets and addresses out of texts, those of the configuration whatever they look like."""

    known: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Hiding:
        """Know the secrets of these settings, also the passwords inside of addresses."""
        source, kafka = settings.source, settings.kafka
        secrets = (
            source.role_password,
            kafka.sasl_password,
            settings.cidaas.client_secret,
            settings.connect.password,
            settings.certificate_key,
        )
        found = {secret.reveal() for secret in secrets if secret is not None}
        for url in (source.url, source.admin_url):
            password = "" if url is None else urlsplit(url.reveal()).password or ""
            found |= {password, unquote(password)}
        # One of two letters stands in every other word, and says nothing.
        return cls(tuple(sorted((text for text in found if len(text) > 2), key=len, reverse=True)))

    def __call__(self, text: str) -> str:
        """Return the text on one line, not too long, and fit to be kept for ever."""
        for secret in self.known:
            text = text.replace(secret, "***")
        text = " ".join(_HIDDEN.sub(_replacement, text).split())
        return text if len(text) <= SAID else text[: SAID - 1] + "…"


def words_of(arguments: Sequence[str], hiding: Hiding) -> list[str]:
    """The words of a command line, without secrets, and not more than can be read."""
    kept = [hiding(word) for word in arguments[:WORDS]]
    return kept + ([f"… and {len(arguments) - WORDS:,} more"] if len(arguments) > WORDS else [])


class Actor(NamedTuple):
    """Who: the account of the operating system, the person behind it where somebody says so, and the machine."""

    account: str
    person: str
    host: str

    @classmethod
    def here(cls, env: Mapping[str, str] = os.environ) -> Actor:
        """Whoever runs this process; LOGNAME and the like, which everybody may set, are not believed."""
        uid = os.getuid()
        try:
            account = pwd.getpwuid(uid).pw_name
        except KeyError:  # in a container
            account = str(uid)
        return cls(account, env.get("SYNC_OPERATOR", "").strip() or env.get("SUDO_USER", ""), socket.gethostname())

    @property
    def name(self) -> str:
        """The person, or the account if nobody says who that is."""
        return self.person or self.account


@dataclass(slots=True)
class Act:
    """A command under way, or a worker."""

    command: str
    arguments: list[str]
    actor: Actor
    #: what a worker adds: its name, its configuration and its versions.
    more: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    at: float = field(default_factory=time.time)

    def began(self) -> dict[str, Any]:
        """The first record."""
        return {
            "id": self.id,
            "phase": BEGAN,
            "at": self.at,
            "command": self.command,
            "arguments": self.arguments,
            **self.actor._asdict(),
            **self.more,
        }

    def ended(self, code: int, said: str, *, changed: bool | None, late: bool) -> dict[str, Any]:
        """The second record; `changed` None is *not known*, `late` says that the first one is missing."""
        end = {"phase": ENDED, "ended_at": time.time(), "code": code, "said": said, "changed": changed, "late": late}
        return self.began() | end


def encode(record: Mapping[str, Any]) -> bytes:
    """Return the record's value in the topic."""
    return orjson.dumps(record)


def decode(value: bytes | None) -> dict[str, Any] | None:
    """Return a record, None for what is none of ours."""
    try:
        record = orjson.loads(value or b"null")
        return record if isinstance(record["id"], str) and record["phase"] in (BEGAN, ENDED) else None
    except (ValueError, TypeError, KeyError):
        return None


def entries(records: Iterable[tuple[float, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What happened, oldest first: (the broker's clock in Unix seconds, record) in the order of the topic.

    A command is one entry, of its first record's time. A worker's start and its stop are one each; a start names what
    differs from the start before, of that worker or else of any (`differs`, None for the very first one).
    """
    found: list[dict[str, Any]] = []
    commands: dict[str, dict[str, Any]] = {}
    starts: dict[str, dict[str, Any]] = {}
    for clock, record in records:
        late = record.get("late", False)
        entry = {**record, "at": record["at"] if late else clock}
        if record["command"] == WORKER:
            if record["phase"] == BEGAN or late:
                before = starts.get(str(record.get("worker"))) or starts.get("")
                entry["differs"] = None if before is None else _differs(before, record)
                entry["unended"] = before is not None and before["worker"] == record["worker"] and not before["ended"]
                starts[str(record["worker"])] = starts[""] = {**record, "ended": record["phase"] == ENDED}
            else:
                starts.setdefault(str(record["worker"]), dict(record))["ended"] = True
            found.append(entry)
        elif (begun := commands.get(record["id"])) is not None:
            begun |= {**record, "at": begun["at"]}
        else:
            commands[record["id"]] = entry
            found.append(entry)
    return found


def _differs(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Which keys and which versions are others than at the start before."""
    versions = {
        name: [before["versions"].get(name, ""), version]
        for name, version in now["versions"].items()
        # A version that could not be asked for then or now is no other one.
        if version and before["versions"].get(name) and version != before["versions"][name]
    }
    return {"keys": differing(before["settings"], now["settings"]), "versions": versions}
