"""Reads both sides: the legacy tables by a server-side cursor, the stand-in's users over HTTP line by line."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import psycopg

from demo.oracle.expected import LegacyUser
from demo.oracle.report import OracleError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# The newest password counts: the greatest coalesce(updated_at, created_at), then the greatest id (design.md).
QUERY = """
SELECT u.id::text, u.status, u.email, u.username, u.given_name, u.family_name, u.phone, u.birthdate::text, u.gender,
       u.locale, (extract(epoch FROM u.created_at) * 1000000)::bigint,
       (extract(epoch FROM u.last_login_at) * 1000000)::bigint,
       u.street_address, u.postal_code, u.city, u.country, u.customer_number, u.newsletter,
       p.algorithm, p.secret, p.salt, p.params
  FROM users u
  LEFT JOIN LATERAL (
       SELECT c.algorithm, c.secret, c.salt, c.params FROM credentials c
        WHERE c.user_id = u.id AND c.kind = 'password'
        ORDER BY coalesce(c.updated_at, c.created_at) DESC, c.id DESC LIMIT 1) p ON true
"""
_CHUNK = 1000


async def legacy_users(url: str) -> AsyncIterator[list[LegacyUser]]:
    """All users of the legacy database, of one moment, in pieces."""
    try:
        async with (
            await psycopg.AsyncConnection.connect(url, connect_timeout=10) as connection,
            connection.cursor("oracle") as cursor,
        ):
            await cursor.execute(QUERY)
            while rows := await cursor.fetchmany(_CHUNK):
                yield [LegacyUser._make(row) for row in rows]
    except psycopg.Error as error:
        raise OracleError(f"the legacy database cannot be read ({type(error).__name__}); is it up?") from error


class Target:
    """The stand-in at `url`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def switches(self) -> dict[str, Any]:
        """How the tenant is set up."""
        try:
            answer = await self._http.get("/_test/switches")
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise _away(error) from error
        found: dict[str, Any] = answer.json()
        return found

    async def users(self) -> AsyncIterator[list[dict[str, Any]]]:
        """The entities of all users, of one moment, in pieces."""
        rest = b""
        try:
            async with self._http.stream("GET", "/_test/dump") as answer:
                answer.raise_for_status()
                async for piece in answer.aiter_bytes():
                    *lines, rest = (rest + piece).split(b"\n")
                    yield [orjson.loads(line)["entity"] for line in lines]
        except httpx.HTTPError as error:
            raise _away(error) from error
        if rest:
            raise OracleError("the stand-in's dump broke off; is it up?")


@asynccontextmanager
async def target(url: str) -> AsyncIterator[Target]:
    """Connect to the stand-in, never through a proxy."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as http:
        yield Target(http)


def _away(error: httpx.HTTPError) -> OracleError:
    return OracleError(f"the stand-in cannot be read ({type(error).__name__}); is it up?")
