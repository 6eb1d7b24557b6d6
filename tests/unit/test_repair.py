"""`source repair`: in which order, and that an interruption at any step ends in the same place."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import Any

import pytest
from clock import run
from fakes import SETTINGS, Control
from sights import CREDENTIALS, DATABASE, RIGHT, identified, published, seen

from streams.brake import TRIPPED
from streams.commands.source import _wrong
from streams.control import IDENTITY, REPAIR, SOURCE, SWEEP, TABLES
from streams.source import reading
from streams.source.connect import ConnectorStatus
from streams.source.faults import Fault, record_name, standing
from streams.source.look import Connector, Look
from streams.source.memory import Memory, recall, remember
from streams.source.repair import Repair, RepairError, covered, open_note, wait_until_free

NAME = SETTINGS.source.name
WHOLE = ["stop", "config", "offsets", "slot", "enable", "epoch 2", "look", "resume"]


class Interrupted(Exception):  # noqa: N818  a person at the keyboard
    """Ctrl-C, or the machine goes down."""


class Board(Control):
    """The control topic; workers answer a sweep, the connector tells its snapshot."""

    def __init__(self) -> None:
        super().__init__()
        self.notifications: list[dict[str, Any]] = [
            {"type": "STARTED", "offset": 0},
            {"type": "COMPLETED", "offset": 1},
        ]
        self.answering = True
        self.state[IDENTITY] = {"source": DATABASE.system}
        self.state[SOURCE] = remember(None, RIGHT).body()
        self.state[TABLES] = reading.body(SETTINGS)
        self.stands("slot_dropped")

    @property
    def identity(self) -> Any:
        return self.state.get(IDENTITY)

    def stands(self, slug: str, epoch: int = 1) -> None:
        self.state[record_name(slug)] = asdict(Fault(slug, "it is gone", "repair", 5.0, epoch))

    def tell(self, *kinds: str) -> None:
        for kind in kinds:
            self.notifications.append({"type": kind, "offset": self.notifications[-1]["offset"] + 1})

    async def wait_changed(self) -> None:
        await super().wait_changed()
        self.heartbeats += 1

    async def put(self, key: str, body: dict[str, Any] | None) -> None:
        await super().put(key, body)
        if key == SWEEP and self.answering:
            self.answer()

    def answer(self) -> None:
        done = {"id": self.state[SWEEP]["id"], "state": "done", "missing": 1, "gone": 2, "credentials": 0, "at": 9.0}
        for number in range(SETTINGS.partitions):
            self.state[f"{SWEEP}/{number}"] = done


class Source:
    """Connect and the tools of the database, with everything that was done in order; `fail_at` interrupts."""

    def __init__(self, control: Board) -> None:
        self.control = control
        self.did: list[str] = []
        self.state: str | None = "RUNNING"
        self.trace: str | None = None
        self.fail_at = ""
        self.snapshots = True
        self.database: Look = seen(Connector("STOPPED"), None)

    def _do(self, what: str) -> None:
        if what == self.fail_at:
            self.fail_at = ""
            raise Interrupted
        self.did.append(what)

    async def status(self, name: str) -> ConnectorStatus | None:
        if self.state is None:
            return None
        return ConnectorStatus(self.state, () if self.state == "STOPPED" else (self.state,), self.trace)

    async def create_stopped(self, name: str, config: Any) -> None:
        self._do("create")
        self.state = "STOPPED"

    async def stop(self, name: str, *, seconds: float) -> None:
        self._do("stop")
        self.state = "STOPPED"

    async def put_config(self, name: str, config: Any) -> None:
        assert self.state == "STOPPED"
        self._do("config")

    async def delete_offsets(self, name: str) -> None:
        assert self.state == "STOPPED"
        self._do("offsets")

    async def drop_slot(self) -> bool:
        self._do("slot")
        return True

    async def enable(self) -> None:
        self._do("enable")

    async def begin_epoch(self, number: int) -> None:
        self._do(f"epoch {number}")

    async def ends(self) -> dict[int, int]:
        return {0: 70, 1: 71}

    async def look(self) -> Look:
        self._do("look")
        return self.database

    async def resume(self, name: str) -> None:
        self._do("resume")
        self.state = "RUNNING"
        if self.snapshots:
            self.control.tell("STARTED", "IN_PROGRESS", "COMPLETED")


def repair(source: Source, *, look: Look = RIGHT, enable: bool = True) -> list[str]:
    said: list[str] = []
    tools: Any = source
    run(Repair(SETTINGS, source.control, tools, tools, said.append, {}).run(look, enable=enable))  # type: ignore[arg-type]
    return said


def test_the_order_is_the_recipe() -> None:
    """A slot before the position is gone, or rows before the epoch, would lose changes once more."""
    source = Source(Board())
    said = repair(source)
    assert source.did == WHOLE
    assert [line.partition(":")[0] for line in said] == [
        "stop", "offsets", "slot", "publication", "epoch", "resume", "snapshot", "sweep", "clear",
    ]  # fmt: skip
    assert standing(source.control.state) == [] and open_note(source.control.state) is None
    memory = recall(source.control.state)
    assert memory is not None and (memory.epoch, memory.offset, memory.lsn) == (2, None, DATABASE.lsn)


@pytest.mark.parametrize(
    ("look", "wrong"),
    [
        (RIGHT, False),
        (seen(publication=published(whole=False)), True),
        (identified(CREDENTIALS, "id"), True),
        (identified(CREDENTIALS), True),
        (identified(CREDENTIALS, full=True), False),
    ],
)
def test_it_does_what_cdc_enable_does_where_that_is_undone(look: Look, wrong: bool) -> None:
    """Else it would end, and the next delete would tell nobody again."""
    assert look.database is not None
    assert _wrong(SETTINGS, look.database) is wrong


@pytest.mark.parametrize("step", ["stop", "config", "offsets", "slot", "enable", "epoch 2", "look"])
def test_interrupted_before_the_start_it_begins_anew_with_the_same_epoch(step: str) -> None:
    """Each of these may be done twice; the epoch must not grow with every try."""
    source = Source(Board())
    source.fail_at = step
    with pytest.raises(Interrupted):
        repair(source)
    assert open_note(source.control.state) is not None
    assert standing(source.control.state)
    source.did.clear()
    repair(source)
    assert source.did == WHOLE
    assert standing(source.control.state) == []


def test_interrupted_at_the_start_it_starts_and_takes_nothing_apart() -> None:
    """The new slot may be there already: dropping it would lose what came since."""
    source = Source(Board())
    source.fail_at = "resume"
    with pytest.raises(Interrupted):
        repair(source)
    source.did.clear()
    repair(source)
    assert source.did == ["resume"]
    assert open_note(source.control.state) is None


def test_interrupted_while_it_waits_it_goes_on_waiting() -> None:
    board = Board()
    board.answering = False
    source = Source(board)

    async def gone(*_: Any) -> None:
        raise Interrupted

    waiting, board.wait_changed = board.wait_changed, gone  # type: ignore[method-assign]
    with pytest.raises(Interrupted):
        repair(source)
    asked = board.state[SWEEP]["id"]
    board.wait_changed = waiting  # type: ignore[method-assign]
    board.answer()
    source.did.clear()
    repair(source)
    assert source.did == [] and board.state[SWEEP]["id"] == asked


def test_it_notes_which_starts_of_the_connector_its_sweep_has_seen() -> None:
    """The guard asks for another one after those that come later."""
    board = Board()
    board.answering = False
    source = Source(board)

    async def restarted() -> None:
        board.tell("STARTED", "COMPLETED")
        board.answer()

    board.wait_changed = restarted  # type: ignore[method-assign]
    repair(source)
    assert [one["offset"] for one in board.notifications if one["type"] == "COMPLETED"] == [1, 4, 6]
    assert board.state[REPAIR]["swept"] == covered(board.state) == 4 and covered({}) == -1


def test_the_snapshot_of_before_is_not_taken_for_the_new_one() -> None:
    board = Board()
    source = Source(board)
    source.snapshots = False
    told = iter([["STARTED"], ["IN_PROGRESS"], ["COMPLETED"]])

    async def more() -> None:
        assert SWEEP not in board.state, "not before the tables have been read"
        board.tell(*next(told))

    board.wait_changed = more  # type: ignore[method-assign]
    repair(source)
    assert board.notifications[-1]["type"] == "COMPLETED"


def test_a_connector_that_fails_ends_it_with_the_cause_and_it_goes_on_later() -> None:
    source = Source(Board())
    source.snapshots = False

    async def fails() -> None:
        await asyncio.sleep(1)
        source.state, source.trace = "FAILED", "org.Error: no\nCaused by: too many connections"

    source.control.wait_changed = fails  # type: ignore[method-assign]
    with pytest.raises(RepairError, match="too many connections"):
        repair(source)
    assert standing(source.control.state), "nothing is repaired yet"


def test_a_connector_that_is_not_there_is_made_without_starting_it() -> None:
    """Connect keeps positions under a name; started, it would go on at the old one."""
    source = Source(Board())
    source.state = None
    repair(source)
    assert source.did == ["create", *WHOLE]


def test_a_fault_that_came_after_the_start_begins_a_new_repair() -> None:
    source = Source(Board())
    source.fail_at = "resume"
    with pytest.raises(Interrupted):
        repair(source)
    source.control.stands("slot_lost", epoch=2)
    source.did.clear()
    repair(source)
    assert source.did == [step.replace("epoch 2", "epoch 3") for step in WHOLE]


def test_a_fault_that_came_while_it_swept_stands() -> None:
    board = Board()
    board.answering = False
    source = Source(board)

    async def worse() -> None:
        board.stands("publication_missing", epoch=2)
        board.answer()

    board.wait_changed = worse  # type: ignore[method-assign]
    repair(source)
    assert [fault.slug for fault in standing(board.state)] == ["publication_missing"]


def test_another_database_becomes_the_source_and_the_former_one_is_known() -> None:
    """A worker whose folder says the former one may start; any other is refused."""
    source = Source(Board())
    other = replace(RIGHT, database=replace(DATABASE, system="7002/shop"))
    source.database = replace(other, connector=Connector("STOPPED"))
    repair(source, look=other)
    assert source.control.state[IDENTITY] == {"source": "7002/shop", "former_sources": [DATABASE.system]}
    again = Source(source.control)
    again.database = source.database
    repair(again, look=other)
    assert source.control.state[IDENTITY]["former_sources"] == [DATABASE.system]


def test_a_database_that_changes_meanwhile_is_not_started_on() -> None:
    source = Source(Board())
    source.database = seen(system="7003/else")
    with pytest.raises(RepairError, match="another one"):
        repair(source)
    assert "resume" not in source.did


def test_it_waits_for_a_worker_that_answers() -> None:
    board = Board()
    board.answering = False
    source = Source(board)
    waits = iter(range(100))
    plain = board.wait_changed

    async def later() -> None:
        if next(waits) == 60:
            board.answer()
        await plain()

    board.wait_changed = later  # type: ignore[method-assign]
    said = repair(source, enable=False)
    assert "sweep: no worker answers; start one, this waits" in said
    assert said[-2] == "sweep: all users were compared: 24 users gone, 12 missing, 0 with other credentials"


def test_the_epoch_grows_with_each_repair() -> None:
    source = Source(Board())
    repair(source)
    source.did.clear()
    repair(source)
    assert "epoch 3" in source.did


def test_a_slot_that_somebody_reads_is_waited_for_and_nobody_is_ended() -> None:
    """An orphan of a task that hung: a person restarts the Connect worker."""
    pids: list[int | None] = [7, 7, None]

    async def active() -> int | None:
        return pids.pop(0)

    run(wait_until_free(active))
    assert pids == []

    async def for_ever() -> int | None:
        return 4711

    with pytest.raises(RepairError, match=r"process 4711 .* Restart the Connect worker"):
        run(wait_until_free(for_ever))


def test_without_any_memory_it_begins_at_the_second_epoch() -> None:
    """The first one is the topic's birth."""
    source = Source(Board())
    del source.control.state[SOURCE]
    repair(source)
    assert "epoch 2" in source.did and Memory.of(source.control.state[REPAIR]["memory"]) is not None


