"""`cutover finish` on the real stack: refused, shown, killed twice, ended; then an independent look finds nothing.

On a pipeline of its own, with its own tables, roles, connector, slot and topics: nothing of the others is touched.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
import zipfile
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from demo.stack import postgres
from demo.stack.places import ROOT
from streams.control import DELIVERY
from streams.cutover import record
from streams.cutover.record import GO, Marker
from streams.kafka import read_until
from streams.offline import Controls
from streams.settings import load
from tests.integration.legacy import hashed
from tests.integration.pipeline import take_back
from tests.integration.topics import topics_of
from tests.integration.waiting import until
from tests.integration.workers import FAUST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from demo.stack import Stack
    from tests.integration.pipeline import Pipeline

NAME = "finishing"
TABLES = "finishing_users, finishing_logins"
CONFIG = f"""
[pipeline]
app_id = "{NAME}"
[source]
prefix = "{NAME}"
name = "{NAME}"
role = "{NAME}_cdc"
read_role = "{NAME}_read"
[tables.users]
name = "public.finishing_users"
id = "id"
[tables.credentials]
name = "public.finishing_logins"
id = "id"
user_id = "member"
secret = "hash"
algorithm_constant = "bcrypt"
[mapping.fields]
email = "email"
[cidaas]
sub_namespace = "7cf6a98b-9ea7-4ea9-a363-c4461cc5abcc"
[cutover]
archive = "kept"
"""
SCHEMA = """
CREATE TABLE finishing_users (id bigint PRIMARY KEY, email text);
CREATE TABLE finishing_logins (id bigint PRIMARY KEY, member bigint NOT NULL, hash text);
INSERT INTO finishing_users VALUES (1, 'ada@example.org'), (2, 'kanarie@example.org'), (3, 'karl@example.org');
"""
#: What may stand nowhere afterwards: an address, and a hash.
CANARY = ("kanarie@example.org", "$2b$04$" + ("KANARIE" * 8)[:53])
CERTIFICATE = {"at": 1_800_000_000.0, "counts": {"confirmed": 3}, "hmac": "5e5e"}


class Shop:
    """The pipeline, what it reads, and how others see what is left of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.stack = pipeline, pipeline.stack
        self.kept = pipeline.folder / "kept"
        file = pipeline.folder / "finishing.toml"
        file.write_text(CONFIG)
        reader = urlsplit(pipeline.env["LEGACY_DATABASE_URL"])
        url = reader._replace(netloc=f"{NAME}_read:its-own-word@{reader.netloc.rpartition('@')[2]}").geturl()
        pipeline.env |= {"PIPELINE_CONFIG": str(file), "DELIVERY_START": "running", "LEGACY_DATABASE_URL": url}
        self.settings = load(file, pipeline.env)

    def sql(self, statement: str) -> Any:
        """One statement, or several; the rows of the last one, if it has any."""
        with postgres.connect(self.stack.layout) as admin:
            cursor = admin.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def go(self) -> None:
        """What a freeze leaves behind it: delivery paused for good, and the state with its certificate."""

        async def write() -> None:
            async with Controls(self.settings) as control:
                await control.put(DELIVERY, {"paused": True, "why": "go-live: GO", "who": "test", "at": time.time()})
                await record.write(control, GO, marker=Marker("test", 1), certificate=CERTIFICATE)

        asyncio.run(write())

    def topics(self) -> set[str]:
        """Those of this pipeline."""
        return {name for name in topics_of(self.stack) if NAME in name}

    def in_database(self) -> dict[str, Any]:
        """What `cdc enable` and the connector make there."""
        asked = {
            "slots": f"SELECT slot_name FROM pg_replication_slots WHERE slot_name = '{NAME}'",
            "publications": f"SELECT pubname FROM pg_publication WHERE pubname = '{NAME}'",
            "roles": f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{NAME}%'",
            "indexes": "SELECT indexname FROM pg_indexes WHERE tablename = 'finishing_logins' "
            "AND indexname <> 'finishing_logins_pkey'",
            "identities": "SELECT relname FROM pg_class WHERE relname LIKE 'finishing_%' AND relreplident = 'i'",
        }
        return {name: [row[0] for row in self.sql(query)] for name, query in asked.items()}

    def connector(self) -> int:
        """Kafka Connect's answer: 200 or 404."""
        return httpx.get(f"{self.stack.env['CONNECT_URL']}/connectors/{NAME}", trust_env=False).status_code

    def noted(self) -> dict[str, Any]:
        """The record outside Kafka."""
        body: dict[str, Any] = orjson.loads((self.kept / "finished.json").read_bytes())
        return body

    def killed_behind(self, step: str) -> list[str]:
        """Run it, and kill it as soon as it says that this step is done; what it has said."""
        said = []
        command, env = [*FAUST, "cutover", "finish", "--yes"], self.pipeline.env
        with subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if line.startswith(f"{step}:"):
                    process.kill()
                    break
            else:
                raise AssertionError(f"it ended without the step {step}: {''.join(said)}")
        return [line.partition(":")[0] for line in said]


