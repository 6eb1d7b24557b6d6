"""Changes committed in the legacy database at an even rate, each in a transaction of its own, no user twice in a run.

PostgreSQL makes them itself, by a procedure: a client that sends thousands of statements a second would take from the
two cores what is to be measured. When a change was committed is what PostgreSQL says of it (`__source_ts_us`).
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Sequence

#: One connection makes at most so many a second: each commit waits for the disk.
_EACH = 250

_PROCEDURE = """
CREATE OR REPLACE PROCEDURE bench_changes(
    marker text, first bigint, step bigint, count bigint, rate float8, began timestamptz
)
LANGUAGE plpgsql AS $$
DECLARE
    at timestamptz;
BEGIN
    FOR n IN 0 .. count - 1 LOOP
        at := began + make_interval(secs => n / rate);
        IF at > clock_timestamp() THEN
            PERFORM pg_sleep(extract(epoch FROM at - clock_timestamp()));
        END IF;
        UPDATE users SET given_name = marker WHERE id = first + n * step;
        COMMIT;
    END LOOP;
END $$
"""


async def prepare(url: str) -> None:
    """Make the procedure."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(_PROCEDURE)


async def change(url: str, marker: str, users: Sequence[int], rate: float) -> None:
    """Set the given name of these users (consecutive ids) to `marker`, `rate` of them a second."""
    lanes = max(1, math.ceil(rate / _EACH))
    began = time.time() + 0.2

    async def lane(number: int) -> None:
        mine = range(users[0] + number, users[-1] + 1, lanes)
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            # Each lane is a step behind the one before, so that the whole is even.
            await connection.execute(
                "CALL bench_changes(%s, %s, %s, %s, %s, to_timestamp(%s))",
                (marker, mine[0], lanes, len(mine), rate / lanes, began + number / rate),
            )

    async with asyncio.TaskGroup() as tasks:
        for number in range(lanes):
            tasks.create_task(lane(number))
