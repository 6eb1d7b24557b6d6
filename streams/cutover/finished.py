"""`finished.json`, beside the archive: the record outside Kafka that a pipeline is being taken down, or was.

It is the truth when the control topic is gone. While it is there, no worker that sees it starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from streams.cutover import record as golive
from streams.cutover.record import FINISHED, FINISHING, moment
from streams.identity import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from streams.settings import Settings

FILE = "finished.json"


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that ran once: its machine, its name, its data folder ("": it was of a version that did not say)."""

    host: str
    name: str
    folder: str


@dataclass(frozen=True, slots=True)
class Archive:
    """What was kept: the file beside this record, users by situation, and records of the audit.

    `unread`: records of `legacy.identity` that no worker had joined, and that went so.
    """

    file: str
    sha256: str
    users: dict[str, int]
    audit: int
    unread: int


@dataclass(frozen=True, slots=True)
class Finish:
    """The record; times are Unix seconds. `topic` is the birth id of `legacy.identity`: no other pipeline has it.

    `left` is the proof: what the last look found, by place. All of it is empty in a record that says finished.
    """

    pipeline: str
    state: str
    began: float
    at: float
    who: str
    host: str
    topic: str = ""
    workers: tuple[Worker, ...] = ()
    certificate: dict[str, Any] | None = None
    archive: Archive | None = None
    left: dict[str, list[str]] | None = None


def read(folder: Path) -> Finish | None:
    """The record in this folder; None where there is none.

    Raises:
        RefusedError: it cannot be read, so nobody knows.
    """
    path = folder / FILE
    try:
        return _decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be read ({error.strerror}), so nobody knows whether this pipeline was taken down: let this "
            "account read it, or correct archive under [cutover]."
        ) from None
    except (ValueError, TypeError, KeyError):
        raise RefusedError(
            f"{path} is damaged, so nobody knows whether this pipeline was taken down: bring it back from a copy."
        ) from None


def _decode(raw: bytes) -> Finish:
    body = orjson.loads(raw)
    archive = body["archive"]
    body["archive"] = None if archive is None else Archive(**archive)
    body["workers"] = tuple(Worker(**one) for one in body["workers"])
    return Finish(**body)


def write(folder: Path, record: Finish) -> None:
    """Write the record so that it is whole and stays, also when the machine dies now."""
    temporary = folder / f"{FILE}.new"
    with temporary.open("wb") as file:
        file.write(orjson.dumps(record, option=orjson.OPT_INDENT_2) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    replaced(temporary, folder / FILE)


def replaced(temporary: Path, path: Path) -> None:
    """Give a file that was written its name, and have the disk know."""
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def refused_by_file(settings: Settings) -> str:
    """Why no worker of this pipeline may start, by the file; "" when it may."""
    folder = settings.archive_folder
    if folder is None:
        return ""
    try:
        record = read(folder)
    except RefusedError as error:
        return str(error)
    if record is None or record.pipeline != settings.app_id:
        return ""
    if record.state == FINISHED:
        return (
            f"this pipeline has ended: `cutover finish` of {record.who}@{record.host} took everything away at "
            f"{moment(record.at)} ({folder / FILE}). Disable this service; a new migration needs an app_id and an "
            "archive folder of its own."
        )
    return (
        f"this pipeline is being taken down: `cutover finish` of {record.who}@{record.host} began at "
        f"{moment(record.began)} ({folder / FILE}). Disable this service, and let `cutover finish --yes` come to its "
        "end."
    )


def refused_by_topic(state: Mapping[str, Any]) -> str:
    """Why no worker may start or run on, by the control topic; "" when it may."""
    record = golive.read(state)
    if record is None or record.state not in (FINISHING, FINISHED):
        return ""
    return (
        f"this pipeline is being taken down: `cutover finish` of {record.who}@{record.host} began at "
        f"{moment(record.at)}. Disable this service, and let `cutover finish --yes` come to its end."
    )
