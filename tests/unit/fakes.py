"""A broker, a tenant and a pipeline in memory: what the heart needs of the world, with faults that tests ask for."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from streams.cidaas.answers import Outcome, OutcomeKind
from streams.cidaas.client import DeleteOutcome
from streams.cidaas.errors import CidaasError
from streams.pipeline import Pipeline as Real
from streams.rows import CREDENTIALS, USERS, RowChange
from streams.settings import Settings, load
from streams.state import Changelog, Partition, Store, Stored, TableKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from aiokafka import TopicPartition
    from clock import Clock

SETTINGS = load(Path(__file__).parents[2] / "pipeline.toml", {
    "CIDAAS_BASE_URL": "http://127.0.0.1:1",
    "CIDAAS_CLIENT_ID": "client",
    "CIDAAS_CLIENT_SECRET": "secret",
    "DELIVERY_START": "running",
})  # fmt: skip
BCRYPT = "$2b$04$" + "a" * 53
(CREDENTIALS_TABLE,) = SETTINGS.source.credentials
OLD_LOGINS = replace(CREDENTIALS_TABLE, name="public.old_logins")
SEEDS = replace(
    CREDENTIALS_TABLE,
    name="public.seeds",
    holds="totp",
    kind=None,
    totp_kind=None,
    secret="",
    columns=("id", "user_id"),
)
#: The shipped settings with three tables of credentials: two have passwords, one has second factors.
SEVERAL = replace(SETTINGS, source=replace(SETTINGS.source, credentials=(CREDENTIALS_TABLE, OLD_LOGINS, SEEDS)))


def settings_with(**delivery: Any) -> Settings:
    """The shipped settings with other `[delivery]` values."""
    return replace(SETTINGS, delivery=replace(SETTINGS.delivery, **delivery))


# -- records of the source ----------------------------------------------------------------------------------------


def user_row(number: int, **fields: Any) -> dict[str, Any]:
    """A full row of the users table, as Debezium's JSON has it."""
    row = dict.fromkeys(SETTINGS.source.users.columns)
    return row | {"id": number, "email": f"user{number}@example.org", "status": "active"} | fields


def credential_row(pk: int, number: int, **fields: Any) -> dict[str, Any]:
    """A full row of the credentials table: a bcrypt password of user `number`."""
    row = dict.fromkeys(CREDENTIALS_TABLE.columns)
    return row | {
        "id": pk,
        "user_id": number,
        "kind": "password",
        "algorithm": "bcrypt",
        "secret": BCRYPT,
        "created_at": "2019-03-01T08:15:00Z",
    } | fields  # fmt: skip


def envelope(op: str, table: str, lsn: int | None, row: dict[str, Any], **extra: Any) -> bytes:
    """The value of a record in `legacy.identity`."""
    return orjson.dumps({
        **row,
        "__op": op,
        "__source_table": table,
        "__source_lsn": lsn,
        "__source_txId": extra.pop("tx", lsn),
        "__source_sequence": None if lsn is None else f'["{extra.pop("after_commit", lsn - 1)}","{lsn}"]',
        "__source_ts_us": 1_700_000_000_000_000,
        "__deleted": "true" if op == "d" else "false",
        **extra,
    })  # fmt: skip


def users_change(op: str, lsn: int | None, row: dict[str, Any] | None, **extra: Any) -> RowChange:
    """A change of user 1's row, as `RowReader` makes it."""
    return _change(USERS, "1", op, lsn, row, **extra)


def credential_change(op: str, lsn: int | None, row: dict[str, Any] | None, pk: str = "7", **extra: Any) -> RowChange:
    """A change of a credential row of user 1, as `RowReader` makes it."""
    return _change(CREDENTIALS, pk, op, lsn, row, **extra)


def _change(table: str, pk: str, op: str, lsn: int | None, row: dict[str, Any] | None, **extra: Any) -> RowChange:
    return RowChange(
        table=table,
        pk=pk,
        user_id=extra.pop("user_id", "1"),
        op=op,
        row=None if op == "d" else row,
        lsn=lsn,
        tx=extra.pop("tx", lsn),
        after_commit=extra.pop("after_commit", None if lsn is None else lsn - 1),
        committed_us=extra.pop("committed_us", 0),
        moved_from=extra.pop("moved_from", None),
        missing=extra.pop("missing", ()),
    )


