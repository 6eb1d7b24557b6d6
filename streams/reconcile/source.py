"""The legacy tables as marks: all users in one pass and as of one moment, then single ones again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.keys import LSN
from streams.legacy import Legacy
from streams.reconcile.marks import Marker
from streams.source.everyone import everyone
from streams.source.merging import User

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from streams.settings import Settings

    #: Shows how far something is: its name and how many there are, then how many are done.
    Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]

#: Users of one statement, users between two looks at the progress bar, and seconds for one statement.
_BATCH, _STEP, _PATIENCE = 500, 5_000, 60.0


class Source:
    """Reads the legacy tables for one run."""

    def __init__(self, settings: Settings, expected: str, key: bytes) -> None:
        """`expected` names the database that this pipeline reads (O5); `key` is the run's."""
        self._settings, self._key = settings, key
        self._legacy = Legacy(settings, timeout=_PATIENCE)
        self._legacy.expected = expected
        #: made when the tables are known, by `everyone`.
        self.marker: Marker
        self.users = 0

    async def everyone(self, progress: Progress) -> dict[bytes, int]:
        """The marks of all users, and of credentials whose user is not there; keys are the connector's.

        Raises:
            ConfigError: a table or a column is not there, or may not be read.
            LegacyAwayError: unreachable, or refused.
        """
        users = self._settings.source.users
        owners = {table.name: table.user_id for table in self._settings.source.credentials}
        marks: dict[bytes, int] = {}
        async with everyone(self._settings) as found:
            self.marker, self.users = Marker(self._settings, found.tables, self._key), found.users
            with progress("users read", found.users) as done:
                async for one in found.rows:
                    if isinstance(one, User):
                        # The column, and not the key that the rows are ordered by: a char(n) comes padded.
                        key = str(one.row[users.id]).encode()
                        marks[key] = self.marker.of(one.row, one.credentials)
                        if len(marks) % _STEP == 0:
                            done(len(marks))
                    elif (owner := one.row[owners[one.table]]) is not None:
                        key = str(owner).encode()
                        marks[key] = self.marker.more(marks.get(key, 0), one.table, one.row)
        return marks

    async def again(self, keys: Sequence[bytes]) -> tuple[dict[bytes, int], int]:
        """The marks of these users now, each as of one moment, and an LSN above all their commits.

        A key that is no id of the table is left out.

        Raises:
            LegacyAwayError: unreachable, refused, too slow, a standby, or another database than the expected one.
        """
        marks: dict[bytes, int] = {}
        for start in range(0, len(keys), _BATCH):
            ids = [key.decode() for key in keys[start : start + _BATCH]]
            for user_id, (row, credentials) in (await self._legacy.rows(ids)).items():
                marks[user_id.encode()] = self.marker.of_named(row, credentials)
        return marks, int((await self._legacy.query(LSN))[0]["lsn"])

    async def close(self) -> None:
        """Close the connection."""
        await self._legacy.close()