def test_of_two_at_once_the_later_one_goes_on_and_the_other_ends() -> None:
    """The first one, which sees the connector stopped, would start it while the second takes it apart."""
    board = Board()
    source = Source(board)
    source.snapshots = False
    tools: Any = source

    async def both() -> None:
        one, two = (Repair(SETTINGS, board, tools, tools, lambda _: None, {}) for _ in range(2))  # type: ignore[arg-type]
        first = asyncio.create_task(one.run(RIGHT, enable=False))
        await asyncio.sleep(5)
        board.stands("slot_lost", epoch=2)  # so the second takes everything apart once more
        stop = source.stop

        async def slowly(name: str, *, seconds: float) -> None:
            await stop(name, seconds=seconds)
            await asyncio.sleep(5)

        source.stop = slowly  # type: ignore[method-assign]
        second = asyncio.create_task(two.run(RIGHT, enable=False))
        await asyncio.wait([first], timeout=4)
        assert source.state == "STOPPED" and source.did.count("resume") == 1
        with pytest.raises(RepairError, match="another `source repair`"):
            await first
        await asyncio.sleep(20)
        board.tell("STARTED", "COMPLETED")
        await second

    run(both())
    assert source.did.count("resume") == 2
    assert open_note(board.state) is None and standing(board.state) == []


def test_one_that_goes_on_ends_the_one_that_still_waits() -> None:
    """Two that wait for the same sweep would both write its end."""
    board = Board()
    board.answering = False
    source = Source(board)
    tools: Any = source

    async def both() -> None:
        one, two = (Repair(SETTINGS, board, tools, tools, lambda _: None, {}) for _ in range(2))  # type: ignore[arg-type]
        first = asyncio.create_task(one.run(RIGHT, enable=False))
        await asyncio.sleep(5)
        second = asyncio.create_task(two.run(RIGHT, enable=False))
        with pytest.raises(RepairError, match="this one ends"):
            await first
        board.answer()
        await second

    run(both())
    assert source.did.count("resume") == 1 and open_note(board.state) is None


def test_after_a_truncation_a_person_is_asked_before_anybody_is_deleted() -> None:
    """As after a sweep alone: less than the brake's limit may be missing, and nobody has deleted them."""
    source = Source(Board())
    repair(source)
    assert TRIPPED not in source.control.state
    source.control.stands("truncated", epoch=2)
    repair(source)
    assert source.control.state[TRIPPED]["on"] and standing(source.control.state) == []
