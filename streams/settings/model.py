"""The configuration as data: what `pipeline.toml` and the environment say, checked and frozen."""

from __future__ import annotations

import hashlib
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, Literal

import orjson

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping as AbstractMapping
    from dataclasses import Field
    from pathlib import Path
    from uuid import UUID

    from .secret import Secret

MAPPING_CODE = 1
"""Number of the mapping's code: raise it with every change of streams/mapping.py, values.py, argon2.py, converters.py,
inside.py, newest.py, logins.py, memberships.py, phones.py, stored.py or passwords.py that makes another entity of the
same row. It is part of the mapping id, and a new mapping id makes all users pending once (design: *entity*, C2). It
stands here because the settings come before the mapping."""

Kind = Literal["text", "phone", "boolean", "number", "date", "timestamp"]
#: What a number of a moment counts, since 1970 in UTC: seconds, milliseconds or microseconds.
Epoch = Literal["s", "ms", "us"]


@dataclass(frozen=True, slots=True)
class PasswordColumns:
    """Where a password is found in a row: hash, its algorithm (a column or one for all), salt and parameters.

    Of secret, algorithm, salt and params, `paths` has those that stand inside the JSON of their column. `numbers` are
    iterations, keylen and the parameters of argon2 where params has them under another name (a path), or one for all
    rows (a number).
    """

    secret: str
    algorithm: str | None
    algorithm_constant: str | None
    salt: str | None
    params: str | None
    paths: AbstractMapping[str, str] = field(default_factory=dict)
    numbers: AbstractMapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsersTable:
    """The legacy table with one row a user. `lazy` columns make no new version by themselves."""

    name: str
    id: str
    columns: tuple[str, ...]
    lazy: frozenset[str]
    password: PasswordColumns | None


@dataclass(frozen=True, slots=True)
class CredentialsTable:
    """A legacy table of passwords, second factors or social logins, many rows a user. Without `kind` all are passwords.

    `paths` and `numbers` as in PasswordColumns; `epochs` has those of created and updated that are numbers. One that
    `holds` second factors only has no `secret` (an empty name): cidaas takes no seed, so none is read. One that holds
    social logins has none either; `provider` makes of a row whose login it is, `provider_user_id` the user's id there.

    Its primary key is `id`, or `id` and `user_id`: of one user's rows, each has another id in any case.
    """

    name: str
    id: str
    user_id: str
    kind: str | None
    password_kind: str
    totp_kind: str | None
    algorithm: str | None
    algorithm_constant: str | None
    secret: str
    salt: str | None
    params: str | None
    created: str | None
    updated: str | None
    columns: tuple[str, ...]
    paths: AbstractMapping[str, str] = field(default_factory=dict)
    numbers: AbstractMapping[str, str | int] = field(default_factory=dict)
    epochs: AbstractMapping[str, Epoch] = field(default_factory=dict)
    holds: Literal["passwords", "totp", "identities"] = "passwords"
    provider: FieldRule | None = None
    provider_user_id: FieldRule | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The legacy database and the connector that reads it.

    The order of `credentials` counts: of passwords of one moment the one in the earlier table is the newer, and rows of
    the first table alone are named by their bare keys (`streams.credentials`).
    """

    prefix: str
    name: str
    heartbeat_ms: int
    users: UsersTable
    credentials: tuple[CredentialsTable, ...]
    url: Secret | None
    admin_url: Secret | None
    role: str
    role_password: Secret | None
    read_role: str

    @property
    def tables(self) -> tuple[UsersTable | CredentialsTable, ...]:
        """All tables in the order in which they are read, users last: they are complete when they come (M6)."""
        return (*self.credentials, self.users)

    @property
    def has_passwords(self) -> bool:
        """Whether passwords stand anywhere at all."""
        return self.users.password is not None or any(table.holds == "passwords" for table in self.credentials)

    @property
    def says_schema(self) -> bool:
        """Whether a record has to say the schema of its table: two tables have the same name without it."""
        names = [table.name.rpartition(".")[2] for table in self.tables]
        return len(set(names)) < len(names)


@dataclass(frozen=True, slots=True)
class Topics:
    """The names of all topics; they follow from the prefix and the app id and are not set one by one."""

    identity: str
    signals: str
    notifications: str
    message: str
    heartbeat: str
    control: str
    audit: str
    snapshots: str
    ledger: str
    connect_configs: str
    connect_offsets: str
    connect_status: str

    @classmethod
    def of(cls, prefix: str, app_id: str) -> Topics:
        """Name the topics of the connector `prefix` and the app `app_id` (`rehearse` has an app id of its own: O5)."""
        return cls(
            identity=f"{prefix}.identity",
            signals=f"{prefix}.signals",
            notifications=f"{prefix}.notifications",
            message=f"{prefix}.message",
            heartbeat=f"__debezium-heartbeat.{prefix}",
            control=f"{app_id}-control",
            audit=f"{app_id}-audit",
            snapshots=f"{app_id}-snapshots-changelog",
            ledger=f"{app_id}-ledger-changelog",
            # Kafka Connect's own, whatever runs in it: connectors/connect.properties names them.
            connect_configs="cidaas-sync-connect-configs",
            connect_offsets="cidaas-sync-connect-offsets",
            connect_status="cidaas-sync-connect-status",
        )


@dataclass(frozen=True, slots=True)
class Kafka:
    """How to reach the brokers."""

    bootstrap_servers: str
    security_protocol: str
    sasl_mechanism: str | None
    sasl_username: str | None
    sasl_password: Secret | None
    ca_file: str | None


@dataclass(frozen=True, slots=True)
class ConnectRest:
    """How to reach Kafka Connect's REST interface; `ca_file` is PEM, None for the authorities of the system."""

    url: str
    user: str | None = None
    password: Secret | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Cidaas:
    """The tenant, how users are named there (`sub`), and how calls are made. `timeout` is in seconds."""

    base_url: str | None
    client_id: str | None
    client_secret: Secret | None
    sub: Literal["uuid5", "id"]
    sub_namespace: UUID
    delete: Literal["purge", "scim"]
    no_event: bool
    timeout: float
    upsert_scopes: tuple[str, ...]
    delete_scopes: tuple[str, ...]
    read_scopes: tuple[str, ...]

    @property
    def settle(self) -> float:
        """Seconds for which a call that has ended unclearly may still be on its way (design: *settle*, C4, C5)."""
        return self.timeout + 5.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """When users leave and how many at a time. Times are in seconds; `only` is ids, the first N, or everybody.

    More than `refused_share` refused among the last `refused_window` judged users pause everything.
    """

    start: Literal["paused", "running"]
    only: tuple[str, ...] | int | None
    window: int
    quiet: float
    max_wait: float
    concurrency: int
    max_retry_wait: float
    refused_share: float
    refused_window: int
    temporary_email: str | None


