"""How our own Kafka clients (admin, producer, consumer) connect, from the settings."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from streams.settings import Kafka


def client_options(kafka: Kafka) -> dict[str, Any]:
    """Return the keyword arguments that every aiokafka client takes: addresses and security."""
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "security_protocol": kafka.security_protocol,
    }
    if kafka.security_protocol.endswith("SSL"):
        options["ssl_context"] = ssl.create_default_context(cafile=kafka.ca_file)
    if kafka.sasl_mechanism and kafka.security_protocol.startswith("SASL"):
        options |= {
            "sasl_mechanism": kafka.sasl_mechanism,
            "sasl_plain_username": kafka.sasl_username,
            "sasl_plain_password": kafka.sasl_password.reveal() if kafka.sasl_password else None,
        }
    return options
