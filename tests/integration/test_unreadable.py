"""Records that cannot be read: their users are read again, the partition goes on, and nothing is forgotten (M7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from demo.stack.kafka import run_async
from tests.integration.waiting import until

if TYPE_CHECKING:
    from tests.integration.pipeline import Pipeline


def produce(sync: Pipeline, key: bytes | None, value: bytes | None, partition: int | None = None) -> tuple[int, int]:
    """Write a record that Debezium would not; return where it stands."""

    async def send() -> tuple[int, int]:
        producer = AIOKafkaProducer(bootstrap_servers=sync.env["KAFKA_BOOTSTRAP_SERVERS"])
        await producer.start()
        try:
            meta = await producer.send_and_wait("legacy.identity", value, key=key, partition=partition)
        finally:
            await producer.stop()
        return meta.partition, meta.offset

    return run_async(send())


def test_users_of_unreadable_records_are_read_again_by_themselves(sync: Pipeline) -> None:
    users = (17_001, 17_002, 17_003)
    sync.legacy.sign_up(*users, 17_004)
    for user in (*users, 17_004):
        sync.cidaas.await_user(user)
    done = sync.worker.status()["rereads"]["done"]
    where = produce(sync, b"17001", b"not json")
    produce(sync, b"17002", b'{"id": 17002, "__op": "u", "__source_table": "users"}')
    produce(sync, b"17003", None)
    produce(sync, b"17099", b"[]")  # of a user that does not exist
    for user in (*users, 17_004):
        sync.legacy.name(user, "Danach")
    for user in (*users, 17_004):
        sync.cidaas.await_user(user, lambda entity: entity["given_name"] == "Danach", 60)
    assert sync.worker.status()["rereads"]["done"] >= done + len(users)
    assert f"partition={where[0]} offset={where[1]}" in sync.worker.log(), "the position is kept"
    until(lambda: sync.worker.count("set_aside") == 0, "nobody is set aside any more", 60)
    for user in users:
        sync.sentence(user, "in sync")
    assert sync.cidaas.states(17_099) == []
    assert sync.command("status").code == 0, "it has cured itself"


def test_a_record_without_a_readable_key_keeps_status_red(sync: Pipeline) -> None:
    places = [produce(sync, None, b"not json", 5), produce(sync, b"\xff\xfe", b"{}", 5)]
    sync.legacy.sign_up(*range(17_101, 17_131))
    for user in range(17_101, 17_131):  # in every partition
        sync.cidaas.await_user(user)
    for partition, offset in places:
        assert f"topic=legacy.identity partition={partition} offset={offset}" in sync.worker.log()
    for _ in range(2):
        said = sync.command("status")
        assert said.code == 1
        assert "2 records without a readable key" in said.out
        sync.stop()
        sync.ensure()  # a restart does not forget it
