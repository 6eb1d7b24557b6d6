"""Makes a topic that a peer needs and its framework does not make in time."""

from __future__ import annotations

import asyncio

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from bench.peers.options import PARTITIONS

SHOWN_WITHIN = 15.0  # seconds in which the broker shows a topic that was made
POLL = 0.1


async def make_topic(bootstrap: str, name: str) -> None:
    """Make the topic if it is not there, and wait until the broker shows all its partitions."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        if name not in await admin.list_topics():
            await admin.create_topics([NewTopic(name, PARTITIONS, 1)])
        for _ in range(round(SHOWN_WITHIN / POLL)):
            if await _shown(admin, name):
                return
            await asyncio.sleep(POLL)  # a poll: brokers tell nobody
        raise TimeoutError(f"the broker does not show topic {name}, which was made")
    finally:
        await admin.close()


async def _shown(admin: AIOKafkaAdminClient, name: str) -> bool:
    topics = await admin.describe_topics()
    return any(topic["topic"] == name and len(topic["partitions"]) == PARTITIONS for topic in topics)
