"""State belongs to one place (O5): who we are, written once, compared at every start."""

from __future__ import annotations

import fcntl
import os
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

import orjson

if TYPE_CHECKING:
    from pathlib import Path

    from streams.settings import Settings

#: What each field means to a person, for the message when it differs.
_WORDS = {
    "pipeline": "pipeline id (app_id)",
    "base_url": "cidaas base URL (CIDAAS_BASE_URL)",
    "sub_namespace": "sub namespace",
    "source": "source system and database",
    "topic": "topic legacy.identity",
    "partitions": "partition count",
}


class RefusedError(RuntimeError):
    """The worker must not run on this state; the message says why and what to do. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a pipeline's state belongs to."""

    pipeline: str
    base_url: str
    sub_namespace: str
    source: str
    topic: str
    topic_epoch: int
    partitions: int

    @classmethod
    def of(cls, settings: Settings, source: str, topic: str, topic_epoch: int = 1) -> Identity:
        """Describe this configuration; `topic` is the birth id in the first record of `legacy.identity`."""
        return cls(
            pipeline=settings.app_id,
            base_url=settings.cidaas.base_url or "",
            sub_namespace=str(settings.cidaas.sub_namespace) if settings.cidaas.sub == "uuid5" else "id",
            source=source,
            topic=topic,
            topic_epoch=topic_epoch,
            partitions=settings.partitions,
        )

    def body(self) -> dict[str, Any]:
        """Return the record's body."""
        return asdict(self)


def compare(ours: Identity, recorded: dict[str, Any], where: str) -> None:
    """Raise RefusedError when a recorded identity is not ours."""
    for name, words in _WORDS.items():
        mine, theirs = getattr(ours, name), recorded.get(name)
        if mine != theirs:
            moved = " If the database was restored, failed over or moved on purpose, run `source repair`."
            raise RefusedError(
                f"this state belongs to another place: {words} is {mine!r}, but {where} says {theirs!r}. "
                "Point pipeline.toml and the environment back to it, or start a new pipeline with an app_id of its own "
                f"and an empty APP_DATADIR.{moved if name == 'source' else ''}"
            )


class DataFolder:
    """The worker's data folder, locked for one worker, with a copy of the identity."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: TextIO | None = None

    def lock(self) -> None:
        """Take the folder for this process.

        Raises:
            RefusedError: another worker uses it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        handle = (self.path / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            raise RefusedError(
                f"the data folder {self.path} is in use by another worker: give each worker its own APP_DATADIR."
            ) from None
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        self._lock = handle

    @property
    def identity(self) -> dict[str, Any] | None:
        """The identity that the folder holds, or None for a folder that was never used."""
        try:
            raw: dict[str, Any] = orjson.loads((self.path / "identity.json").read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError:
            raise RefusedError(
                f"the identity file in {self.path} is damaged: empty this folder, its content is read again from Kafka."
            ) from None
        return raw

    def remember(self, identity: Identity) -> None:
        """Write the identity into the folder."""
        temporary = self.path / "identity.json.new"
        temporary.write_bytes(orjson.dumps(identity.body()))
        temporary.rename(self.path / "identity.json")