@pytest.fixture
def shop(stack: Stack, fresh: Callable[[str], Pipeline]) -> Iterator[Shop]:
    opened = Shop(fresh(NAME))
    try:
        opened.sql(SCHEMA)
        for user in (1, 2, 3):
            secret = CANARY[1] if user == 2 else hashed("start")
            opened.sql(f"INSERT INTO finishing_logins VALUES ({user}, {user}, '{secret}')")
        yield opened
    finally:
        opened.pipeline.stop()
        take_back(stack, NAME, TABLES)
        for role in opened.in_database()["roles"]:
            opened.sql(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_the_end_is_refused_shown_killed_and_reached(shop: Shop) -> None:
    pipeline = shop.pipeline
    for words in (("cdc", "enable", "--yes"), ("topics", "--yes"), ("connector", "apply", "--yes")):
        said = pipeline.command(*words)
        assert said.code == 0, said
    worker = pipeline.start()
    for user in (1, 2, 3):
        pipeline.cidaas.await_user(user, seconds=60)
    until(lambda: worker.count("in_sync") == 3, "all are confirmed")

    pipeline.command("cutover", "finish").refused(2, "there is no GO to finish after: there was no freeze")
    shop.go()
    for words in ((), ("--yes",)):
        pipeline.command("cutover", "finish", *words).refused(2, "workers run still", "Stop and disable them all")
    # While nobody may send any more, the shop writes on: it is kept with the archive that this one was not sent.
    shop.sql("UPDATE finishing_users SET email = 'late@example.org' WHERE id = 3")
    until(lambda: worker.count("pending") == 1, "the late write has come")
    assert worker.end() == 0
    assert topics_with_canary(shop) == {f"{NAME}.identity", f"{NAME}-snapshots-changelog"}
    before, there = shop.in_database(), shop.topics()
    assert all(before.values()) and len(there) == 9, (before, there)

    until(lambda: pipeline.command("cutover", "finish").code == 0, "the worker has left the group")
    body = pipeline.json("cutover", "finish")
    assert body["changed"] is False and len(body["would"]) == 8, body
    assert (body["users"], body["by_hand"]) == ({"in_sync": 2, "pending": 1}, [])
    assert (shop.in_database(), shop.topics(), shop.connector(), shop.kept.exists()) == (before, there, 200, False)

    assert shop.killed_behind("connector")[:2] == ["note", "connector"]
    assert (shop.noted()["state"], shop.connector()) == ("finishing", 404)
    assert pipeline.launch("one").wait(60) == 2, "it must not start any more"
    assert "refused: this pipeline is being taken down: `cutover finish` of" in worker.log()
    elsewhere = pipeline.launch("elsewhere", PIPELINE_CONFIG=str(without_record(shop)))
    assert elsewhere.wait(60) == 2, "another machine does not see the file, but the control topic"
    assert "is being taken down" in elsewhere.log()

    assert "note" not in shop.killed_behind("topics")
    said = pipeline.command("cutover", "finish", "--yes", seconds=120)
    assert said.code == 0 and "finished" in said.out and said.err == "", said
    assert_nothing_left(shop)
    assert_kept(shop)
    assert (topics_with_canary(shop), files_with_canary(shop)) == (set(), set())

    assert pipeline.launch("one").wait(60) == 2
    assert "refused: this pipeline has ended: `cutover finish` of" in worker.log()
    assert_nothing_left(shop)
    for words in ((), ("--yes",)):
        said = pipeline.command("cutover", "finish", *words, KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1")
        assert said.code == 0 and "finished already, at" in said.out and said.err == "", said


def files_with_canary(shop: Shop) -> set[str]:
    """Of all logs of the stack, and of everything that the pipeline has on disk."""
    files = [*shop.stack.layout.run_dir.glob("*.log"), *shop.pipeline.folder.rglob("*")]
    return {path.name for path in files if path.is_file() and has_canary(path.read_bytes())}


def topics_with_canary(shop: Shop) -> set[str]:
    """Of all topics of the whole broker."""
    there = topics_of(shop.stack)

    async def read() -> set[str]:
        consumer = AIOKafkaConsumer(bootstrap_servers=shop.stack.env["KAFKA_BOOTSTRAP_SERVERS"], group_id=None)
        await consumer.start()
        try:
            names = [name for name in there if not name.startswith("__consumer")]
            tps = [TopicPartition(name, number) for name in names for number in range(there[name])]
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            await consumer.seek_to_beginning(*tps)
            where = set[str]()
            async for tp, batch in read_until(consumer, ends):
                if any(has_canary((one.key or b"") + (one.value or b"")) for one in batch):
                    where.add(tp.topic)
            return where
        finally:
            await consumer.stop()

    return asyncio.run(read())


def has_canary(raw: bytes) -> bool:
    return any(one.encode() in raw for one in CANARY)


def without_record(shop: Shop) -> Any:
    """The same file on a machine that has no such archive folder."""
    path = shop.pipeline.folder / "elsewhere.toml"
    path.write_text(CONFIG.replace('archive = "kept"', 'archive = "of-another-machine"'))
    return path


def assert_nothing_left(shop: Shop) -> None:
    """By an independent look."""
    assert shop.in_database() == {name: [] for name in shop.in_database()}
    assert (shop.topics(), shop.connector()) == (set(), 404)
    assert not list(shop.pipeline.folder.glob("data-*/tables")), "local state"
    assert not (shop.pipeline.folder / "data-one").exists()
    shop.sql("UPDATE finishing_logins SET hash = hash; DELETE FROM finishing_logins WHERE id = 2")


def assert_kept(shop: Shop) -> None:
    """One archive with everybody in it, and no secret."""
    noted = shop.noted()
    assert noted["state"] == "finished" and not any(noted["left"].values()), noted
    assert {path.name for path in shop.kept.iterdir()} == {"finished.json", noted["archive"]["file"]}
    with zipfile.ZipFile(shop.kept / noted["archive"]["file"]) as pack:
        texts = {name: pack.read(name).decode() for name in pack.namelist()}
    users = [orjson.loads(line) for line in texts["ledger.jsonl"].splitlines()]
    situations = {one["user"]: one["situation"] for one in users}
    assert situations == {"1": "in_sync", "2": "in_sync", "3": "pending"}
    assert {one["ledger"]["sub"] for one in users} == {shop.pipeline.cidaas.sub(user) for user in (1, 2, 3)}
    assert orjson.loads(texts["certificate.json"]) == CERTIFICATE
    audited = [orjson.loads(line)["command"] for line in texts["audit.jsonl"].splitlines()]
    assert {"connector apply", "worker", "cutover finish"} <= set(audited)
    everything = "".join([*texts.values(), (shop.kept / "finished.json").read_text()])
    env = shop.pipeline.env
    secrets = [env[name] for name in ("CIDAAS_CLIENT_SECRET", "CDC_DEBEZIUM_PASSWORD", "LEGACY_ADMIN_URL")]
    secrets += ["its-own-word", hashed("start"), "@example.org", *CANARY]
    assert [one for one in secrets if one in everything] == []
