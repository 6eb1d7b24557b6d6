"""The jars of broker, Connect and Debezium, in a cache."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from demo.stack import maven
from demo.stack.places import CONNECTORS, cache_root

if TYPE_CHECKING:
    from pathlib import Path

POM = CONNECTORS / "pom.xml"


def jars() -> Path:
    """Return the folder with `libs/` and `connect/` (Connect's plugin.path), downloading it when it is not there.

    There is one for each state of pom.xml.
    """
    key = hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    return maven.filled(
        cache_root() / key,
        POM,
        ("dependency:copy-dependencies@libs", "dependency:unpack@plugins"),
        doing="fetching Kafka, Kafka Connect and Debezium (about 60 MB, once)",
        could_not="fetch the jars",
    )
