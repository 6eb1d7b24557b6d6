"""The one configuration file, `pipeline.toml`, and the environment, validated: `load()` gives `Settings`."""

from .errors import ConfigError
from .load import load
from .model import (
    MAPPING_CODE,
    Brake,
    Cidaas,
    ConnectRest,
    ConsentRule,
    CredentialsTable,
    Delivery,
    Epoch,
    FieldRule,
    GroupRule,
    Kafka,
    Mapping,
    PasswordColumns,
    PasswordRule,
    SelectRule,
    Settings,
    Source,
    StatusRule,
    Topics,
    UsersTable,
)
from .secret import Secret

__all__ = [
    "MAPPING_CODE",
    "Brake",
    "Cidaas",
    "ConfigError",
    "ConnectRest",
    "ConsentRule",
    "CredentialsTable",
    "Delivery",
    "Epoch",
    "FieldRule",
    "GroupRule",
    "Kafka",
    "Mapping",
    "PasswordColumns",
    "PasswordRule",
    "Secret",
    "SelectRule",
    "Settings",
    "Source",
    "StatusRule",
    "Topics",
    "UsersTable",
    "load",
]
