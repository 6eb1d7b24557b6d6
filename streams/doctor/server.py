"""The legacy server as a whole: version, settings, room for one more slot, what may hold a slot up (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.doctor.checks import fault, ok, some, unknown, warning
from streams.quantities import duration, size
from streams.source.statements import literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.doctor.checks import Check

OLDEST, NEWEST = 14, 18
#: Connections that the connector and one worker open.
CONNECTIONS = 6
#: Seconds after which an open transaction is called long: Debezium gives up making its slot after 90.
LONG = 60.0
#: Hours that the limit of the WAL should last while nobody reads the slot: a night.
NIGHT = 12.0
#: Transactions that are named.
LISTED = 3
#: Of a disk is free: less than that is a fault, or a warning.
NEARLY_FULL, FILLING = 0.05, 0.15
_RESTART = "then restart PostgreSQL"
_RELOAD = "then SELECT pg_reload_conf()"


@dataclass(frozen=True, slots=True)
class Transaction:
    """One that has written, and is open; `seconds` is None where this role may not see it. `name` is pid or gid."""

    name: str
    database: str
    seconds: float | None
    prepared: bool = False


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk of the WAL, in bytes."""

    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Server:
    """What the server says of itself; sizes in bytes, times in seconds, None is *not known*."""

    version: int  # server_version_num
    version_text: str
    standby: bool
    wal_level: str
    slots: int
    slots_used: int
    senders: int
    senders_used: int
    #: `slot` says that our slot is there, `slot_active` that somebody reads it, `slot_kept` what is kept for it.
    slot: bool
    slot_active: bool
    slot_kept: int | None
    connections: int
    connections_used: int
    wal_limit: int  # -1: none
    idle_timeout: float | None
    sender_timeout: float
    output_plugins: str | None
    encoding: str
    transactions: tuple[Transaction, ...] = ()
    wal_rate: float | None = None  # bytes/s
    disk: Disk | None = None
    pooler: bool = False


def judge(server: Server) -> list[Check]:
    """Judge the server (facts: debezium-postgres, 5.1)."""
    return [
        _version(server),
        _primary(server),
        _pooler(server),
        _wal_level(server),
        _slots(server),
        _senders(server),
        _connections(server),
        _output_plugins(server),
        _encoding(server),
        _disk(server),
        _wal_limit(server),
        *_timeouts(server),
        *_transactions(server),
    ]


def _version(server: Server) -> Check:
    major = server.version // 10_000
    if major < OLDEST:
        return fault(
            "server_version",
            f"PostgreSQL {server.version_text} is older than {OLDEST}",
            f"Upgrade the server to PostgreSQL {OLDEST} or newer.",
        )
    if major > NEWEST:
        return warning(
            "server_version",
            f"PostgreSQL {server.version_text} is newer than {NEWEST}, the last one that this was tried with",
            "Try it on a copy first.",
        )
    return ok("server_version", f"PostgreSQL {server.version_text}")


def _primary(server: Server) -> Check:
    if server.standby:
        what = "this server is a standby: it has neither our slot nor the newest rows"
        return fault("primary", what, "Name the primary in LEGACY_DATABASE_URL, LEGACY_ADMIN_URL and LEGACY_DB_HOST.")
    return ok("primary", "this is the primary")


def _pooler(server: Server) -> Check:
    if server.pooler:
        what = "a connection pooler stands between here and PostgreSQL; it passes no replication on"
        return fault("pooler", what, "Name PostgreSQL's own port in the addresses, not that of the pooler.")
    return ok("pooler", "no connection pooler in between")


def _wal_level(server: Server) -> Check:
    if server.wal_level != "logical":
        return fault(
            "wal_level",
            f"wal_level is {server.wal_level}, logical is needed",
            f"ALTER SYSTEM SET wal_level = 'logical', {_RESTART} (Amazon RDS: rds.logical_replication = 1).",
        )
    return ok("wal_level", "wal_level is logical")


def _slots(server: Server) -> Check:
    said = f"{server.slots_used} of {server.slots} replication slots are in use"
    if not server.slot and server.slots_used >= server.slots:
        more = server.slots_used + 2
        remedy = f"ALTER SYSTEM SET max_replication_slots = {more}, {_RESTART}; or drop an unused slot."
        return fault("slots_left", f"{said}: none is left for ours", remedy)
    return ok("slots_left", f"{said}{', ours is one of them' if server.slot else ''}")


def _senders(server: Server) -> Check:
    said = f"{server.senders_used} of {server.senders} walsenders are in use"
    if not server.slot_active and server.senders_used >= server.senders:
        remedy = f"ALTER SYSTEM SET max_wal_senders = {server.senders_used + 2}, {_RESTART}."
        return fault("senders_left", f"{said}: none is left for the connector", remedy)
    return ok("senders_left", said)


def _connections(server: Server) -> Check:
    left = server.connections - server.connections_used
    if left < CONNECTIONS:
        what = f"{left} connections are left; the connector and a worker take up to {CONNECTIONS}"
        return warning("connections_left", what, f"Raise max_connections, {_RESTART}; or find out who holds them.")
    return ok("connections_left", f"{left} connections are left")


def _output_plugins(server: Server) -> Check:
    allowed = server.output_plugins
    if allowed is not None and "pgoutput" not in [name.strip() for name in allowed.split(",")]:
        return fault(
            "output_plugin",
            f"output_plugin_libraries ({allowed}) does not allow pgoutput",
            f"ALTER SYSTEM SET output_plugin_libraries = 'pgoutput' (add it to what is there), {_RELOAD}.",
        )
    known = "pgoutput may be used" if allowed is not None else "nothing is known that forbids pgoutput"
    return ok("output_plugin", known)


