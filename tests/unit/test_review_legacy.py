"""The second look: it neither misses a row that is there, nor believes another database, nor tells the password."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from clock import Clock, run
from fakes import SETTINGS
from psycopg import errors, sql

from streams.legacy import Legacy, LegacyAwayError, NoSuchIdError, _why
from streams.settings import load
from streams.settings.secret import Secret


def test_the_second_look_finds_a_padded_id() -> None:
    """A char(n) comes padded through the source and unpadded as text: every live user would be found gone."""

    async def query(*_: Any) -> list[dict[str, Any]]:
        return [{"id": "ab", "status": "active"}]

    legacy: Any = Legacy(SETTINGS)
    legacy.query = query
    found = asyncio.run(legacy.users(["ab   ", "cd"]))
    assert found == {"ab   ": {"id": "ab", "status": "active"}}


def test_an_id_that_cannot_be_one_takes_nobody_with_it() -> None:
    """PostgreSQL refuses the whole statement: of the others, "not there" would let their deletes go."""

    async def query(statement: sql.Composed) -> list[dict[str, Any]]:
        if "'x'" in statement.as_string(None):
            raise NoSuchIdError
        return [{"id": "7", "status": "active"}] if "'7'" in statement.as_string(None) else []

    legacy: Any = Legacy(SETTINGS)
    legacy.query = query
    assert asyncio.run(legacy.users(["x", "7", "8"])) == {"7": {"id": "7", "status": "active"}}
    assert asyncio.run(legacy.users(["x"])) == {}


def test_another_database_is_not_believed() -> None:
    """Behind an address that moved there may be an empty one: "not there", of everybody."""

    async def execute(_: Any) -> Any:
        async def fetchone() -> dict[str, str]:
            return {"name": "222/legacy"}

        return SimpleNamespace(fetchone=fetchone)

    async def scenario() -> None:
        legacy, connection = Legacy(SETTINGS), SimpleNamespace(execute=execute)
        for legacy.expected in ("", "222/legacy"):
            await legacy._recognized(connection)  # type: ignore[arg-type]
        legacy.expected = "111/legacy"
        with pytest.raises(LegacyAwayError, match="leads to another database"):
            await legacy._recognized(connection)  # type: ignore[arg-type]

    asyncio.run(scenario())


@pytest.mark.parametrize("password", ["canary%zzword", "canary word", "x@canary", "canary"])
def test_no_error_tells_the_password(password: str) -> None:
    """A password that is not percent-encoded is quoted by the driver as what it was taken for."""
    url = f"postgresql://reader:{password}@127.0.0.1:1/legacy"
    settings = load(Path(__file__).parents[2] / "pipeline.toml", {"LEGACY_DATABASE_URL": url})
    with pytest.raises(LegacyAwayError) as error:
        asyncio.run(Legacy(settings).query(sql.SQL("SELECT 1")))
    assert "canary" not in str(error.value)


def test_a_database_that_does_not_answer_is_left_alone_for_a_second() -> None:
    """A server that is out of connections got a new one for each delete that waited."""
    clock, tries = Clock(), 0

    async def connected() -> Any:
        nonlocal tries
        tries += 1
        raise OSError("sorry, too many clients already")

    async def scenario() -> None:
        legacy: Any = Legacy(replace(SETTINGS, source=replace(SETTINGS.source, url=Secret("postgresql://h/d"))))
        legacy._connected = connected
        for _ in range(100):
            with pytest.raises(LegacyAwayError, match="too many clients"):
                await legacy.users(["1"])
        assert tries == 1
        clock.now += 1.1
        with pytest.raises(LegacyAwayError):
            await legacy.users(["1"])
        assert tries == 2

    run(scenario(), clock)


def test_an_error_names_what_is_wrong_and_not_where_in_our_statement() -> None:
    """A renamed column had been reported as "^"."""
    error = errors.UndefinedColumn('column "city" does not exist\nLINE 1: SELECT "city" FROM users\n               ^')
    assert _why(error, "") == 'column "city" does not exist'
