"""The Faust app: topics, tables, agents and tasks; wiring only.

faust -A streams.app worker          joins, delivers, keeps the ledger, serves /metrics, /live and /ready
faust -A streams.app status          how far it is
faust -A streams.app user 42         where one user stands, and why
"""

from __future__ import annotations

import os
import sys
from typing import Any

from streams import commands, web
from streams.event_loop import use_uvloop
from streams.jobs import Do
from streams.logs import LOGGING
from streams.service import App, BatchSchema, broker_credentials, broker_url, web_port
from streams.settings import ConfigError, load

use_uvloop()

try:
    settings = load()
except ConfigError as error:
    sys.stderr.write(f"{error}\n")
    sys.exit(2)

app = App(
    settings.app_id,
    pipeline_settings=settings,
    broker=broker_url(settings),
    broker_credentials=broker_credentials(settings),
    datadir=os.environ.get("APP_DATADIR", f"{settings.app_id}-data"),
    key_serializer="raw",
    value_serializer="raw",
    processing_guarantee="at_least_once",
    # A dead agent beside a worker that looks alive is how users get lost: an exception ends the worker (D3, D4).
    agent_supervisor="mode.CrashingSupervisor",
    stream_wait_empty=False,
    store="memory://",
    table_standby_replicas=0,
    topic_partitions=settings.partitions,
    topic_replication_factor=settings.replication_factor,
    # Topics are made up front with their exact settings (streams/source/topics.py).
    topic_allow_declare=False,
    topic_disable_leader=True,
    stream_buffer_maxsize=32,  # counts batches
    broker_max_poll_records=6_000,
    broker_max_poll_interval=30 * 86_400.0,  # aiokafka never rejoins after this time
    broker_commit_interval=1.0,
    broker_session_timeout=10.0,
    broker_heartbeat_interval=1.0,
    broker_request_timeout=90.0,
    broker_rebalance_timeout=60.0,
    consumer_auto_offset_reset="earliest",
    producer_acks=-1,
    producer_request_timeout=120.0,
    stream_processing_timeout=900.0,
    web_bind=os.environ.get("WEB_BIND", "127.0.0.1"),
    web_host=os.environ.get("WEB_HOST", "127.0.0.1"),
    web_port=web_port(),
    web_tables_enabled=False,
    web_router_enabled=False,
    worker_redirect_stdouts=False,
    logging_config=LOGGING,
)
pipeline = app.pipeline

identity = app.topic(settings.topics.identity, schema=BatchSchema(key_type=bytes, value_type=bytes))

#: Desired and confirmed, co-partitioned with the source. They are read and written by `streams.state`, changelog
#: first (D1); Faust assigns their partitions together with the source's.
snapshots = app.Table("snapshots", key_type=bytes, value_type=bytes, partitions=settings.partitions)
ledger = app.Table("ledger", key_type=bytes, value_type=bytes, partitions=settings.partitions)


@app.agent(identity)
async def join(stream: Any) -> None:
    """Joins row changes into snapshots; a batch is acknowledged when it is durable (D1, D2)."""
    async for event in stream.noack().events():  # never `take` or a self-acknowledging loop (D3)
        await pipeline.enqueue(event)


@app.task
async def upserts() -> None:
    """Sends windows of live users to cidaas, at most 50 a call."""
    await pipeline.delivery.run(Do.UPSERT)


@app.task
async def deletes() -> None:
    """Deletes users at cidaas, one by one, behind the brake and the second look."""
    await pipeline.delivery.run(Do.DELETE)


web.register(app)
commands.register(settings)
