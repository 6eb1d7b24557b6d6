"""What the guard remembers from look to look, and which changes of it mean that rows are lost (pure).

It stands in the `control` topic, so that it survives every worker: what happened while none ran is found, too.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from streams.control import REPAIR as REPAIRED
from streams.control import SOURCE
from streams.source.guard import REPAIR, Finding, findings, publication

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.settings import Settings
    from streams.source.look import Database, Look, Slot

_ANOTHER = (
    "If that is so on purpose (restored, failed over, moved), run `source repair --accept-database`; else correct "
    "LEGACY_DATABASE_URL."
)


@dataclass(frozen=True, slots=True)
class Memory:
    """The source as it was last found right; every field may be unknown."""

    system: str = ""
    timeline: int | None = None
    #: greatest flushed LSN; it cannot get smaller in one history of the database.
    lsn: int | None = None
    #: when the database was there (Unix seconds): the rate of its WAL follows from the next look.
    at: float | None = None
    #: the connector has (not) had a stored position.
    offset: int | None = None
    publication: int | None = None
    #: captured table -> [oid of its line in the publication, its columns]
    published: Mapping[str, Any] | None = None
    #: captured table -> its file on disk: TRUNCATE makes a new one, and is not published.
    files: Mapping[str, int] | None = None
    #: captured tables that had rows.
    filled: tuple[str, ...] = ()
    #: the connector's notifications up to here have led to a sweep, or needed none.
    swept: int = -1
    #: why a sweep has to be asked for as soon as it may be; "" when none is owed.
    owed: str = ""
    #: source epoch (M8): raised by `source repair` alone.
    epoch: int = 1

    @classmethod
    def of(cls, body: Mapping[str, Any] | None) -> Memory | None:
        """Read the control record; None when nothing is remembered."""
        if body is None:
            return None
        known = {name: body[name] for name in cls.__slots__ if name in body}
        return cls(**{**known, "filled": tuple(known.get("filled", ()))})

    def body(self) -> dict[str, Any]:
        """The control record."""
        return asdict(self)

    def same_place(self, other: Memory) -> bool:
        """Whether the two differ in nothing but positions, which move all the time."""
        return _still(self) == _still(other)


def _still(memory: Memory) -> dict[str, Any]:
    body = replace(memory, lsn=None, at=None, offset=None if memory.offset is None else 0).body()
    return {**body, "filled": sorted(body["filled"])}


def recall(state: Mapping[str, Any]) -> Memory | None:
    """Read the memory from the control topic; what a repair has left is the beginning of a new one."""
    memory, note = Memory.of(state.get(SOURCE)), state.get(REPAIRED, {})
    learnt = Memory.of(note.get("memory"))
    if learnt is None or (memory is not None and memory.epoch >= learnt.epoch):
        return memory
    return replace(learnt, swept=memory.swept if memory is not None else -1)


def lost(settings: Settings, memory: Memory, look: Look, before: Look | None = None) -> list[Finding]:
    """Name everything that means lost changes, or LSNs that begin anew (M8); `before` is the look before this one."""
    database = look.database
    if database is None or database.standby:
        return []
    if found := _database(memory, database):
        return found  # slot, publication and files of another history say nothing
    found = [one for one in findings(settings, look) if one.lost]
    if memory.offset is not None and look.connector is None and look.stored is None and database.slot is None:
        found.append(Finding("slot_dropped", "the replication slot is gone", REPAIR))
    if memory.offset is not None and look.offset is None:
        # Nobody can be asked for the position, or it was deleted: the publication was needed all the same.
        found += [one for one in publication(settings, database.publication, streamed=True) if one.lost]
    if before is not None and before.database is not None and _moved(before, before.database.slot, look, database.slot):
        what = "the replication slot was moved by hand: the changes that it jumped over are lost"
        found.append(Finding("slot_ahead", what, REPAIR))
    found += _publication(settings, memory, database)
    return list({one.slug: one for one in reversed(found)}.values())  # the same may show in two ways


def _moved(before: Look, then: Slot | None, look: Look, now: Slot | None) -> bool:
    """Whether the slot jumped between two looks, as far as a start of the connector meanwhile lets it be seen."""
    if then is None or now is None or then.confirmed is None or now.confirmed is None or then.active:
        return False
    if not now.active:
        # While Connect is away nobody moves a slot but a person; afterwards there is a moment to see it, or none.
        return before.connector is None and look.connector is None and now.confirmed > then.confirmed
    return look.offset is not None and look.offset == before.offset and now.confirmed > look.offset


def _database(memory: Memory, database: Database) -> list[Finding]:
    if memory.system and database.system != memory.system:
        what = f"the legacy database is another one than before ({database.system} instead of {memory.system})"
        return [Finding("database_replaced", what, _ANOTHER)]
    if memory.timeline is not None and database.timeline != memory.timeline:
        what = (
            f"the legacy database is on timeline {database.timeline} instead of {memory.timeline}: it was restored or "
            "failed over, and the last changes before that may be lost"
        )
        return [Finding("database_promoted", what, REPAIR)]
    if memory.lsn is not None and database.lsn is not None and database.lsn < memory.lsn:
        what = "the legacy database has gone back in time: it was restored from an older copy"
        return [Finding("database_restored", what, REPAIR)]
    return []


def _publication(settings: Settings, memory: Memory, database: Database) -> list[Finding]:
    found, name = database.publication, settings.source.name
    if found is None or memory.publication is None:
        return []
    what = ""
    if found.oid != memory.publication:
        what = f"the publication {name} was dropped and made again"
    for table, (entry, columns) in (memory.published or {}).items():
        now = found.tables.get(table)
        # SET TABLE, which `cdc enable` does, keeps a line whose columns stay, and makes a new one for other columns.
        same = now is not None and (now.columns is None or list(now.columns) == columns)
        if now is not None and now.entry != entry and same and not what:
            what = f"the table {table} was taken out of the publication {name} and put back"
    return [Finding("publication_remade", f"{what}: changes made meanwhile are lost", REPAIR)] if what else []


def remember(memory: Memory | None, look: Look) -> Memory:
    """Bring the memory up to this look, in which nothing was lost; what was not seen stays as it was."""
    memory, database = memory or Memory(), look.database
    if look.connector is not None or look.stored is not None:
        memory = replace(memory, offset=look.offset)
    if database is None or database.standby:
        return memory
    lsns = [lsn for lsn in (memory.lsn, database.lsn) if lsn is not None]
    memory = replace(
        memory,
        system=database.system,
        timeline=database.timeline,
        lsn=max(lsns, default=None),
        at=look.at if lsns and max(lsns) == database.lsn else memory.at,
        # A file that is new is not taken over here: somebody has to find out first whether rows are gone.
        files={name: (memory.files or {}).get(name, table.file) for name, table in database.tables.items()},
        filled=tuple(sorted(name for name, table in database.tables.items() if _filled(memory, name, table.filled))),
    )
    if database.publication is not None:
        tables = database.publication.tables.items()
        published = {name: [one.entry, None if one.columns is None else list(one.columns)] for name, one in tables}
        memory = replace(memory, publication=database.publication.oid, published=published)
    return memory


def _filled(memory: Memory, name: str, now: bool | None) -> bool:
    return name in memory.filled if now is None else now


def rewritten(memory: Memory, database: Database) -> list[str]:
    """The captured tables whose file is another one than before: truncated, or only rewritten (VACUUM FULL)."""
    files = memory.files or {}
    return [name for name, table in database.tables.items() if files.get(name, table.file) != table.file]


def emptied(memory: Memory, database: Database) -> list[str]:
    """The rewritten tables that had rows and have none."""
    empty = {name for name, table in database.tables.items() if table.filled is False}
    return [name for name in rewritten(memory, database) if name in empty and name in memory.filled]
