"""The topics of a stack's broker, whoever made them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiokafka.admin import AIOKafkaAdminClient

if TYPE_CHECKING:
    from demo.stack import Stack


def topics_of(stack: Stack) -> dict[str, int]:
    """All of them, with the number of their partitions."""

    async def ask() -> dict[str, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=stack.env["KAFKA_BOOTSTRAP_SERVERS"])
        await admin.start()
        try:
            return {one["topic"]: len(one["partitions"]) for one in await admin.describe_topics()}
        finally:
            await admin.close()

    return asyncio.run(ask())
