"""Faust's App with the pipeline in its life: what happens at start, at a rebalance and at the stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import faust
from faust import streams as faust_streams
from faust.tables import TableManager
from faust.tables.recovery import Recovery
from yarl import URL

from streams import failpoints
from streams import identity as identities
from streams.causes import why
from streams.cutover import finished
from streams.kafka import tls
from streams.pipeline import Pipeline
from streams.settings import ConfigError
from streams.source.births import read_births
from streams.source.columns import check_columns
from streams.source.topics import TopicError
from streams.source.topics import ensure as ensure_topics
from streams.transport import BatchConsumer, Transport, boot_clock
from streams.watchdog import Watchdog, signs

if TYPE_CHECKING:
    from faust.types import TP

    from streams.settings import Settings

log = logging.getLogger(__name__)

FAUST_VERSION = "0.15.3"
#: Seconds after which a stop that hangs is ended by force; nothing is lost by it (D1).
_STOP_DEADLINE = 18.0


class BatchSchema(faust.Schema):
    """Hands on what the transport made: a batch of records, or a record, undecoded."""

    def compile(self, app: Any, **kwargs: Any) -> Any:
        """Return the decoder that makes an event of a message."""

        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(message.key, message.value, message.headers, message)

        return decode


class NoRecovery(Recovery):
    """Faust's recovery without its reading: `Partition.take_over` reads both changelogs, exactly (O2, O3)."""

    def need_recovery(self) -> bool:
        """Never: Faust's own reading may be cut short by a rebalance without saying so."""
        return False


class Tables(TableManager):
    """Faust's table manager with that recovery, and a start that does not wait."""

    async def on_start(self) -> None:
        """As Faust's, but without its second of waiting for tables that agents may make: ours are declared before."""
        await self._update_channels()
        await self.recovery.start()

    @property
    def recovery(self) -> Recovery:
        """The recovery service."""
        if self._recovery is None:  # type: ignore[has-type]
            self._recovery = NoRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