# -- Kafka -----------------------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """What aiokafka calls a ConsumerRecord."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class _Batch:
    """At most `most` records, as a produce batch of a given size holds them."""

    def __init__(self, most: int) -> None:
        self.items: list[tuple[bytes | None, bytes | None]] = []
        self._most = most

    def append(self, *, key: bytes | None, value: bytes | None, timestamp: int | None) -> object | None:
        if len(self.items) >= self._most:
            return None
        self.items.append((key, value))
        return object()

    def record_count(self) -> int:
        return len(self.items)

    def close(self) -> None:
        return None


class Broker:
    """Topics as lists of records; a record without a value is a hole, as compaction leaves it."""

    def __init__(self, clock: Clock, most: int = 1_000) -> None:
        self.clock, self._most = clock, most
        self.logs: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self.first: dict[tuple[str, int], int] = defaultdict(int)
        self.batches: list[int] = []
        self.lsn = 1_000
        #: while it is clear, nothing is confirmed; what was sent is in the log all the same.
        self.confirming = asyncio.Event()
        self.confirming.set()
        #: raised instead of the next confirmations.
        self.fail: list[Exception] = []
        #: called before a batch is appended: another writer gets in between.
        self.before: Callable[[], None] | None = None

    def append(self, topic: str, partition: int, key: bytes | None, value: bytes | None) -> Record:
        log = self.logs[topic, partition]
        record = Record(topic, partition, self.end(topic, partition), self.clock.ms, key, value)
        log.append(record)
        return record

    def end(self, topic: str, partition: int) -> int:
        log = self.logs[topic, partition]
        return log[-1].offset + 1 if log else self.first[topic, partition]

    def compact(self, topic: str, partition: int) -> None:
        """Keep the newest record of each key, as a broker does in time."""
        newest = {record.key: record.offset for record in self.logs[topic, partition]}
        self.logs[topic, partition] = [r for r in self.logs[topic, partition] if newest[r.key] == r.offset]

    # the producer's side

    def create_batch(self) -> _Batch:
        return _Batch(self._most)

    async def send_batch(self, batch: _Batch, topic: str, *, partition: int) -> Awaitable[Any]:
        if self.before is not None:
            before, self.before = self.before, None
            before()
        self.batches.append(batch.record_count())
        base = self.end(topic, partition)
        records = [self.append(topic, partition, key, value) for key, value in batch.items]

        async def confirmed() -> Any:
            await self.confirming.wait()
            if self.fail:
                raise self.fail.pop(0)
            return SimpleNamespace(offset=base, timestamp=records[0].timestamp)

        return confirmed()

    async def send_and_wait(self, topic: str, value: bytes, *, key: bytes, partition: int = 0) -> Any:
        return SimpleNamespace(offset=self.append(topic, partition, key, value).offset)

    def consumer(self) -> _Consumer:
        return _Consumer(self)


class MemoryStore:
    """A store without a disk, for tests that need hundreds of them."""

    def __init__(self) -> None:
        self.next_offset = 0
        self._values: dict[bytes, Stored] = {}

    def get(self, key: bytes) -> Stored | None:
        return self._values.get(key)

    def get_many(self, keys: Sequence[bytes]) -> list[Stored | None]:
        return [self._values.get(key) for key in keys]

    def write(self, items: Iterable[tuple[bytes, Stored]], next_offset: int) -> None:
        self._values.update(items)
        self.next_offset = next_offset

    def items(self, start: bytes = b"\x01") -> Iterator[tuple[bytes, Stored]]:
        return iter(sorted(item for item in self._values.items() if item[0] >= start))

    def reserved(self, prefix: bytes) -> Iterator[tuple[bytes, Stored]]:
        return iter(sorted(item for item in self._values.items() if item[0].startswith(prefix)))

    def close(self) -> None:
        return None


