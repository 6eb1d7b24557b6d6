"""F16: state that is deleted, damaged, old, copied, swapped, somebody else's, without disk, or gone from Kafka.

It is rebuilt from Kafka, or the worker refuses to start in one sentence; it never starts from half a state.
"""

from __future__ import annotations

import re
import shutil
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import CommitFailedError, PolicyViolationError
from aiokafka.structs import OffsetAndMetadata

from demo.stack.capture import settings_of
from demo.stack.kafka import run_async
from streams.source.topics import topic_table
from tests.faults.kit.disk import SmallDisk
from tests.integration.pipeline import configured
from tests.integration.waiting import until
from tests.integration.workers import TRACEBACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.kit.arena import Arena
    from tests.integration.workers import Worker

pytestmark = pytest.mark.fault("F16")

PARTITIONS = 12


def folder(arena: Arena, name: str = "one") -> Path:
    return arena.sync.folder / f"data-{name}"


def tables(arena: Arena, name: str = "one") -> Path:
    return folder(arena, name) / "tables"


def refused(worker: Worker, *words: str) -> None:
    """Exit code 2, one sentence with these words, no traceback since its last start."""
    assert worker.wait(60) == 2, worker.last_lines()
    last = worker.log().rpartition("+ƒaµS†")[2]
    assert TRACEBACK not in last, last
    said = [line for line in last.splitlines() if line.startswith("refused:")]
    assert said, last
    for word in words:
        assert re.search(word, said[0]), said[0]


def back(arena: Arena) -> None:
    began = time.monotonic()
    arena.sync.launch()
    arena.recovered(since=began)


# -- the local state -------------------------------------------------------------------------------------------------


def whole_folder(arena: Arena) -> None:
    shutil.rmtree(folder(arena))


def all_tables(arena: Arena) -> None:
    shutil.rmtree(tables(arena))


def one_partition(table: str, arena: Arena) -> None:
    shutil.rmtree(tables(arena) / table / str(arena.rng.randrange(PARTITIONS)))


def identity_only(arena: Arena) -> None:
    (folder(arena) / "identity.json").unlink()


