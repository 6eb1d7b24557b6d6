"""Before a worker starts as a service: ends with 0 if a broker answers, with 1 if none does.

A worker that finds no Kafka refuses (exit code 2) and is not started again; at a boot Kafka may only be late. What is
wrong with the configuration is no matter of this file: the worker itself says it better.
"""

from __future__ import annotations

import asyncio
import logging
import sys

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from streams.kafka import connection
from streams.settings import ConfigError, Kafka, load

#: Seconds for one try; systemd makes the next one.
_PATIENCE = 20.0


async def answers(kafka: Kafka) -> bool:
    """Say whether a broker takes this client."""
    admin = AIOKafkaAdminClient(**connection(kafka))
    try:
        async with asyncio.timeout(_PATIENCE):
            await admin.start()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await admin.close()
    return True


def main() -> int:
    """Ask once."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    try:
        kafka = load().kafka
    except ConfigError:
        return 0
    try:
        if asyncio.run(answers(kafka)):
            return 0
    except OSError:  # KAFKA_CA_FILE is not there, or no certificate
        return 0
    sys.stderr.write(f"no broker answers at {kafka.bootstrap_servers} with these KAFKA_ variables yet\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