class App(faust.App):
    """The worker's app; `pipeline_settings` are ours, everything else is Faust's."""

    def __init__(self, *args: Any, pipeline_settings: Settings, **kwargs: Any) -> None:
        BatchConsumer.batch_topic = pipeline_settings.topics.identity
        super().__init__(*args, TableManager=Tables, **kwargs)
        self.pipeline_settings = pipeline_settings
        self.pipeline = Pipeline(self)
        self.on_partitions_revoked.connect(self._revoked)
        self.on_partitions_assigned.connect(self._assigned)

    def _new_transport(self) -> Any:
        return Transport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Check what must hold before anything is read, then connect."""
        if sentence := finished.refused_by_file(self.pipeline_settings):  # before Faust makes its folders
            refuse(sentence)
        await super().on_first_start()
        try:
            self._assert_faust()
            failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
            Watchdog(lambda: signs(self.pipeline)).start()
            self.folder.lock()
            self.pipeline_settings.require(
                "LEGACY_DATABASE_URL", "CIDAAS_BASE_URL", "CIDAAS_CLIENT_ID", "CIDAAS_CLIENT_SECRET"
            )
            await check_columns(self.pipeline_settings)
            await ensure_topics(self.pipeline_settings)
            births = await read_births(self.pipeline_settings)
            await self.pipeline.start(str(births[0]))
            _collect_rarely()
        except (identities.RefusedError, TopicError, ConfigError, ValueError) as error:
            refuse(error)
        except OSError as error:
            refuse(f"cannot reach what pipeline.toml and the environment name: {why(error)}")

    @cached_property
    def folder(self) -> identities.DataFolder:
        """The data folder of this worker."""
        return identities.DataFolder(Path(self.conf.datadir))

    def refuse(self, why: BaseException | str) -> None:
        """End the worker with exit code 2."""
        refuse(why)

    @staticmethod
    def _assert_faust() -> None:
        if faust.__version__ != FAUST_VERSION:
            raise identities.RefusedError(
                f"faust-streaming {faust.__version__} is installed, {FAUST_VERSION} is needed: run `make .venv`."
            )
        if faust_streams._CStreamIterator is None:
            # The pure-Python iterator acknowledges messages of an old generation that it did not process.
            raise identities.RefusedError(
                "Faust's Cython stream iterator is not loaded: install the wheel of faust-streaming for x86_64 glibc."
            )

    async def _assigned(self, app: Any, assigned: set[TP], **kwargs: Any) -> None:
        consumer = self.consumer
        if isinstance(consumer, BatchConsumer):
            consumer.watch_heartbeats()
        topic = self.pipeline_settings.topics.identity
        await self.pipeline.assigned({tp.partition for tp in assigned if tp.topic == topic})

    async def _revoked(self, app: Any, revoked: set[TP], **kwargs: Any) -> None:
        await self.pipeline.revoked()

    async def on_stop(self) -> None:
        """Give everything up within the deadlines before Faust leaves the group."""
        deadline = threading.Timer(_STOP_DEADLINE, _force_exit, args=(self,))
        deadline.daemon = True
        deadline.start()
        await self.pipeline.stop()
        await super().on_stop()

    async def still_member(self) -> bool:
        """Whether this worker still owns its partitions for sure; waits for a heartbeat when the last is old (C5)."""
        consumer = self.consumer
        if not isinstance(consumer, BatchConsumer):
            return False
        limit = self.conf.broker_session_timeout / 2
        generation, told = self.consumer_generation_id, False
        # Measured against the generation of our assignment, not of the last heartbeat: none is sent while a rebalance
        # waits for other members, and the first one afterwards is answered in a new generation, which is ours.
        while not self.should_stop and self.consumer_generation_id == generation:
            at, answered_in = consumer.heartbeat()
            age = boot_clock() - at
            if age <= limit:
                return bool(answered_in <= generation)
            if not told:
                log.warning("no call starts: the last heartbeat is %.1f s old", age)
                told = True
            await asyncio.sleep(0.1)  # a poll: the heartbeat is answered in the consumer's own thread
        return False


def _collect_rarely() -> None:
    """Tell the garbage collector what lasts: it would look through modules, metrics and queues again and again.

    Users, rows and calls hold no cycles, so reference counting frees them; what is left for the collector is little.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def _force_exit(app: App) -> None:
    sys.stderr.write("the stop took too long and was ended by force; nothing is lost by it\n")
    sys.stderr.flush()
    os._exit(int(app.crashed or app.pipeline.failed))  # D4: a crash whose stop hangs is a crash all the same


def refuse(why: BaseException | str) -> None:
    """Say in one sentence why the worker must not run, and end it with exit code 2."""
    stream = sys.__stderr__ or sys.stderr  # Faust puts a logger in the place of the other one
    stream.write(f"refused: {why}\n")
    stream.flush()
    os._exit(2)


def web_port() -> int:
    """The port of the worker's web side: WEB_PORT, 6066 by default."""
    text = os.environ.get("WEB_PORT", "6066")
    if not text.isdecimal() or not 0 < int(text) < 65_536:
        refuse(f"WEB_PORT is {text!r}: set it to a port number, for instance 6066.")
    return int(text)


def broker_url(settings: Settings) -> list[URL]:
    """Faust's form of the bootstrap servers."""
    return [URL(f"kafka://{server.strip()}") for server in settings.kafka.bootstrap_servers.split(",")]


def broker_credentials(settings: Settings) -> Any:
    """Faust's form of the Kafka credentials; None for plaintext."""
    kafka = settings.kafka
    context = tls(kafka)
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password.reveal() if kafka.sasl_password else None,
            mechanism=kafka.sasl_mechanism,
            ssl_context=context,
        )
    return faust.SSLCredentials(context=context) if context is not None else None