class _Consumer:
    """Reads a few records at a time."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._at: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    def assign(self, tps: Sequence[TopicPartition]) -> None:
        self._at = dict.fromkeys(tps, 0)

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._broker.first[tp.topic, tp.partition] for tp in tps}

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self._broker.end(tp.topic, tp.partition) for tp in tps}

    async def seek_to_beginning(self, tp: TopicPartition) -> None:
        self._at[tp] = 0

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    async def getmany(self, tp: TopicPartition, **_: Any) -> dict[TopicPartition, list[Record]]:
        log = self._broker.logs[tp.topic, tp.partition]
        got = [record for record in log if record.offset >= self._at[tp]][:3]
        self._at[tp] = got[-1].offset + 1 if got else self._broker.end(tp.topic, tp.partition)
        return {tp: got}


MAPPING = SETTINGS.mapping.id
SNAPSHOTS, LEDGER = SETTINGS.topics.snapshots, SETTINGS.topics.ledger


def changelog(broker: Broker, path: Path | None, kind: TableKind = TableKind.SNAPSHOTS, number: int = 0) -> Changelog:
    """One changelog partition with a store of its own under `path`; in memory without one."""
    topic = SNAPSHOTS if kind is TableKind.SNAPSHOTS else LEDGER
    store = MemoryStore() if path is None else Store(path / kind.value / str(number))
    return Changelog(kind, topic, number, store, broker, broker.consumer)  # type: ignore[arg-type]


def new_partition(broker: Broker, path: Path | None, *, mapping: str = MAPPING, number: int = 0) -> Partition:
    """Both tables of one partition; `path` is the data folder of the worker."""
    snaps = changelog(broker, path, TableKind.SNAPSHOTS, number)
    entries = changelog(broker, path, TableKind.LEDGER, number)
    return Partition(number, snaps, entries, mapping, 15.0)


async def owned_partition(broker: Broker, path: Path | None, **more: Any) -> Partition:
    """A partition as a running worker has it: taken over, scanned, owned."""
    partition = new_partition(broker, path, **more)
    await partition.take_over("worker")
    async for _ in partition.scan():
        pass
    partition.owned.set()
    return partition


# -- cidaas --------------------------------------------------------------------------------------------------------


@dataclass
class Tenant:
    """cidaas, as the delivery sees it: users by sub, every call noted, faults scripted."""

    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: (what, subs), in the order of the calls' starts.
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    #: answers a bulk call instead of the tenant: raises, or returns outcomes; None lets it go on.
    fault: Callable[[list[dict[str, Any]]], list[Outcome] | None] | None = None
    delete_fault: Callable[[str], DeleteOutcome | None] | None = None
    read_fault: CidaasError | None = None
    #: while it is clear, calls do not end.
    going: asyncio.Event = field(default_factory=asyncio.Event)
    #: subs of the calls that are under way, to find out two of one user.
    under_way: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    #: seconds after which a request takes effect whose caller was cancelled or heard nothing (C4, C5); None: never.
    late: float | None = None

    def __post_init__(self) -> None:
        self.going.set()

    async def _pass(self, subs: Sequence[str]) -> None:
        self.overlaps += [sub for sub in subs if sub in self.under_way]
        self.under_way += subs
        try:
            await asyncio.sleep(0.01)
            await self.going.wait()
        finally:
            for sub in subs:
                self.under_way.remove(sub)

    async def bulk(self, entities: list[dict[str, Any]]) -> list[Outcome]:
        subs = tuple(entity["sub"] for entity in entities)
        self.calls.append(("bulk", subs))
        try:
            await self._pass(subs)
            if self.fault is not None and (outcomes := self.fault(entities)) is not None:
                return outcomes
        except (asyncio.CancelledError, CidaasError) as error:
            self._later(error, lambda: [self.store(entity) for entity in entities])
            raise
        return [self.store(entity) for entity in entities]

    def _later(self, error: BaseException, effect: Callable[[], object]) -> None:
        unclear = not isinstance(error, CidaasError) or error.policy.settle
        if self.late is not None and unclear:
            asyncio.get_running_loop().call_later(self.late, effect)

    def store(self, entity: dict[str, Any]) -> Outcome:
        """Store one user, unless another one has the address."""
        sub, mail = entity["sub"], entity["email"].casefold()
        if any(other != sub and user["email"].casefold() == mail for other, user in self.users.items()):
            return failed("EMAIL_CONFLICT", sub)
        state = "UPDATED" if sub in self.users else "CREATED"
        self.users[sub] = entity
        return Outcome(OutcomeKind.DONE, state, sub)

    async def delete(self, sub: str, kind: str) -> DeleteOutcome:
        self.calls.append(("delete", (sub,)))
        try:
            await self._pass([sub])
            if self.delete_fault is not None and (outcome := self.delete_fault(sub)) is not None:
                return outcome
        except (asyncio.CancelledError, CidaasError) as error:
            self._later(error, lambda: self.users.pop(sub, None))
            raise
        self.users.pop(sub, None)
        return DeleteOutcome.GONE

    async def exists(self, sub: str) -> bool:
        self.calls.append(("exists", (sub,)))
        await asyncio.sleep(0.01)
        return sub in self.users

    async def email_of(self, sub: str) -> str | None:
        self.calls.append(("email", (sub,)))
        await asyncio.sleep(0.01)
        if self.read_fault is not None:
            raise self.read_fault
        return str(self.users[sub]["email"]) if sub in self.users else ""

    async def reachable(self) -> bool:
        return True

    async def aclose(self) -> None:
        return None

    def count(self, what: str) -> int:
        return sum(1 for kind, _ in self.calls if kind == what)


def failed(reason: str, sub: str = "") -> Outcome:
    """The outcome of a user that cidaas refuses."""
    from streams.cidaas.refusals import Reason

    return Outcome(OutcomeKind.FAILED, "FAILED", sub, "", Reason[reason])


# -- the pipeline ----------------------------------------------------------------------------------------------------


class Control:
    """The control topic, read back at once, and how far the source is."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}
        self.puts: list[str] = []
        self.source_lsn = self.source_after_commit = 1 << 60
        self.heartbeats = 0
        self.changed = asyncio.Event()
        #: while it is clear, what is written is not read back.
        self.reading = asyncio.Event()
        self.reading.set()

    async def put(self, key: str, body: dict[str, Any] | None) -> None:
        self.puts.append(key)
        await self.reading.wait()
        if body is None:
            self.state.pop(key, None)
        else:
            self.state[key] = orjson.loads(orjson.dumps(body))
        self.changed.set()

    async def read_to_end(self) -> None:
        await self.reading.wait()

    async def wait_changed(self) -> None:
        self.changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self.changed.wait()

    def paused(self, start: str) -> dict[str, Any] | None:
        entry: dict[str, Any] | None = self.state.get("delivery")
        return entry if entry and entry.get("paused", True) else None


