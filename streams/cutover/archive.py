"""The one file that stays: ledger without secrets, audit and certificate, as JSON lines in a .zip.

It holds user ids, subs and what people typed, so only its owner may read it; no value of a user, no hash and no
fingerprint. What this command itself writes into the audit afterwards is not in it.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from streams import VERSION, ledger
from streams.audit import topic as audit
from streams.audit.fingerprint import digests, fingerprint
from streams.audit.records import Hiding
from streams.cutover.finished import Archive, replaced
from streams.offline import read_behind, read_everyone

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from streams import snapshots
    from streams.cutover.finished import Finish
    from streams.settings import Settings

#: The situation of a user whose ledger entry has no snapshot (O4).
UNKNOWN = "unknown"


async def write(settings: Settings, folder: Path, noted: Finish) -> Archive:
    """Make the file whole or not at all; one of a run that was killed is replaced.

    Raises:
        KafkaError, RefusedError, OSError: it could not be made.
    """
    name = f"{settings.app_id}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(noted.began))}.zip"
    part, users = folder / f".{name}.part", Counter[str]()
    unread = await read_behind(settings)
    with _private(part) as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as pack:
            with _member(pack, "ledger.jsonl") as out:
                async for line in lines(settings):
                    users[line["situation"]] += 1
                    out.write(orjson.dumps(line) + b"\n")
            records = await audit.read(settings)
            with _member(pack, "audit.jsonl") as out:
                for clock, record in records:
                    out.write(orjson.dumps({"clock": clock, **record}) + b"\n")
            if noted.certificate is not None:
                with _member(pack, "certificate.json") as out:
                    out.write(orjson.dumps(noted.certificate, option=orjson.OPT_INDENT_2) + b"\n")
            with _member(pack, "about.json") as out:
                out.write(orjson.dumps(_about(settings, noted, users, unread), option=orjson.OPT_INDENT_2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    replaced(part, folder / name)
    return Archive(name, digest(folder / name), dict(users), len(records), unread)


async def count(settings: Settings) -> tuple[dict[str, int], int]:
    """Users by situation, by reading both changelogs; and records that no worker has joined."""
    users = Counter[str]()
    async for line in lines(settings):
        users[line["situation"]] += 1
    return dict(users), await read_behind(settings)


async def lines(settings: Settings) -> AsyncIterator[dict[str, Any]]:
    """One for each user that snapshots or ledger know, by partition and id."""
    hiding, mapping_id = Hiding.of(settings), bytes.fromhex(settings.mapping.id)
    for number in range(settings.partitions):
        for key, (snap, value) in (await read_everyone(settings, number)).items():
            yield line_of(key, snap, value, mapping_id, hiding)


def line_of(
    key: bytes, snap: snapshots.Head | None, value: bytes | None, mapping_id: bytes, hiding: Hiding
) -> dict[str, Any]:
    """What is kept of one user. Fingerprints of what was sent, and of addresses, are left out."""
    head = None if value is None else ledger.head(value)
    where = UNKNOWN if snap is None else ledger.situation(snap, head, mapping_id).value
    line: dict[str, Any] = {"user": key.decode(errors="replace"), "situation": where}
    if snap is not None:
        line |= {"version": snap.version, "applied": snap.applied}
    if value is not None:
        entry = ledger.decode(value)
        line["ledger"] = {
            "state": entry.state.name.lower(),
            "version": entry.version,
            "mapping_id": entry.mapping_id,
            "sub": entry.sub,
            "deleted": entry.deleted,
            "process_state": entry.process_state,
            "reason": hiding(entry.reason),
            "message": hiding(entry.message),
            "attempts": entry.attempts,
            "at": entry.at,
            "first_try": entry.first_try,
            "notes": entry.notes,
        }
    return line


def intact(folder: Path, archive: Archive | None) -> bool:
    """Whether the file is there as it was written."""
    try:
        return archive is not None and digest(folder / archive.file) == archive.sha256
    except FileNotFoundError:
        return False


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _about(settings: Settings, noted: Finish, users: Counter[str], unread: int) -> dict[str, Any]:
    return {
        "pipeline": settings.app_id,
        "began": noted.began,
        "who": noted.who,
        "host": noted.host,
        "version": VERSION,
        "mapping_id": settings.mapping.id,
        "configuration": fingerprint(digests(settings)),
        "users": dict(users),
        "records_unread": unread,
        "certificate": noted.certificate is not None,
    }


@contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A new file that only its owner may read."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
        yield file


@contextmanager
def _member(pack: zipfile.ZipFile, name: str) -> Iterator[Any]:
    year, month, day, hour, minute, second, *_ = time.gmtime()
    about = zipfile.ZipInfo(name, (year, month, day, hour, minute, second))
    about.compress_type, about.external_attr = zipfile.ZIP_DEFLATED, 0o600 << 16
    with pack.open(about, "w", force_zip64=True) as out:
        yield out