def _encoding(server: Server) -> Check:
    if server.encoding != "UTF8":
        return fault(
            "encoding",
            f"the database's encoding is {server.encoding}: Debezium reads UTF8 only",
            "Dump the database and load it into one with ENCODING 'UTF8'; there is no way around that.",
        )
    return ok("encoding", "the database's encoding is UTF8")


def _disk(server: Server) -> Check:
    disk = server.disk
    if disk is None:
        why = "how full the disk with pg_wal is can only be seen on the database's machine"
        return unknown("wal_disk", why, "Look there: df -h on the data directory; or run doctor there.")
    said = f"{size(disk.free)} of {size(disk.total)} are free on the disk with pg_wal"
    remedy = "Make room there: a full disk stops PostgreSQL."
    if disk.free < disk.total * NEARLY_FULL:
        return fault("wal_disk", said, remedy)
    return warning("wal_disk", said, remedy) if disk.free < disk.total * FILLING else ok("wal_disk", said)


def _wal_limit(server: Server) -> Check:
    rate = server.wal_rate
    pace = f"; {size(rate * 3600)} of WAL are written in an hour now" if rate else ""
    if server.wal_limit < 0:
        half = "'…GB' (half of what is free there)" if server.disk is None else f"'{server.disk.free >> 21}MB'"
        remedy = f"ALTER SYSTEM SET max_slot_wal_keep_size = {half}, {_RELOAD}."
        what = f"max_slot_wal_keep_size is not set: a slot that nobody reads fills the disk{pace}"
        return warning("wal_limit", what, remedy)
    left = max(server.wal_limit - (server.slot_kept or 0), 0)
    said = f"max_slot_wal_keep_size is {size(server.wal_limit)}"
    if server.disk is not None and left > server.disk.free:
        remedy = f"ALTER SYSTEM SET max_slot_wal_keep_size = '{server.disk.free >> 21}MB', {_RELOAD}."
        what = f"{said}, but only {size(server.disk.free)} are free: the disk is full before it helps"
        return fault("wal_limit", what, remedy)
    if rate and left / rate < NIGHT * 3600:
        lasts = f"{said}, which lasts {duration(left / rate)} while the connector is away{pace}"
        return warning("wal_limit", lasts, f"Raise it, as far as the disk allows, to more than {NIGHT:.0f} hours.")
    lasting = f", which lasts {duration(left / rate)} while the connector is away" if rate else ""
    return ok("wal_limit", said + lasting)


def _timeouts(server: Server) -> Iterator[Check]:
    if 0 < server.sender_timeout < 30:
        what = f"wal_sender_timeout is {server.sender_timeout:.0f} s; the connector reports every 10 s"
        yield warning("sender_timeout", what, f"ALTER SYSTEM SET wal_sender_timeout = '60s', {_RELOAD}.")
    else:
        yield ok("sender_timeout", "wal_sender_timeout leaves time enough")
    if server.idle_timeout:
        away = duration(server.idle_timeout)
        what = f"idle_replication_slot_timeout drops the slot when the connector is away for {away}"
        remedy = f"ALTER SYSTEM SET idle_replication_slot_timeout = 0, {_RELOAD}."
        yield warning("idle_slot_timeout", what, remedy)


def _transactions(server: Server) -> Iterator[Check]:
    """Making a slot waits for every transaction of the server that has written, in all databases (facts, 5.1)."""
    judged = warning if server.slot else fault
    effect = "PostgreSQL keeps WAL for them" if server.slot else "the slot cannot be made before they end"
    long = [one for one in server.transactions if not one.prepared and (one.seconds or 0) > LONG]
    hidden = [one for one in server.transactions if one.seconds is None]
    if long:
        said = _listed("pid", long)
        end = _each("SELECT pg_terminate_backend({})", long)
        remedy = f"Wait, or end {'it' if len(long) == 1 else 'them'}: {end}."
        yield judged("long_transactions", f"{said}: {effect}", remedy)
    elif hidden:
        why = f"how old {len(hidden)} open transactions are, this role may not see"
        yield unknown("long_transactions", why, "Set LEGACY_ADMIN_URL, or GRANT pg_read_all_stats to the role.")
    else:
        yield ok("long_transactions", "no long transaction is open")
    prepared = [one for one in server.transactions if one.prepared and (one.seconds or 0) > LONG]
    if prepared:
        rollback = _each("ROLLBACK PREPARED {}", prepared, literal)
        remedy = f"Ask its owner. In that database: {rollback}; or COMMIT PREPARED with the same name."
        yield judged("prepared_transactions", f"{_listed('prepared', prepared)}: {effect}", remedy)
    else:
        yield ok("prepared_transactions", "no prepared transaction is left over")


def _listed(word: str, found: list[Transaction]) -> str:
    shown = [f"{word} {one.name} in {one.database} for {duration(one.seconds or 0)}" for one in found]
    return f"open transaction{'s' * (len(found) > 1)}: {some(shown, LISTED)}"


def _each(statement: str, found: list[Transaction], quote: Callable[[str], str] = str) -> str:
    """The statement for each of those that are named."""
    return "; ".join(statement.format(quote(one.name)) for one in found[:LISTED])
