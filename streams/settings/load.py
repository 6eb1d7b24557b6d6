"""Reading `pipeline.toml` and the environment into Settings; the environment wins."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from .environment import Environment
from .errors import ConfigError
from .model import Brake, Cidaas, Cutover, Delivery, Mapping, Settings, Source, Topics, mapping_id
from .rules import read_mapping
from .section import Problems, Section
from .shadow import VARIABLE, shadow
from .tables import read_credentials, read_users

if TYPE_CHECKING:
    from collections.abc import Mapping as AbstractMapping

#: What can begin a topic's name.
TOPIC_NAME = "(?=.*[A-Za-z0-9])[A-Za-z0-9._-]{1,100}"
#: A host's name, with a dot in it: letters of other alphabets are written as a resolver asks for them (xn--...).
_LABEL = "[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
HOST_NAME = rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})+"
_REMEDY = "Secrets stand in the environment, never in this file: set {} and take the key out."


def load(path: Path | None = None, env: AbstractMapping[str, str] = os.environ) -> Settings:
    """Return the checked settings of `path`, or of PIPELINE_CONFIG, or of `pipeline.toml` in the working folder.

    Raises ConfigError with every problem found. Missing secrets are none: see `Settings.require`.
    """
    path = path or Path(env.get("PIPELINE_CONFIG") or "pipeline.toml")
    text = _read(path)
    problems = Problems(path.name, text, path.parent)
    root = Section(_parse(path, text), (), problems)
    settings = read(root, Environment(env, problems), path)
    if problems.lines:
        raise ConfigError(problems.lines)
    name = env.get(VARIABLE)
    return shadow(settings, name) if name else settings


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        remedy = "Run the command in the project's folder, or set PIPELINE_CONFIG to the file."
        raise ConfigError([f"{path.name}: there is no such file. {remedy}"]) from None
    except OSError as error:
        raise ConfigError([f"{path.name}: cannot be read ({error.strerror}). Check its permissions."]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path.name}: is not UTF-8 text. Save it as UTF-8."]) from None


def _parse(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+), column \d+\)", str(error))
        place = f"{path.name}:{at[1]}" if at else path.name
        raise ConfigError([f"{place}: is not valid TOML: {error}. Correct that line."]) from None


def read(root: Section, env: Environment, path: Path) -> Settings:
    """Read the whole file; what is wrong stands in the problems of `root` and `env`."""
    pipeline = root.table("pipeline")
    app_id = _topic_name(pipeline, "app_id", "cidaas-sync")
    partitions = pipeline.integer("partitions", 12, 1, 1000)
    replication_factor = pipeline.integer("replication_factor", 1, 1, 32)
    pipeline.close()
    mapping = read_mapping(root.table("mapping"))
    source = _source(root, mapping, env)
    cidaas = _cidaas(root.table("cidaas"), env)
    settings = Settings(
        path=path,
        app_id=app_id,
        partitions=partitions,
        replication_factor=replication_factor,
        source=source,
        topics=Topics.of(source.prefix, app_id),
        kafka=env.kafka(root.table("kafka")),
        connect=env.connect(root.table("connect")),
        cidaas=cidaas,
        delivery=_delivery(root.table("delivery"), env),
        brake=_brake(root.table("brake")),
        mapping=replace(mapping, id=_mapping_id(mapping, source, cidaas)),
        certificate_key=env.certificate_key(),
    )
    evening = root.table("cutover")
    settings = replace(settings, cutover=_cutover(evening), archive=evening.text("archive"))
    evening.close()
    root.close()
    return settings


def _source(root: Section, mapping: Mapping, env: Environment) -> Source:
    tables = root.table("tables")
    users = read_users(tables, mapping)
    credentials = read_credentials(tables, users)
    tables.close()
    section = root.table("source")
    source = Source(
        prefix=_topic_name(section, "prefix", "legacy"),
        name=section.column("name") or "cidaas_sync",
        heartbeat_ms=section.integer("heartbeat_ms", 1000, 100, 60_000),
        users=users,
        credentials=credentials,
        url=env.postgres("LEGACY_DATABASE_URL"),
        admin_url=env.postgres("LEGACY_ADMIN_URL"),
        role=section.column("role") or "cdc_debezium",
        role_password=env.secret("CDC_DEBEZIUM_PASSWORD"),
        read_role=section.column("read_role") or "cidaas_sync_read",
    )
    if source.name != source.name.lower():  # PostgreSQL: slot names are lower-case letters, digits and _
        section.wrong(
            "name", f"is {source.name!r}", "It names a replication slot: lower-case letters, digits and _ only."
        )
    section.close({"url": _REMEDY.format("LEGACY_DATABASE_URL"), "password": _REMEDY.format("CDC_DEBEZIUM_PASSWORD")})
    return source


def _cidaas(section: Section, env: Environment) -> Cidaas:
    scim = section.text("delete", "purge", ("purge", "scim")) == "scim"
    sub = section.text("sub", "uuid5", ("uuid5", "id"))
    cidaas = Cidaas(
        base_url=env.base_url(section),
        client_id=env.text("CIDAAS_CLIENT_ID") or section.text("client_id"),
        client_secret=env.secret("CIDAAS_CLIENT_SECRET"),
        sub="id" if sub == "id" else "uuid5",
        sub_namespace=_namespace(section) if sub == "uuid5" or section.has("sub_namespace") else UUID(int=0),
        delete="scim" if scim else "purge",
        no_event=section.flag("no_event", False),
        timeout=section.number("timeout", 10.0, 0.1, 120.0),
        upsert_scopes=section.texts("upsert_scopes", ("cidaas:bulk_user_create",)),
        delete_scopes=section.texts("delete_scopes", ("SCIM_WRITE",) if scim else ("cidaas:users_delete",)),
        read_scopes=section.texts("read_scopes", ("cidaas:users_read",)),
    )
    section.get("client_id")
    section.close({"client_secret": _REMEDY.format("CIDAAS_CLIENT_SECRET")})
    return cidaas


def _namespace(section: Section) -> UUID:
    remedy = "Make one once (python3 -c 'import uuid; print(uuid.uuid4())') and never change it: it names every user."
    text = section.needed("sub_namespace", remedy)
    try:
        return UUID(text)
    except ValueError:
        if text:
            section.wrong("sub_namespace", "is no UUID", remedy)
        return UUID(int=0)


def _delivery(section: Section, env: Environment) -> Delivery:
    start = env.choice("DELIVERY_START", ("paused", "running")) or section.text(
        "start", "paused", ("paused", "running")
    )
    delivery = Delivery(
        start="running" if start == "running" else "paused",
        only=env.only(section),
        window=section.integer("window", 50, 1, 50),  # facts/cidaas-api.md §1.6: 50 suits every version
        quiet=section.number("quiet", 0.020, 0.0, 10.0),
        max_wait=section.number("max_wait", 0.250, 0.0, 60.0),
        concurrency=section.integer("concurrency", 8, 1, 64),
        max_retry_wait=section.number("max_retry_wait", 60.0, 1.0, 3600.0),
        refused_share=section.number("refused_share", 0.2, 0.0, 1.0),
        refused_window=section.integer("refused_window", 500, 50, 1_000_000),
        temporary_email=section.text("temporary_email"),
    )
    section.get("start")
    address = delivery.temporary_email
    if address is not None and ("{id}" not in address or address.count("@") != 1):
        section.wrong(
            "temporary_email", "is no address with {id} in it", 'Write one like "swap+{id}@your-domain.example".'
        )
    section.close()
    return delivery


def _brake(section: Section) -> Brake:
    brake = Brake(
        floor=section.integer("floor", 20, 0, 1_000_000),
        ceiling=section.integer("ceiling", 500, 0, 1_000_000),
        share=section.number("share", 0.05, 0.0, 1.0),
        window=section.number("window", 600.0, 1.0, 86_400.0),
    )
    if brake.ceiling < brake.floor:
        section.wrong("ceiling", "is below floor", "Make it at least as large as floor.")
    section.close()
    return brake


def _cutover(section: Section) -> Cutover | None:
    domain, target = _host_name(section, "domain"), _host_name(section, "target")
    if section.has("domain") != section.has("target"):
        missing = "target" if section.has("domain") else "domain"
        section.wrong(missing, "is missing", "Write domain and target, or neither.")
    elif domain is not None and domain == target:
        section.wrong("target", "is the domain itself", "Write the name that the domain has to lead to.")
    return None if domain is None or target is None else Cutover(domain, target)


def _host_name(section: Section, key: str) -> str | None:
    value = section.text(key)
    if value is None or re.fullmatch(HOST_NAME, value):
        return value and value.lower()
    section.wrong(
        key, f"is {value[:60]!r}, which is no host name", 'Write it like "login.example.com", without https://.'
    )
    return None


def _topic_name(section: Section, key: str, default: str) -> str:
    value = section.text(key, default) or default
    if not re.fullmatch(TOPIC_NAME, value):
        section.wrong(
            key, f"is {value[:60]!r}, which cannot begin a topic's name", "Use letters, digits, . _ and - only."
        )
        return default
    return value


def _mapping_id(mapping: Mapping, source: Source, cidaas: Cidaas) -> str:
    """Hash all that decides how a row becomes an entity; a table's own name does not."""
    tables = [replace(table, name="") for table in source.credentials]
    return mapping_id(
        {
            "mapping": mapping,
            "users": [source.users.id, source.users.password],
            # One table, or none, as before there could be several: an upgrade alone makes nobody pending.
            "credentials": tables if len(tables) > 1 else next(iter(tables), None),
            "sub": [cidaas.sub, str(cidaas.sub_namespace)],
            "no_event": cidaas.no_event,
        }
    )