def torn_log(arena: Arena) -> None:
    """What a power loss leaves: the newest writes are not on the disk."""
    for log in tables(arena).rglob("*.log"):
        with log.open("r+b") as file:
            file.truncate(log.stat().st_size // 2)


DELETED: dict[str, Callable[[Arena], None]] = {
    "the whole folder": whole_folder,
    "both tables": all_tables,
    "one partition of snapshots": partial(one_partition, "snapshots"),
    "one partition of the ledger": partial(one_partition, "ledger"),
    "the identity": identity_only,
    "the newest writes": torn_log,
}


def test_local_state_deleted(arena: Arena) -> None:
    with arena.load() as load:
        for delete in DELETED.values():
            load.more(arena.rng.randint(60, 180))
            arena.strike(arena.sync.worker.kill)
            delete(arena)
            back(arena)
    arena.judge()


def test_local_state_damaged(arena: Arena) -> None:
    """Files that RocksDB cannot open: refused, naming the folder to empty."""
    with arena.load() as load:
        for pattern in ("CURRENT", "MANIFEST-*", "identity.json"):
            load.more(arena.rng.randint(60, 180))
            arena.strike(arena.sync.worker.kill)
            victim = arena.rng.choice(sorted(folder(arena).rglob(pattern)))
            victim.write_bytes(b"\x00kaputt\xff" * 40)
            refused(arena.sync.launch(), "damaged", "empty")
            shutil.rmtree(folder(arena))
            back(arena)
    arena.judge()


def test_local_state_of_another_worker_and_an_old_copy(arena: Arena) -> None:
    sync = arena.sync
    sync.launch("two")
    until(lambda: shared(arena), "both workers share the partitions", 60)
    old = sync.folder / "old"

    def swap() -> None:
        folder(arena).rename(sync.folder / "aside")
        folder(arena, "two").rename(folder(arena))
        (sync.folder / "aside").rename(folder(arena, "two"))

    def copy() -> None:
        shutil.rmtree(folder(arena, "two"))
        shutil.copytree(folder(arena), folder(arena, "two"))

    def restore() -> None:
        shutil.rmtree(folder(arena))
        old.rename(folder(arena))

    with arena.load() as load:
        for change in (swap, copy, restore):
            load.more(arena.rng.randint(60, 180))
            arena.strike(lambda: [worker.kill() for worker in sync.alive()])
            if not old.exists():
                shutil.copytree(folder(arena), old)
            change()
            began = time.monotonic()
            for name in ("one", "two"):
                sync.launch(name)
            arena.recovered(since=began)
            until(lambda: shared(arena), "both workers share the partitions", 60)
    arena.judge()


def shared(arena: Arena) -> bool:
    owned = [int(worker.status().get("owned", 0)) for worker in arena.sync.alive()]
    return len(owned) == 2 and sum(owned) == PARTITIONS and min(owned) > 0


# -- what is refused, while another worker goes on -------------------------------------------------------------------


def test_what_is_not_ours(arena: Arena) -> None:
    """Workers that are started wrongly beside the right one are refused, and do no harm."""
    sync = arena.sync
    ours = sync.worker
    other_app, other_number = sync.folder / "other-app.toml", sync.folder / "other-number.toml"
    other_app.write_text(configured(sync._config | {"pipeline.app_id": '"other-sync"'}))
    other_number.write_text(configured(sync._config | {"pipeline.partitions": "6"}))
    used = sync.folder / "data-used"

    wrong: list[tuple[dict[str, str], tuple[str, ...]]] = [
        ({"APP_DATADIR": ours.env["APP_DATADIR"]}, ("in use by another worker", "APP_DATADIR")),
        ({"CIDAAS_BASE_URL": "http://127.0.0.1:9"}, ("another place", "cidaas base URL", "app_id")),
        ({"PIPELINE_CONFIG": str(other_app), "APP_DATADIR": str(used)}, ("app_id", "APP_DATADIR")),
        ({"PIPELINE_CONFIG": str(other_number)}, ("partitions is 12, expected 6",)),
    ]
    with arena.load() as load:
        used.mkdir()
        shutil.copy(folder(arena) / "identity.json", used)
        for env, words in wrong:
            load.more(60)
            arena.strike(partial(sync.launch, "astray", **env))
            refused(sync.workers["astray"], *words)
            arena.recovered()
            assert ours.alive
    arena.judge()


@pytest.fixture
def disks() -> Iterator[list[SmallDisk]]:
    """Small disks of a test; unmounted at its end."""
    made: list[SmallDisk] = []
    yield made
    for disk in made:
        disk.unmount()


def test_its_disk_is_full(arena: Arena, disks: list[SmallDisk]) -> None:
    """A worker that cannot write its copy ends and says so; with room again nothing is missing."""
    sync = arena.sync
    disk = SmallDisk(sync.folder / "small", 96)
    disks.append(disk)
    sync.stop()
    launch = partial(sync.launch, APP_DATADIR=str(disk.folder))
    launch()
    until(lambda: sync.worker.is_ready(), "the worker has its state on the small disk", 60)
    with arena.load() as load:
        for _ in arena.strikes(load):
            worker = sync.worker
            arena.strike(disk.fill)
            assert worker.wait(90) == 1, worker.last_lines()
            assert re.search(r"No space left|the worker stops", worker.last_lines()), worker.last_lines()
            load.more(60)
            disk.make_room()
            began = time.monotonic()
            launch()
            arena.recovered(since=began)
        sync.worker.kill()
        sync.launch()  # on the folder that all tests use: its copy is older
        arena.recovered()
    arena.judge()


# -- Kafka has lost it -----------------------------------------------------------------------------------------------


def test_changelogs_truncated_and_deleted(ruins: Callable[..., Arena]) -> None:
    """Each is refused by who needs what is missing; what the sentence asks for brings everything back."""
    arena = ruins(examples=200, plain=range(2_001, 2_301))
    snapshots, ledger = (f"{arena.sync.app_id}-{table}-changelog" for table in ("snapshots", "ledger"))
    with arena.load() as load:
        for topic, words, harm in (
            (ledger, ("begins at", "beginning was deleted"), truncate),
            (snapshots, ("begins at", "beginning was deleted"), truncate),
            (ledger, ("is empty", "was deleted"), delete),
            (snapshots, ("is empty", "was deleted"), delete),
        ):
            load.more(arena.rng.randint(60, 180))
            arena.strike(arena.sync.worker.kill)
            harm(arena, topic)
            shutil.rmtree(folder(arena))
            for _ in range(2):  # a second start must not find what the first one has written
                refused(arena.sync.launch(), topic, *words, "APP_DATADIR")
            started_over(arena, snapshots, ledger)
            back(arena)
    with_folder(arena, ledger)
    arena.judge()


def with_folder(arena: Arena, topic: str) -> None:
    """The local copy has all of a deleted topic: refused as well, because no other worker could go on."""
    arena.sync.worker.kill()
    delete(arena, topic)
    refused(arena.sync.launch(), topic)
    started_over(arena, topic, topic.replace("ledger", "snapshots"))
    back(arena)


def test_source_topic_made_anew(ruins: Callable[..., Arena]) -> None:
    arena = ruins(examples=200, plain=range(2_001, 2_301))
    with arena.load() as load:
        load.more(60)
        arena.strike(arena.sync.worker.kill)
    delete(arena, "legacy.identity")
    for _ in range(2):
        refused(arena.sync.launch(), "another place", "legacy.identity")
    shutil.rmtree(folder(arena))
    refused(arena.sync.launch(), "another place", "legacy.identity")
    arena.result.passed = True


def truncate(arena: Arena, topic: str) -> None:
    """Delete the older half of each partition; the broker does it only to a topic whose policy lets it."""
    settings = next(one.settings for one in topic_table(settings_of(arena.stack.layout)) if one.name == topic)

    async def half() -> None:
        bootstrap = arena.sync.env["KAFKA_BOOTSTRAP_SERVERS"]
        tps = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await consumer.start()
        await admin.start()
        try:
            first, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
            halves = {tp: RecordsToDelete((first[tp] + ends[tp]) // 2) for tp in tps}
            with pytest.raises(PolicyViolationError):
                await admin.delete_records(halves)
            for policy in ("compact,delete", "compact"):
                changed = {**settings, "cleanup.policy": policy}
                await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, changed)])
                if policy != "compact":
                    await admin.delete_records(halves)
        finally:
            await admin.close()
            await consumer.stop()

    run_async(half())


