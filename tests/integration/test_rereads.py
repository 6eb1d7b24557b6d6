"""What did not travel with its record is read again from the source (M4), and so are users of unreadable ones (M7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiokafka import AIOKafkaProducer

from demo.stack.kafka import run_async
from tests.integration.legacy import email_of
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


def test_a_large_credential_that_moves_is_read_again_by_itself(toasted: Pipeline) -> None:
    sync = toasted
    sync.legacy.sign_up(17_221, 17_222, word="own")
    credential = sync.legacy.add_large_password(17_221, "large")
    until(lambda: sync.cidaas.login(email_of(17_221), "large"), "the large row's password")
    done = sync.worker.status()["rereads"]["done"]
    sync.legacy.run("UPDATE credentials SET user_id = 17222, updated_at = clock_timestamp() WHERE id = %s", credential)
    until(lambda: sync.cidaas.login(email_of(17_222), "large"), "the new user has it", 60)
    until(lambda: sync.cidaas.login(email_of(17_221), "own"), "the old user is back at its own")
    assert sync.worker.status()["rereads"]["done"] > done, "it was set aside and read again"
    sync.sentence(17_222, "in sync")
    assert sync.worker.count("set_aside") == 0


def test_changes_after_a_reread_keep_their_columns(sync: Pipeline) -> None:
    """The snapshot refreshes Debezium's picture of the table, while the stream still has the published columns."""
    sync.legacy.sign_up(17_301, created_at="2024-03-04T05:06:07.5Z")
    sync.legacy.sign_up(17_302)
    for user in (17_301, 17_302):
        sync.cidaas.await_user(user)  # the stream has announced the table
    before = sync.cidaas.entity(17_301)
    done = sync.worker.status()["rereads"]["done"]
    produce(sync, b"17301", b"not json")
    until(lambda: sync.worker.status()["rereads"]["done"] > done, "read again", 60)
    sync.sentence(17_301, "in sync")
    assert sync.cidaas.entity(17_301) == before, "read again, its values are written as Debezium writes them"
    sync.legacy.run("UPDATE users SET given_name = 'Ada', family_name = 'Ende', city = 'Ulm' WHERE id = 17302")
    sync.legacy.sign_up(17_303, given_name="Neu", family_name="Hinterher")
    for user, names in ((17_302, ("Ada", "Ende")), (17_303, ("Neu", "Hinterher"))):
        wanted = until(lambda user=user: len(sync.cidaas.states(user)) > (user == 17_302), "it arrived")
        assert wanted
        entity = sync.cidaas.entity(user) or {}
        assert (entity["given_name"], entity["family_name"]) == names
        assert not entity["username"]


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
    for restart in (False, True):
        if restart:  # which forgets it not
            sync.stop()
            sync.ensure()
        said = sync.command("status")
        assert said.code == 1
        assert "2 records without a readable key" in said.out