@dataclass(frozen=True, slots=True)
class Brake:
    """When deletes wait for a person: more than max(floor, min(ceiling, share x users)) in `window` seconds."""

    floor: int
    ceiling: int
    share: float
    window: float


@dataclass(frozen=True, slots=True)
class Cutover:
    """The evening of the go-live: `domain` is the name that users type, `target` what it leads to from then on."""

    domain: str
    target: str


@dataclass(frozen=True, slots=True)
class FieldRule:
    """One column that becomes one cidaas field; `values` translates its values (others are left out).

    `path`: the value stands inside the column's JSON. `epoch`: it is a number that counts since 1970. `case`: how
    letters are changed. With a `template`, or a `function` of several columns, `column` is empty and `columns` has what
    is read. `function` is `package.module:name`, `code` a digest of its module: a change of it changes entities.
    """

    target: str
    column: str
    kind: Kind
    values: AbstractMapping[str, str] | None
    path: str | None = None
    epoch: Epoch | None = None
    case: Literal["lower", "upper"] | None = None
    template: str | None = None
    function: str | None = None
    code: str = ""
    columns: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns whose values the field is made of."""
        return (self.column,) if self.column else self.columns

    @property
    def derived(self) -> bool:
        """Whether it is more than one column's own value."""
        return self.template is not None or self.function is not None


@dataclass(frozen=True, slots=True)
class GroupRule:
    """A group at cidaas, with the roles in it: of everybody, or of those whose column is true, or among `values`."""

    group: str
    roles: tuple[str, ...]
    column: str | None
    values: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """What a user has agreed to: a state by the words of a column, or one for everybody; NULL says nothing."""

    field: str
    column: str | None
    values: AbstractMapping[str, str] | None
    state: str | None
    time: str | None
    consent_id: str | None
    version_id: str | None


@dataclass(frozen=True, slots=True)
class StatusRule:
    """What a row's status means. `other` is the userStatus of every value that is not listed."""

    column: str | None
    values: AbstractMapping[str, str]
    deleted: frozenset[str]
    deleted_when_set: str | None
    other: str


@dataclass(frozen=True, slots=True)
class SelectRule:
    """Which users belong to the migration at all. `on_leave`: keep or delete who no longer does (M9)."""

    column: str
    values: frozenset[str]
    on_leave: Literal["keep", "delete"]


