"""A new user who follows only the README reaches a synced user of a table with other column names."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import httpx
import psycopg

from demo.stack import postgres
from demo.stack.places import ROOT
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.stack import Stack
    from tests.integration.pipeline import Pipeline

README = (ROOT / "README.md").read_text()
FAUST = "faust -A streams.app "


def section(heading: str) -> str:
    _, found, rest = README.partition(f"\n### {heading}\n")
    assert found, heading
    return re.split(r"\n##+ ", rest)[0]


def blocks(heading: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", section(heading), re.MULTILINE | re.DOTALL)


def calls(heading: str) -> list[list[str]]:
    """The commands of a step, as they are written there."""
    lines = "".join(blocks(heading, "sh")).splitlines()
    return [shlex.split(line.split(FAUST)[1]) for line in lines if line.startswith(FAUST) and " > " not in line]


def follow(pipeline: Pipeline, heading: str) -> None:
    for words in calls(heading):
        said = pipeline.command(*words)
        assert said.code == 0, f"{words}: {said}"


def ada(pipeline: Pipeline) -> str:
    said = pipeline.command("user", "--email", "ada@example.org")
    return said.out.splitlines()[0] if said.out else said.err


def at_cidaas(pipeline: Pipeline) -> list[str]:
    dump = httpx.get(f"{pipeline.env['CIDAAS_BASE_URL']}/_test/dump", trust_env=False).text
    return re.findall(r'"email":"(.*?)"', dump)


def run_sql(stack: Stack, statement: str) -> None:
    with postgres.connect(stack.layout) as admin:
        admin.execute(statement.encode())


def ids(stack: Stack) -> str:
    with postgres.connect(stack.layout) as admin:
        return ",".join(str(row[0]) for row in admin.execute("SELECT uid FROM accounts"))


def test_the_steps_of_the_readme_lead_to_a_synced_user(stack: Stack, fresh: Callable[[str], Pipeline]) -> None:
    pipeline = fresh("shop-sync")
    (config,) = blocks("4. Say what your tables mean", "toml")
    pipeline.config_file.write_text(config)
    (practice,) = blocks("Practise first", "properties")
    pipeline.env |= dict(re.findall(r"^(DELIVERY_\w+)=(.*)$", practice, re.MULTILINE))
    for statement in re.findall(r'psql "\$LEGACY_ADMIN_URL" -c "(.*?)"$', section("Practise first"), re.M | re.S):
        run_sql(stack, statement)
    try:
        follow(pipeline, "5. Enable")
        worker = pipeline.start(DELIVERY_ONLY=ids(stack))
        until(lambda: "delivery is paused" in ada(pipeline), lambda: ada(pipeline))
        assert at_cidaas(pipeline) == []
        status = pipeline.command("status")
        assert re.search(r"users joined +1, 0 records behind", status.out), status
        assert pipeline.command("resume").code == 0
        until(lambda: "in sync" in ada(pipeline), lambda: ada(pipeline))
        assert at_cidaas(pipeline) == ["ada@example.org"]

        run_sql(stack, "UPDATE accounts SET mail = 'countess@example.org'")
        until(lambda: at_cidaas(pipeline) == ["countess@example.org"], "the new address is at cidaas")
        run_sql(stack, "DELETE FROM accounts")
        until(lambda: at_cidaas(pipeline) == [], "the deleted user is gone from cidaas")
        assert worker.end() == 0

        remove, disable = calls("8. Take it back")
        assert pipeline.command(*remove).code == 0
        said = pipeline.command(*disable)
        assert (said.code, "depend on it" in said.text) == (1, True), said  # the example's pipeline has the roles too
        with postgres.connect(stack.layout) as admin:
            left = admin.execute("SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'shop_sync'").fetchall()
        assert left == []
    finally:
        drop(stack)


def drop(stack: Stack) -> None:
    """Leave the shared database as it was, also when the test failed half-way."""
    httpx.delete(f"{stack.env['CONNECT_URL']}/connectors/shop_sync", trust_env=False)
    with postgres.connect(stack.layout) as admin:
        admin.execute("DROP TABLE IF EXISTS accounts")
        admin.execute("DROP PUBLICATION IF EXISTS shop_sync")

        def dropped() -> bool:
            try:
                admin.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'shop_sync'"
                )
            except psycopg.errors.ObjectInUse:
                return False
            return True

        until(dropped, "the slot can be dropped")
