"""Kafka Connect whose REST interface demands a user and a password: commands log in, and `doctor` says if not."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg
import pytest

from demo.stack import kafka, maven, postgres
from demo.stack.jars import POM, jars
from demo.stack.places import CONNECTORS, ROOT, cache_root
from tests.integration.pipeline import Pipeline
from tests.integration.waiting import until
from tests.integration.workers import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.stack import Stack

HERE = Path(__file__).parent / "basic_auth"
USER, PASSWORD = "cidaas-sync", "s3cr=t: pass"
EXTENSION = "org.apache.kafka.connect.rest.basic.auth.extension"
#: of this pipeline: app id, topics, slot and publication, table.
NAME, SLOT, TABLE = "guarded", "guarded_sync", "guarded_accounts"


def version(pom: Path) -> str:
    return re.findall(r"<kafka.version>(.+?)</kafka.version>", pom.read_text())[0]


def properties(folder: Path) -> Path:
    """A worker of a group of its own beside the stack's, whose doors have a lock."""
    text = (CONNECTORS / "connect.properties").read_text().replace("cidaas-sync-connect", "guarded-connect")
    file = folder / "connect.properties"
    file.write_text(f"{text}\nrest.extension.classes={EXTENSION}.BasicAuthSecurityRestExtension\n")
    (folder / "users").write_text(f"{USER}={PASSWORD}\n")
    login = f'{EXTENSION}.PropertyFileLoginModule required file="{folder}/users";'
    (folder / "jaas.conf").write_text(f"KafkaConnect {{ {login} }};\n")
    return file


@pytest.fixture
def guarded(stack: Stack, tmp_path: Path) -> Iterator[Pipeline]:
    """A pipeline of one table, and its Kafka Connect."""
    assert version(HERE / "pom.xml") == version(POM)
    extra = maven.filled(
        cache_root() / f"connect-basic-auth-{version(POM)}",
        HERE / "pom.xml",
        ("dependency:copy-dependencies@libs",),
        doing="fetching Connect's extension for passwords",
        could_not="fetch it",
    )
    pipeline, port = Pipeline(stack, tmp_path, NAME), next(free_ports)
    readme = (ROOT / "README.md").read_text().split("### 4. Say what your tables mean")[1]
    config = re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[0]
    config = config.replace("public.accounts", f"public.{TABLE}").replace("shop_sync", SLOT)
    pipeline.config_file.write_text(config.replace("shop", NAME))
    pipeline.env["CONNECT_URL"] = f"http://127.0.0.1:{port}"
    run(stack, f"CREATE TABLE {TABLE} (uid uuid PRIMARY KEY DEFAULT gen_random_uuid(), mail text NOT NULL, pw text, "
        "first_name text, last_name text, tel text, blocked boolean NOT NULL DEFAULT false, removed_at timestamptz, "
        "last_seen timestamptz)")  # fmt: skip
    command = kafka._java("org.apache.kafka.connect.cli.ConnectDistributed", "256m", str(properties(tmp_path)))
    command.insert(1, f"-Djava.security.auth.login.config={tmp_path}/jaas.conf")
    command[command.index("-cp") + 1] += f":{extra}/libs/*"
    environment = kafka.connect_environment(stack.layout) | {"CONNECT_REST_PORT": str(port)}
    with (tmp_path / "connect.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=jars(), env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: answers(pipeline) == 200, lambda: (tmp_path / "connect.log").read_text()[-3000:], 120)
        yield pipeline
    finally:
        process.terminate()
        process.wait(30)
        drop(stack)


def answers(pipeline: Pipeline) -> int:
    """The HTTP status of the group's list of connectors, with the right password."""
    url = f"{pipeline.env['CONNECT_URL']}/connectors"
    return httpx.get(url, auth=(USER, PASSWORD), trust_env=False).status_code


def run(stack: Stack, statement: str) -> None:
    with postgres.connect(stack.layout) as admin:
        admin.execute(statement.encode())


def drop(stack: Stack) -> None:
    """Leave the shared database as it was."""
    with postgres.connect(stack.layout) as admin:
        admin.execute(f"DROP TABLE IF EXISTS {TABLE}".encode())
        admin.execute(f"DROP PUBLICATION IF EXISTS {SLOT}".encode())

        def dropped() -> bool:
            query = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s"
            try:
                admin.execute(query, [SLOT])
            except psycopg.errors.ObjectInUse:
                return False
            return True

        until(dropped, "the slot can be dropped")


def faults(pipeline: Pipeline, **env: str) -> dict[str, str]:
    said = pipeline.command("doctor", "--json", **env)
    assert PASSWORD not in said.text
    checks = [check for place in httpx.Response(200, text=said.out).json()["places"] for check in place["checks"]]
    found = {check["slug"]: check["what"] for check in checks if check["state"] == "fault"}
    assert said.code == (1 if found else 0), said
    return found


def test_commands_log_in_and_what_is_refused_is_said(guarded: Pipeline, tmp_path: Path) -> None:
    right = {"CONNECT_USER": USER, "CONNECT_PASSWORD": PASSWORD}
    wrong = {"CONNECT_USER": USER, "CONNECT_PASSWORD": "wr0ng"}
    for words in (("topics", "--yes"), ("cdc", "enable", "--yes"), ("connector", "apply", "--yes")):
        said = guarded.command(*words, **right)
        assert said.code == 0, said
    assert guarded.command("connector", "status", **right).code == 0
    assert faults(guarded, **right) == {}

    (tmp_path / "secret").write_text(f"{PASSWORD}\n")
    assert (
        guarded.command("connector", "status", CONNECT_USER=USER, CONNECT_PASSWORD_FILE=f"{tmp_path}/secret").code == 0
    )

    guarded.command("connector", "status", **wrong).refused(1, r"password of CONNECT_USER cidaas-sync \(401\)", "Set ")
    guarded.command("connector", "apply", "--yes", **wrong).refused(1, r"\(401\)", "CONNECT_PASSWORD")
    guarded.command("connector", "status").refused(1, r"demands a user and a password \(401\)", "Set CONNECT_USER")
    found = faults(guarded, **wrong)
    assert list(found) == ["connect_login"] and "does not take the password" in found["connect_login"]
    assert list(faults(guarded)) == ["connect_login"]
    said = guarded.command("status", **wrong)
    assert said.code == 1 and "wr0ng" not in said.text
    assert guarded.command("connector", "remove", "--yes", **right).code == 0
