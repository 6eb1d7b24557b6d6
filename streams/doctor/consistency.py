"""Slot, stored position and publication against each other, and against what was seen before (pure).

The rules are the guard's (`streams.source`): what `status` and `source check` find, is found here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from streams.control import IDENTITY
from streams.doctor.checks import Check, State, fault, ok, unknown, warning
from streams.identity import Identity, RefusedError, compare
from streams.source import faults, guard, reading
from streams.source.look import captured
from streams.source.memory import Memory, lost, recall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.settings import Settings
    from streams.source.guard import Finding
    from streams.source.look import Database, Look

#: what the guard finds -> (check, state)
_SLUGS = {
    "slot_missing": ("slot", State.TODO),
    "slot_dropped": ("slot", State.FAULT),
    "slot_lost": ("slot", State.FAULT),
    "slot_moved": ("slot_position", State.FAULT),
    "slot_ahead": ("slot_position", State.FAULT),
    "slot_inactive": ("slot_read", State.FAULT),
    "wal_kept": ("slot_wal", State.WARNING),
    "cdc_missing": ("publication", State.TODO),
    "publication_missing": ("publication", State.FAULT),
    "publication_incomplete": ("publication", State.FAULT),
    "column_unpublished": ("publication_columns", State.FAULT),
}


@dataclass(frozen=True, slots=True)
class Whole:
    """One look at database and Connect, and the control topic (None: not to be read, or not there yet)."""

    look: Look
    state: Mapping[str, Any] | None


def judge(settings: Settings, whole: Whole) -> list[Check]:
    """Judge them against each other (facts: debezium-3.7, section 4)."""
    look, database = whole.look, whole.look.database
    if database is None:
        return [unknown("slot", "slot and publication were not looked at: the database could not be asked")]
    if database.standby:
        return [unknown("slot", "a standby has no slot of ours: `primary` says what to do")]
    found = [_check(one, look) for one in _findings(settings, database, look)]
    bad = {check.slug for check in found}
    fine = [check for check in _fine(settings, database, look) if check.slug not in bad]
    order = list(dict.fromkeys(slug for slug, _ in _SLUGS.values()))
    both = sorted([*found, *fine], key=lambda check: order.index(check.slug))
    return [*both, *_extra(settings, database, bad), *_history(settings, database, whole), *_identity(settings, whole)]


def _findings(settings: Settings, database: Database, look: Look) -> Iterator[Finding]:
    stopped = look.connector is not None and look.connector.state != "" and not look.connector.running
    for one in guard.slot(database.slot, look):
        if one.slug != "slot_inactive" or not stopped:  # `connector_state` says it, and how to start it
            yield one
    yield from guard.publication(settings, database.publication, streamed=look.offset is not None)


def _check(found: Finding, look: Look) -> Check:
    slug, state = _SLUGS[found.slug]
    if found.slug == "slot_inactive" and look.connector is None:
        state = State.WARNING  # it follows from Connect being away, which is the fault
    return Check(slug, state, found.what, found.remedy)


def _fine(settings: Settings, database: Database, look: Look) -> Iterator[Check]:
    """What is right where the guard finds nothing."""
    slot, publication = database.slot, database.publication
    if slot is not None and not slot.lost:
        yield ok("slot", f"the replication slot {settings.source.name} is there and has its WAL")
        if look.offset is not None:
            yield ok("slot_position", "the slot stands where the connector's position is, or before")
        elif look.connector is None:
            yield unknown("slot_position", f"the connector's position is not known: {look.connect_away}")
        if slot.active or look.offset is None:
            yield ok("slot_read", "the connector reads the slot" if slot.active else "the initial snapshot comes first")
        yield ok("slot_wal", f"{slot.kept_bytes or 0:,} bytes of WAL are kept for the slot")
    elif slot is None and look.connector is None and look.offset is None:
        yield unknown("slot", f"there is no slot; whether there should be one is not known: {look.connect_away}")
    if publication is not None:
        yield ok("publication", f"the publication {settings.source.name} has all captured tables")
        yield ok("publication_columns", "all mapped columns are published")


def _extra(settings: Settings, database: Database, bad: set[str]) -> Iterator[Check]:
    """What is published and never used: it leaves the database for nothing."""
    publication = database.publication
    if publication is None:
        return
    wanted = {table.name: table for table in captured(settings)}
    said = [f"table {name}" for name in publication.tables if name not in wanted]
    for name, table in wanted.items():
        published = publication.tables.get(name)
        more = [column for column in (published.columns if published else None) or () if column not in table.columns]
        said += [f"{', '.join(more)} of {name}"] if more else []
    if said and "publication" not in bad:
        what = f"the publication has more than the mapping reads: {'; '.join(said)}"
        yield warning("publication_extra", what, "Run `cdc enable`: it publishes the mapped columns only.")


def _history(settings: Settings, database: Database, whole: Whole) -> Iterator[Check]:
    """What a look alone cannot show: faults that stand until a repair, and a database that is another one now."""
    if whole.state is None:
        yield unknown("history", "what was seen before is not known: there is no control topic, or it cannot be read")
        return
    now = {one.slug for one in _findings(settings, database, whole.look)}
    memory = recall(whole.state) or Memory()
    before: list[faults.Fault | Finding] = [*faults.standing(whole.state), *lost(settings, memory, whole.look)]
    said = {one.slug: one for one in reversed(before) if one.slug not in now}  # what this look shows is said above
    if said:
        yield fault("history", "; ".join(one.what for one in said.values()), next(iter(said.values())).remedy)
    elif memory.system:
        yield ok("history", "it is the database that was read before, and no other change is known to be lost")
    else:
        yield ok("history", "no worker has looked at this database yet")


def _identity(settings: Settings, whole: Whole) -> Iterator[Check]:
    """Whether the state belongs to this configuration (O5); the database is the business of `history`."""
    recorded = (whole.state or {}).get(IDENTITY)
    if recorded is None:
        return
    ours = Identity.of(settings, str(recorded.get("source", "")), str(recorded.get("topic", "")))
    try:
        compare(ours, recorded, "the control topic")
    except RefusedError as error:
        what, _, remedy = str(error).partition(". ")
        yield fault("identity", what, remedy)
    else:
        yield ok("identity", "the state belongs to this configuration")
    if why := reading.refusal(whole.state or {}, settings):
        what, _, remedy = why.partition(". ")
        yield fault("tables_read", what, remedy)
    else:
        yield ok("tables_read", "the tables with credentials are those that are read")
