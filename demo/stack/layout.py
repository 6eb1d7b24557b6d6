"""Where a stack keeps its things, and the variables that every service of it gets."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from demo.stack import ports, releases
from demo.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Mapping

# A developer's own settings for a real Kafka or cidaas must not leak into the stack.
FOREIGN = (
    "KAFKA_",
    "CONNECT_",
    "CIDAAS_",
    "LEGACY_",
    "CDC_",
    "DELIVERY_",
    "BROKER_",
    "APP_",
    "WEB_",
    "WORKER_",
    "SYNC_",
    "PG",
)


class Layout:
    """One stack: its folder (`run_dir`), its variables (`env`, kept in stack.env), its files."""

    def __init__(self, run_dir: Path | str, postgres: str = "") -> None:
        """`postgres` is the major version for a new stack, "" for the usual one."""
        self.run_dir = Path(run_dir).resolve()
        self._postgres = postgres
        self.env: dict[str, str] = read_env(self.env_file)

    @property
    def env_file(self) -> Path:
        """stack.env: KEY=value lines, for `set -a; . .run/stack.env`."""
        return self.run_dir / "stack.env"

    def log_file(self, name: str) -> Path:
        """Everything the service `name` prints."""
        return self.run_dir / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        """The process id of the service `name`, a number and nothing else."""
        return self.run_dir / f"{name}.pid"

    def data(self, name: str) -> Path:
        """The state of the service `name`."""
        return self.run_dir / "data" / name

    def exists(self) -> bool:
        """Tell whether a stack was ever started here."""
        return self.env_file.exists()

    def prepare(self) -> None:
        """Make the folder, ports and passwords of a new stack; nothing to do for one that is there."""
        if self._postgres:
            releases.release(self._postgres)  # before anything is made
        self.run_dir.mkdir(parents=True, exist_ok=True)
        (self.run_dir / "data").mkdir(exist_ok=True)
        self.env = read_env(self.env_file)
        if not self.env:
            self.env = new_env(ports.choose(self.run_dir), self.data("worker"))
            if self._postgres:
                self.env["POSTGRES_VERSION"] = self._postgres
            write_env(self.env_file, self.env)
        there = self.env.get("POSTGRES_VERSION", "")
        if self._postgres and self._postgres != there:
            has = f"PostgreSQL {there}" if there else "the usual PostgreSQL"
            raise StackError(
                f"the stack in {self.run_dir} has {has}, not {self._postgres}: forget it with `make clean`, or call "
                "this without POSTGRES_VERSION"
            )

    def port(self, variable: str) -> int:
        """Return the port that `variable` (POSTGRES_PORT, ...) stands for."""
        return int(self.env[variable])

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of a service: the caller's without foreign settings, then the stack's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
        return kept | self.env | dict(extra or {})


def new_env(chosen: Mapping[str, int], datadir: Path) -> dict[str, str]:
    """Return the variables of a new stack; passwords are random, and good for this stack only."""
    admin, reader = secrets.token_urlsafe(18), secrets.token_urlsafe(18)
    pg = f"127.0.0.1:{chosen['POSTGRES_PORT']}/legacy"
    return {
        "LEGACY_DATABASE_URL": f"postgresql://cidaas_sync_read:{reader}@{pg}",
        "LEGACY_ADMIN_URL": f"postgresql://postgres:{admin}@{pg}",
        "LEGACY_DB_HOST": "127.0.0.1",
        "LEGACY_DB_PORT": str(chosen["POSTGRES_PORT"]),
        "LEGACY_DB_NAME": "legacy",
        "LEGACY_DB_SSLMODE": "disable",
        "CDC_DEBEZIUM_PASSWORD": secrets.token_urlsafe(18),
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{chosen['KAFKA_PORT']}",
        "CONNECT_URL": f"http://127.0.0.1:{chosen['CONNECT_PORT']}",
        "CIDAAS_BASE_URL": f"http://127.0.0.1:{chosen['CIDAAS_PORT']}",
        "CIDAAS_CLIENT_ID": "cidaas-sync",
        "CIDAAS_CLIENT_SECRET": secrets.token_urlsafe(18),
        "APP_DATADIR": str(datadir),
        "DELIVERY_START": "running",
        **{name: str(port) for name, port in chosen.items()},
    }


def read_env(path: Path) -> dict[str, str]:
    """Read KEY=value lines; a file that is not there has none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def write_env(path: Path, env: Mapping[str, str]) -> None:
    """Write KEY=value lines, readable by the owner only: there are passwords in it."""
    text = "".join(f"{key}={value}\n" for key, value in env.items())
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(text)
    part.rename(path)
