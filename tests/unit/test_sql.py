"""The SQL for the DBA: complete, explained, without secrets. (tests/integration/test_stack.py runs it.)"""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from streams.commands import cdc
from streams.settings import Settings, load
from streams.source import sql
from streams.source.disabling import disabling
from streams.source.enabling import enabling
from streams.source.statements import Password, Statement, literal, quoted, relation

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings() -> Settings:
    return load(ROOT / "pipeline.toml", env={"CDC_DEBEZIUM_PASSWORD": "hunter2"})


def test_names_are_quoted() -> None:
    assert relation('shop."Users"') == '"shop"."""Users"""'
    assert quoted("user") == '"user"'
    assert literal("it's") == "'it''s'"


def test_every_statement_is_explained_in_the_file(settings: Settings) -> None:
    for text in (sql.enable_sql(settings), sql.disable_sql(settings)):
        for block in text.split("\n\n")[2:]:
            assert block.startswith("-- "), block


def test_both_ways_have_the_same_statements(settings: Settings) -> None:
    text = sql.enable_sql(settings)
    for step in enabling(settings.source):
        if isinstance(step, Statement):
            assert f"\n{step.sql};\n" in text
        else:
            assert f"ALTER ROLE {quoted(step.role)} PASSWORD :'password'" in text


def test_no_password_stands_in_the_file(settings: Settings) -> None:
    assert "hunter2" not in sql.enable_sql(settings)
    roles = [step.role for step in enabling(settings.source) if isinstance(step, Password)]
    assert roles == [settings.source.role, settings.source.read_role]


def test_a_dropped_identity_index_is_made_again_and_no_other_is_taken(settings: Settings) -> None:
    """Without it `relreplident` goes on saying "an index": that is nobody's choice, and `cdc enable` is the cure."""
    text = sql.enable_sql(settings)
    (check,) = (part for part in text.split("\n\n") if "Look at public.credentials" in part)
    assert "relreplident = 'i' AND NOT EXISTS" in check and "relname <> 'credentials_cidaas_sync_ri'" in check
    (users,) = (part for part in text.split("\n\n") if "Look at public.users" in part)
    assert "relreplident = 'd')" in users and "relreplident = 'i'" not in users


def test_replica_identity_is_given_back_before_its_index_goes(settings: Settings) -> None:
    text = sql.disable_sql(settings)
    assert text.index("REPLICA IDENTITY DEFAULT") < text.index("DROP INDEX")


def test_what_another_publication_needs_is_left_alone(settings: Settings) -> None:
    """Another pipeline on the same database: its deletes would tell no user. Our own publication is gone by then."""
    steps = [step.sql for step in disabling(settings.source) if isinstance(step, Statement)]
    (identity,) = (one for one in steps if "REPLICA IDENTITY" in one)
    assert steps.index(f'DROP PUBLICATION IF EXISTS "{settings.source.name}"') < steps.index(identity)
    asked, left, *done = (
        identity.index(words)
        for words in (
            "FROM pg_publication_tables WHERE schemaname = 'public' AND tablename = 'credentials'",
            "RETURN;\n  END IF;\n  IF EXISTS",
            "REPLICA IDENTITY DEFAULT",
            "DROP INDEX",
        )
    )
    assert asked < left < min(done)


def test_what_is_left_is_said_and_no_other_notice(settings: Settings) -> None:
    class Server:
        autocommit = True
        hear: Any

        def add_notice_handler(self, hear: Any) -> None:
            self.hear = hear

        def execute(self, statement: bytes) -> None:
            if b"USING ERRCODE = 'CDC01'" in statement:
                self.hear(SimpleNamespace(sqlstate="CDC01", message_primary="public.credentials keeps it"))
            elif statement.startswith(b"DROP PUBLICATION"):
                self.hear(SimpleNamespace(sqlstate="00000", message_primary="does not exist, skipping"))

    server: Any = Server()
    said: list[str] = []
    sql.disable(server, settings, said.append)
    assert said == ["public.credentials keeps it"]


@pytest.mark.parametrize("refused", [False, True])
def test_cdc_disable_says_what_is_left(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: bool
) -> None:
    """Also where it ends at a role that the other pipeline uses."""

    def disable(_: Any, __: Any, kept: Any) -> None:
        kept("public.credentials keeps it")
        if refused:
            raise psycopg.errors.DependentObjectsStillExist("role has rights")

    monkeypatch.setattr(Settings, "require", lambda *_: ("postgresql://admin@db", "word"))
    monkeypatch.setattr(psycopg, "connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr(sql, "disable", disable)
    with pytest.raises(SystemExit) if refused else nullcontext():
        cdc._run(settings, enable=False, yes=True, as_json=False)
    said = "".join(capsys.readouterr())
    assert "taken back" in said and "; public.credentials keeps it" in said


def test_disable_ends_with_the_proof_that_no_slot_is_left(settings: Settings) -> None:
    assert "pg_replication_slots" in disabling(settings.source)[-1].why + sql.disable_sql(settings).splitlines()[-1]


def test_without_a_credentials_table_nothing_is_said_of_one(settings: Settings) -> None:
    alone = dataclasses.replace(settings, source=dataclasses.replace(settings.source, credentials=()))
    for text in (sql.enable_sql(alone), sql.disable_sql(alone)):
        assert "credentials" not in text


def test_a_connection_in_a_transaction_is_refused(settings: Settings) -> None:
    class Open:
        autocommit = False

    connection: Any = Open()
    with pytest.raises(ValueError, match="autocommit"):
        sql.enable(connection, settings, {})