def delete(arena: Arena, *topics: str) -> None:
    """Delete topics, and make them anew as `topics` or the next start would."""

    async def left(wanted: list[str]) -> set[str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=arena.sync.env["KAFKA_BOOTSTRAP_SERVERS"])
        await admin.start()
        try:
            if wanted:
                await admin.delete_topics(wanted)
            return set(topics) & set(await admin.list_topics())
        finally:
            await admin.close()

    run_async(left(list(topics)))
    until(lambda: not run_async(left([])), "the broker has deleted the topics")
    said = arena.sync.command("topics", "--yes")
    assert said.code == 0, said


def started_over(arena: Arena, snapshots: str, ledger: str) -> None:
    """What the sentence asks for: both changelogs made anew, folders emptied, the group back at the beginning."""
    delete(arena, snapshots, ledger)
    shutil.rmtree(folder(arena), ignore_errors=True)

    async def rewind() -> bool:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=arena.sync.env["KAFKA_BOOTSTRAP_SERVERS"], group_id=arena.sync.app_id,
            enable_auto_commit=False,
        )  # fmt: skip
        await consumer.start()
        try:
            tps = [TopicPartition("legacy.identity", number) for number in range(PARTITIONS)]
            consumer.assign(tps)
            await consumer.commit({tp: OffsetAndMetadata(0, "") for tp in tps})
        except CommitFailedError:
            return False  # the killed worker still counts as a member
        finally:
            await consumer.stop()
        return True

    until(lambda: run_async(rewind()), "the group is empty, and goes back to the beginning")
