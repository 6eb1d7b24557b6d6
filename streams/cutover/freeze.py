"""What a freeze would wait for: open transactions, the slot, and who is not at cidaas yet (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from streams.cutover.pipeline import FEW
from streams.cutover.users import FRESH
from streams.doctor.checks import fault, ok, some, unknown, warning
from streams.quantities import duration, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.cutover.pipeline import Looks
    from streams.cutover.twice import Twice
    from streams.doctor.checks import Check
    from streams.settings import Settings

#: Seconds from freeze to GO for which nobody has to be warned.
_LONG = 300.0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction of the legacy database that has written, and is open. `key` is another one for the next."""

    key: str
    name: str  # pid, or the name of a prepared one
    who: str  # application and role
    seconds: float | None  # None: this role may not see it
    prepared: bool = False


@dataclass(frozen=True, slots=True)
class Passage:
    """How long the slot took until Kafka had confirmed what was in the WAL at a moment; None: longer than `patience`.

    `lag` are the bytes that were missing at the end; None: there is no slot.
    """

    seconds: float | None
    lag: int | None
    patience: float


def judge_transactions(looks: Twice[Sequence[Transaction]]) -> list[Check]:
    """Judge those that both looks have shown; what has ended in between makes nobody wait.

    One that is open across the marker of a freeze is not covered by it (facts: debezium-3.7, section 10).
    """
    before = {one.key for one in looks.first}
    lasting = [one for one in looks.second if one.key in before]
    opened = [one for one in lasting if not one.prepared]
    prepared = [one for one in lasting if one.prepared]
    found = []
    if opened:
        said = some([f"pid {one.name} ({one.who}) for {_age(one, looks.apart)}" for one in opened])
        remedy = "Have it ended before the freeze, or end it: SELECT pg_terminate_backend(PID)."
        found.append(fault("open_transactions", f"a freeze would wait for open transactions: {said}", remedy))
    else:
        found.append(ok("open_transactions", f"no transaction that writes was open for {looks.apart:.0f} s"))
    if prepared:
        said = some([f"{one.name} ({one.who}) for {_age(one, looks.apart)}" for one in prepared])
        remedy = "In that database: ROLLBACK PREPARED 'NAME' or COMMIT PREPARED 'NAME', as its owner decides."
        found.append(fault("open_prepared", f"a freeze would wait for prepared transactions: {said}", remedy))
    else:
        found.append(ok("open_prepared", "no prepared transaction is left over"))
    return found


def _age(one: Transaction, apart: float) -> str:
    return f"at least {duration(apart)}" if one.seconds is None else duration(one.seconds)


def judge_tools(settings: Settings) -> list[Check]:
    """Judge what the evening's commands need beyond those of every day."""
    if settings.certificate_key is None:
        remedy = "Set SYNC_CERTIFICATE_KEY, or SYNC_CERTIFICATE_KEY_FILE: `openssl rand -hex 32` makes one."
        key = fault("certificate_key", "no key signs the certificate, and a freeze is refused without one", remedy)
    else:
        key = ok("certificate_key", "there is a key that signs the certificate")
    if settings.archive is None:
        what = "no folder is named for what stays, and `cutover finish` is refused without one"
        return [key, warning("archive", what, f"Set archive under [cutover] in {settings.path.name}.")]
    return [key, ok("archive", f"what stays is kept in {settings.archive_folder}")]


def judge_slot(passage: Passage | None) -> Check:
    """Judge how fast the slot follows, the first thing that a freeze waits for; None: the database was not asked."""
    if passage is None or passage.lag is None:
        why = "the legacy database could not be asked" if passage is None else "there is none"
        return unknown("slot_lag", f"how fast the slot follows is not known: {why}")
    lag = f"{size(passage.lag)} of WAL are missing in Kafka"
    if passage.seconds is None:
        what = f"Kafka has not confirmed what was in the WAL {duration(passage.patience)} ago; {lag}"
        remedy = "Look at `connector status`; offset.flush.interval.ms of the Connect worker should be 1000."
        return fault("slot_lag", what, remedy)
    return ok("slot_lag", f"the slot follows in {duration(passage.seconds)}; {lag}")


def judge_wait(settings: Settings, looks: Looks, passage: Passage | None) -> Check:
    """Estimate the time from freeze to GO by what was measured just now; who is in the way is not in it."""
    now, latency = looks.second, looks.second["latency_seconds"]
    if not now["workers"]:
        return _not_known("no worker says how fast it goes", "Start one: see workers.")
    if passage is None or passage.seconds is None:
        return _not_known("how fast the slot follows is not known", "See slot_lag.")
    if now["snapshot"] != "complete" or (now["records_behind"] or 0) > FEW:
        return _not_known("what the database had has not been read completely", "See initial_snapshot, records_behind.")
    if latency is None:
        remedy = "Change one user in the database, and look again."
        return _not_known("no change has gone its way since the last pause", remedy)
    if (backlog := _backlog(settings, looks)) is None:
        return _not_known(
            f"{now['users']['pending']:,} users are pending, and none leaves", "See what holds them: `status`."
        )
    heartbeat, last = settings.source.heartbeat_ms / 1000, 2 * latency["p99"]
    # The slot moves with a heartbeat, and a look at it may come just before one, or just after it. A removal that the
    # last change causes goes through the topic once more (M5).
    total = passage.seconds + heartbeat + backlog + last
    parts = [
        f"the slot {duration(passage.seconds)}",
        f"a heartbeat {duration(heartbeat)}",
        f"{now['users'].get('pending', 0):,} pending users {duration(backlog)}",
        f"the last change and a removal {duration(last)} (twice the p99 of {latency['users']:,} users)",
    ]
    unclear = duration(settings.cidaas.settle)
    said = f"about {duration(total)} from freeze to GO: {', '.join(parts)}; a call without an answer adds {unclear}"
    if total > _LONG:
        return warning("freeze_to_go", said, "Wait until fewer users are pending, or announce a longer maintenance.")
    return ok("freeze_to_go", said)


def _not_known(why: str, remedy: str) -> Check:
    return unknown("freeze_to_go", f"how long it takes from freeze to GO is not known: {why}", remedy)


def _backlog(settings: Settings, looks: Looks) -> float | None:
    """Seconds until those who are pending have left; None where none leaves."""
    now = looks.second
    pending, rates = now["users"].get("pending", 0), now["rate_users_per_second"]
    at_once = settings.delivery.window * settings.delivery.concurrency
    fresh = (now["oldest_pending_seconds"] or 0.0) <= FRESH and not now["paused"]
    if not pending or (pending <= at_once and fresh):
        return 0.0  # they go with the next calls, which a change's own time contains
    rate = rates["1_min"] or rates["5_min"]
    return pending / rate if rate and not now["paused"] else None
