"""The environment variables: what differs by place or is secret. A problem never quotes a value."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from .model import ConnectRest, Kafka
from .secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .section import Problems, Section

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
#: Characters that a key has at least.
_KEY = 16
_SASL_REMEDY = "Secrets stand in the environment, never in this file: set KAFKA_SASL_PASSWORD and take the key out."


class Environment:
    """The variables that were set; an empty one counts as not set."""

    def __init__(self, env: Mapping[str, str], problems: Problems) -> None:
        self._env, self._problems = env, problems

    def text(self, name: str) -> str | None:
        """Return the variable without surrounding blanks, None if it is not set."""
        return self._env.get(name, "").strip() or None

    def secret(self, name: str) -> Secret | None:
        """Return the variable as it is, hidden; blanks may belong to a password."""
        value = self._env.get(name)
        return Secret(value) if value else None

    def choice(self, name: str, choices: tuple[str, ...]) -> str | None:
        """Return the variable if it is one of the choices."""
        value = self.text(name)
        if value is None or value in choices:
            return value
        self._problems.add_variable(name, "has a value that is not known", f"Use one of {', '.join(choices)}.")
        return None

    def postgres(self, name: str) -> Secret | None:
        """Return a PostgreSQL address."""
        value = self.text(name)
        if value is None:
            return None
        parts = _split(value)
        if parts is None or parts.scheme not in ("postgres", "postgresql") or not parts.path.strip("/"):
            remedy = "Write postgresql://USER:PASSWORD@HOST:5432/DATABASE (percent-encode special characters)."
            self._problems.add_variable(name, "is no PostgreSQL address with a database", remedy)
        return Secret(value)

    def base_url(self, section: Section) -> str | None:
        """Return the tenant's address without a slash at its end."""
        value = self._web("CIDAAS_BASE_URL", section, "base_url", "https://accounts.example.com")
        if value is not None and value.startswith("http:") and not _near(urlsplit(value).hostname or ""):
            self._wrong(
                "CIDAAS_BASE_URL", section, "base_url", "would send password hashes unencrypted", "Use https://."
            )
        return value

    def secret_or_file(self, name: str, name_of_file: str) -> Secret | None:
        """Return the secret in the first variable, or the first line of the file that the second one names."""
        secret, file = self.secret(name), self.text(name_of_file)
        if file is None:
            return secret
        if secret is not None:
            self._problems.add_variable(name_of_file, f"is set, and {name} too", "Set one of them.")
            return secret
        try:
            line = Path(file).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, UnicodeDecodeError):
            line = ""
        if not line:
            self._problems.add_variable(name_of_file, "names no file with a secret on its first line", "Correct it.")
        return Secret(line)

    def certificate_key(self) -> Secret | None:
        """Return the key that signs certificates; one that can be guessed proves nothing."""
        key = self.secret_or_file("SYNC_CERTIFICATE_KEY", "SYNC_CERTIFICATE_KEY_FILE")
        if key is not None and 0 < len(key.reveal()) < _KEY:
            remedy = "Make one, for instance by `openssl rand -hex 32`."
            self._problems.add_variable("SYNC_CERTIFICATE_KEY", f"is shorter than {_KEY} characters", remedy)
        return key

    def connect(self, section: Section) -> ConnectRest:
        """Return how to reach Kafka Connect's REST interface; its address has no slash at its end."""
        url = self._web("CONNECT_URL", section, "url", "http://127.0.0.1:8083") or "http://127.0.0.1:8083"
        user, ca_file = section.text("user"), section.text("ca_file")
        section.close({"password": "Secrets stand in the environment: set CONNECT_PASSWORD and take the key out."})
        rest = ConnectRest(
            url=url,
            user=self.text("CONNECT_USER") or user,
            password=self.secret_or_file("CONNECT_PASSWORD", "CONNECT_PASSWORD_FILE"),
            ca_file=self.text("CONNECT_CA_FILE") or ca_file,
        )
        if rest.user is None and rest.password is not None:
            self._problems.add_variable("CONNECT_USER", "is not set, and a password for it is", "Set it, too.")
        if rest.user is not None and rest.password is None:
            remedy = "Set CONNECT_PASSWORD, or CONNECT_PASSWORD_FILE."
            self._wrong("CONNECT_USER", section, "user", "is set without a password", remedy)
        if rest.user is not None and ":" in rest.user:  # RFC 7617: what is behind it would be taken for the password
            self._wrong("CONNECT_USER", section, "user", "has a colon in it", "Basic authentication allows none.")
        if rest.ca_file is not None and not _is_authority(rest.ca_file):
            what = "names no file with certificates"
            self._wrong("CONNECT_CA_FILE", section, "ca_file", what, "Name a PEM file of the authority.")
        return rest

    def _web(self, name: str, section: Section, key: str, example: str) -> str | None:
        configured = section.text(key)
        value = self.text(name) or configured
        if value is None:
            return None
        parts = _split(value)
        if (
            parts is None
            or parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
        ):
            self._wrong(name, section, key, "is no address of a web server", f"Write it like {example}.")
            return None
        if parts.username or parts.password:
            self._wrong(name, section, key, "carries a user or password", f"Write it without: {example}.")
        return value.rstrip("/")

    def _wrong(self, name: str, section: Section, key: str, what: str, remedy: str) -> None:
        """Blame the variable if it is set, otherwise the key of the file."""
        if self.text(name) is not None:
            self._problems.add_variable(name, what, remedy)
        else:
            section.wrong(key, what, remedy)

    def only(self, section: Section) -> tuple[str, ...] | int | None:
        """Return who may leave: ids (`42,43`), the first N (`first:50`, in the file a number), or None for all."""
        configured, value = section.get("only"), self.text("DELIVERY_ONLY")
        if value is not None:
            if not value.startswith("first:"):
                return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
            number = value.removeprefix("first:").strip()
            if number.isascii() and number.isdigit() and int(number) > 0:
                return int(number)
            self._problems.add_variable(
                "DELIVERY_ONLY", "has no number after first:", "Write first:50, or ids as 42,43."
            )
            return ()
        if configured is None or (isinstance(configured, int) and not isinstance(configured, bool) and configured > 0):
            return configured
        if isinstance(configured, list) and all(type(item) in (int, str) for item in configured):
            return tuple(dict.fromkeys(str(item) for item in configured))
        section.wrong(
            "only", "is neither a list of ids nor a number", 'Write only = ["42"], only = 50, or leave it out.'
        )
        return ()

    def kafka(self, section: Section) -> Kafka:
        """Return how to reach the brokers."""
        servers = section.text("bootstrap_servers", "127.0.0.1:9092")
        protocol = section.text("security_protocol", "PLAINTEXT", _PROTOCOLS)
        mechanism = section.text("sasl_mechanism", None, _MECHANISMS)
        username, ca_file = section.text("sasl_username"), section.text("ca_file")
        section.close({"sasl_password": _SASL_REMEDY})
        kafka = Kafka(
            bootstrap_servers=self.text("KAFKA_BOOTSTRAP_SERVERS") or servers or "",
            security_protocol=self.choice("KAFKA_SECURITY_PROTOCOL", _PROTOCOLS) or protocol or "PLAINTEXT",
            sasl_mechanism=self.choice("KAFKA_SASL_MECHANISM", _MECHANISMS) or mechanism,
            sasl_username=self.text("KAFKA_SASL_USERNAME") or username,
            sasl_password=self.secret("KAFKA_SASL_PASSWORD"),
            ca_file=self.text("KAFKA_CA_FILE") or ca_file,
        )
        self._check_sasl(kafka)
        if not all(_is_broker(server.strip()) for server in kafka.bootstrap_servers.split(",")):
            remedy = "Write it like kafka1:9092,kafka2:9092."
            self._wrong("KAFKA_BOOTSTRAP_SERVERS", section, "bootstrap_servers", "is no list of HOST:PORT", remedy)
        return kafka

    def _check_sasl(self, kafka: Kafka) -> None:
        if not kafka.security_protocol.startswith("SASL"):
            return
        given = {
            "KAFKA_SASL_MECHANISM": kafka.sasl_mechanism,
            "KAFKA_SASL_USERNAME": kafka.sasl_username,
            "KAFKA_SASL_PASSWORD": kafka.sasl_password,
        }
        for name, value in given.items():
            if value is None:
                self._problems.add_variable(name, f"is not set and {kafka.security_protocol} needs it", "Set it.")


def _split(value: str) -> SplitResult | None:
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_broker(server: str) -> bool:
    host, colon, port = server.rpartition(":")
    return bool(host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536)


def _is_authority(file: str) -> bool:
    try:
        ssl.create_default_context(cafile=file)
    except OSError:  # not there, or no certificates
        return False
    return True


def _near(host: str) -> bool:
    """Tell whether a host is this machine or on a private network, where the demo's stand-in lives."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or "." not in host
    return address.is_loopback or address.is_private
