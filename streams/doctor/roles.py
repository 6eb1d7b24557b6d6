"""The pipeline's two roles in the legacy database: are they there, can they log in, may they read (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.doctor.checks import State, fault, ok, problem, todo
from streams.source.enabling import CAPTURERS, ENABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.doctor.checks import Check
    from streams.settings import Source

#: Connections of the connector while it streams, and some while it starts (facts: debezium-3.7, 11).
_ENOUGH = 6


@dataclass(frozen=True, slots=True)
class Role:
    """One role. `replication` also counts membership in rds_replication; `bypass` also a superuser."""

    login: bool
    replication: bool
    bypass: bool
    limit: int  # -1: none
    expired: bool
    connect: bool


@dataclass(frozen=True, slots=True)
class Login:
    """What became of logging in as a role: the server's words when it did not work, or why it was not tried."""

    tried: bool
    error: str = ""
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Roles:
    """Both roles by name (None: not there), and both logins: the connector's over the replication protocol."""

    found: Mapping[str, Role | None]
    logins: Mapping[str, Login]


def judge(source: Source, roles: Roles, *, enabled: bool) -> list[Check]:
    """Judge both roles; `enabled` says that the publication is there, and so everything should be."""
    capture = [
        _role("capture_role", source.role, roles.found.get(source.role), enabled=enabled),
        *_replication(source, roles.found.get(source.role), enabled=enabled),
    ]
    reader = [_role("read_role", source.read_role, roles.found.get(source.read_role), enabled=enabled)]
    # A log-in that cannot work says nothing new.
    if all(check.state is State.OK for check in capture):
        capture.append(_login("capture_login", "CDC_DEBEZIUM_PASSWORD", source.role, roles))
    if all(check.state is State.OK for check in reader):
        reader.append(_login("read_login", "LEGACY_DATABASE_URL", source.read_role, roles))
    return capture + reader


def _role(slug: str, name: str, role: Role | None, *, enabled: bool) -> Check:
    if role is None:
        return problem(slug, f"there is no role {name}{'' if enabled else ' yet'}", ENABLE, enabled=enabled)
    if not role.login:
        return fault(slug, f"the role {name} may not log in", f'ALTER ROLE "{name}" LOGIN.')
    if role.expired:
        remedy = f"ALTER ROLE \"{name}\" VALID UNTIL 'infinity'."
        return fault(slug, f"the password of the role {name} has expired", remedy)
    if not role.connect:
        return problem(slug, f"the role {name} may not connect to this database", ENABLE, enabled=enabled)
    if 0 <= role.limit < _ENOUGH:
        remedy = f'ALTER ROLE "{name}" CONNECTION LIMIT {CAPTURERS}.'
        return fault(slug, f"the role {name} may have {role.limit} connections only, {_ENOUGH} are needed", remedy)
    return ok(slug, f"the role {name} is there and may log in")


def _replication(source: Source, role: Role | None, *, enabled: bool) -> Iterator[Check]:
    if role is None:
        return
    if role.replication:
        yield ok("replication_right", f"the role {source.role} may replicate")
    else:
        what = f"the role {source.role} may not replicate, so the connector cannot read the WAL"
        yield problem("replication_right", what, ENABLE, enabled=enabled)


def _login(slug: str, variable: str, name: str, roles: Roles) -> Check:
    login = roles.logins[name]
    how = "over the replication protocol" if slug == "capture_login" else "for reading"
    if not login.tried:
        return todo(slug, login.why_not, f"Set {variable}.")
    if login.error:
        return fault(slug, f"logging in as {name} {how} fails: {login.error}", remedy_of(login.error, name, variable))
    return ok(slug, f"logging in as {name} {how} works from this machine")


def remedy_of(error: str, name: str, variable: str) -> str:
    """What cures a log-in that failed, by the server's words."""
    if "pg_hba.conf" in error:
        return f"In pg_hba.conf: hostssl DATABASE {name} ADDRESS/32 scram-sha-256; then SELECT pg_reload_conf()."
    if "too many connections" in error:
        return f'End connections that are left over, or raise the limit: ALTER ROLE "{name}" CONNECTION LIMIT N.'
    if "walsenders" in error or "max_wal_senders" in error:
        return "Raise max_wal_senders, then restart PostgreSQL."
    if "password" in error or "authentication" in error:
        return f"{variable} and the role's password differ: correct it, or set it with `cdc enable`."
    return f"Correct {variable}, or the cause that is named."