@dataclass(frozen=True, slots=True)
class PasswordRule:
    """Legacy names of hash algorithms -> a built-in one or a CUSTOM_ id; `bcrypt_prefix` rewrites $2a$ and $2y$."""

    algorithms: AbstractMapping[str, str]
    bcrypt_prefix: str | None


@dataclass(frozen=True, slots=True)
class Mapping:
    """Which column becomes what at cidaas. `id` names this mapping together with the number of its code."""

    fields: tuple[FieldRule, ...]
    address: tuple[FieldRule, ...]
    custom_fields: tuple[FieldRule, ...]
    status: StatusRule
    select: SelectRule | None
    passwords: PasswordRule
    mfa_enabled: bool
    phone_region: str | None
    id: str
    #: social logins: a provider and the column with the user's id there.
    identities: tuple[FieldRule, ...] = ()
    groups: tuple[GroupRule, ...] = ()
    consents: tuple[ConsentRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that is configured, checked. Equal settings make equal entities."""

    path: Path
    app_id: str
    partitions: int
    replication_factor: int
    source: Source
    topics: Topics
    kafka: Kafka
    connect: ConnectRest
    cidaas: Cidaas
    delivery: Delivery
    brake: Brake
    mapping: Mapping
    #: None: the file does not say it.
    cutover: Cutover | None = None
    #: signs the certificate of the go-live; None: nobody has set one.
    certificate_key: Secret | None = None
    #: a second pipeline beside the live one, which writes nothing into the source's topics (streams/rehearsal).
    rehearsal: bool = False
    #: the folder in which `cutover finish` keeps what stays, as the file has it.
    archive: str | None = None

    @property
    def archive_folder(self) -> Path | None:
        """That folder; a relative one begins at the folder of the file. None: the file does not say it."""
        return None if self.archive is None else (self.path.parent / self.archive).absolute()

    def require(self, *variables: str) -> tuple[str, ...]:
        """Return the values of these environment variables, in this order.

        Secrets are demanded where they are needed and not before: `cdc sql` works without a tenant.
        Raises ConfigError that names every missing one and what it is for.
        """
        have = self._values()
        missing = [name for name in variables if have[name] is None]
        if missing:
            raise ConfigError(f"{name}: is not set. Set it to {VARIABLES[name]}." for name in missing)
        return tuple(value if isinstance(value, str) else value.reveal() for name in variables if (value := have[name]))

    def _values(self) -> dict[str, str | Secret | None]:
        return {
            "LEGACY_DATABASE_URL": self.source.url,
            "LEGACY_ADMIN_URL": self.source.admin_url,
            "CDC_DEBEZIUM_PASSWORD": self.source.role_password,
            "CIDAAS_BASE_URL": self.cidaas.base_url,
            "CIDAAS_CLIENT_ID": self.cidaas.client_id,
            "CIDAAS_CLIENT_SECRET": self.cidaas.client_secret,
            "SYNC_CERTIFICATE_KEY": self.certificate_key,
        }


VARIABLES = {
    "LEGACY_DATABASE_URL": "the legacy database's address for the read-only role, postgresql://USER:PASSWORD@HOST:5432/NAME",
    "LEGACY_ADMIN_URL": "the legacy database's address for the role that may make publications and roles",
    "CDC_DEBEZIUM_PASSWORD": "the password of the role that the connector logs in with",
    "CIDAAS_BASE_URL": "the tenant's address, https://accounts.example.com (or cidaas.base_url in the file)",
    "CIDAAS_CLIENT_ID": "the client id of the tenant's NON_INTERACTIVE app",
    "CIDAAS_CLIENT_SECRET": "the client secret of that app",
    "SYNC_CERTIFICATE_KEY": "a secret of 16 characters or more, which signs the certificate of the go-live",
}


def plain(value: Any) -> Any:
    """Turn a rule into JSON values with one fixed form (sets sorted), for hashing and for reports.

    What has a default and is at it is left out: keys that came with a later version do not change the mapping id of a
    file that does not use them, so an upgrade alone makes nobody pending.
    """
    if is_dataclass(value) and not isinstance(value, type):
        there = {one.name: getattr(value, one.name) for one in fields(value) if not _at_default(value, one)}
        return {name: plain(part) for name, part in there.items()}
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value


def _at_default(value: Any, one: Field[Any]) -> bool:
    default = one.default_factory() if one.default_factory is not MISSING else one.default
    return default is not MISSING and getattr(value, one.name) == default


def mapping_id(parts: AbstractMapping[str, Any]) -> str:
    """Return 16 hex digits that change when the configuration or the code of the mapping changes."""
    told = {"code": MAPPING_CODE, **{key: plain(part) for key, part in parts.items()}}
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