class Legacy:
    """The legacy database: user rows by id; `away` raises."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.away: Exception | None = None
        self.looks = 0
        self.expected = ""

    async def users(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        self.looks += 1
        if self.away is not None:
            raise self.away
        return {user_id: self.rows[user_id] for user_id in ids if user_id in self.rows}


class Pipeline:
    """What the delivery and the brake ask of the pipeline."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.control, self.legacy = Control(), Legacy()
        self.runners: dict[int, Any] = {}
        self.sent: list[tuple[bytes, bytes]] = []
        self.crashed: BaseException | None = None
        self.is_behind = False
        #: where the partitions of the source end, and those in which not all of that is joined.
        self.source_ends: dict[int, int] = {}
        self.behind_ones: set[int] = set()
        self.live = True
        self.member = True
        self.delivery: Any = None

    def own(self, partition: Partition) -> None:
        self.runners[partition.number] = SimpleNamespace(partition=partition)

    def partitions(self) -> list[Partition]:
        return Real.partitions(self)  # type: ignore[arg-type]

    def partition_of(self, key: bytes) -> int:
        return 0

    def behind(self, partition: Partition) -> bool:
        return self.is_behind

    async def ends(self, numbers: Iterable[int]) -> dict[int, int]:
        return {number: self.source_ends.get(number, 1 << 60) for number in numbers}

    async def uncounted(self, ends: dict[int, int]) -> list[int]:
        return sorted(self.behind_ones)

    def source_is_live(self) -> bool:
        return self.live

    async def still_member(self) -> bool:
        return self.member

    async def send(self, key: bytes, value: bytes) -> None:
        self.sent.append((key, value))

    async def crash(self, error: BaseException) -> None:
        self.crashed = error
