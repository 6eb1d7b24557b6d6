"""A table that came into the file later is not believed before it was read, and none is taken for another one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from clock import run
from fakes import CREDENTIALS_TABLE, OLD_LOGINS, SEEDS, SETTINGS, SEVERAL
from sights import RIGHT

from streams.belonging import Belonging
from streams.commands import source as commands
from streams.control import IDENTITY, REPAIR, SOURCE, TABLES
from streams.identity import RefusedError
from streams.source import reading
from streams.source.connect import ConnectorStatus
from streams.source.connector import connector_config
from streams.source.memory import remember
from tests.unit.test_connector_verbs import NAME, Asked
from tests.unit.test_connector_verbs import asked as asked  # a fixture
from tests.unit.test_repair import WHOLE, Board, Interrupted, Source, repair

if TYPE_CHECKING:
    from streams.settings import CredentialsTable, Settings

FIRST, SECOND, THIRD = (table.name for table in SEVERAL.source.credentials)


def of(*tables: CredentialsTable) -> Settings:
    return replace(SETTINGS, source=replace(SETTINGS.source, credentials=tables))


def read(*names: str) -> dict[str, Any]:
    """The control topic of a pipeline that reads these tables."""
    return {IDENTITY: {"source": ""}, TABLES: {"credentials": list(names)}}


#: What is read, what the file names, and what is said; "" for nothing.
FILES: list[tuple[tuple[str, ...], tuple[CredentialsTable, ...], str]] = [
    ((FIRST,), (CREDENTIALS_TABLE,), ""),
    ((), (), ""),
    ((FIRST, SECOND, THIRD), (CREDENTIALS_TABLE, SEEDS, OLD_LOGINS), ""),
    ((FIRST,), (CREDENTIALS_TABLE, SEEDS), f"has not read {THIRD}, "),
    ((), (CREDENTIALS_TABLE,), f"has not read {FIRST}, "),
    ((FIRST,), (OLD_LOGINS,), f"has not read {SECOND}, "),
    ((FIRST, SECOND), (CREDENTIALS_TABLE,), f"reads {SECOND}, and pipeline.toml does not name it"),
    ((FIRST,), (), f"reads {FIRST}, and"),
    ((FIRST, SECOND), (OLD_LOGINS, CREDENTIALS_TABLE), f"Put {FIRST} first"),
    ((FIRST,), (SEEDS, CREDENTIALS_TABLE), f"Put {FIRST} first"),
    ((FIRST, SECOND), (OLD_LOGINS,), f"Put {FIRST} first, even if it has no rows"),
    ((FIRST, SECOND), (OLD_LOGINS, SEEDS), f"Put {FIRST} first"),
]


@pytest.mark.parametrize(("known", "tables", "said"), FILES)
def test_a_file_of_other_tables_is_refused_with_the_remedy(
    known: tuple[str, ...], tables: tuple[CredentialsTable, ...], said: str
) -> None:
    """Passwords of a table that nobody has read would be missing; another first table would be taken for it."""
    found = reading.refusal(read(*known), of(*tables))
    assert (said in found) if said else (found == "")
    if "has not read" in said:
        assert "`source repair --yes`" in found
    if "Put" not in said:
        assert not reading.misplaced(read(*known), of(*tables))


def test_before_there_was_a_record_the_guard_remembered() -> None:
    """A pipeline of an older version goes on as it is, and a table that is added with the upgrade is found, too."""
    state = {IDENTITY: {"source": ""}, SOURCE: remember(None, RIGHT).body()}
    assert reading.known(state, SETTINGS) == [FIRST]
    assert reading.refusal(state, SETTINGS) == "" and f"has not read {SECOND}" in reading.refusal(state, SEVERAL)
    assert reading.known({}, SEVERAL) is None and reading.refusal({}, SEVERAL) == ""


# -- the worker --------------------------------------------------------------------------------------------------------


class Topic:
    """The control topic."""

    def __init__(self, **state: Any) -> None:
        self.state = state

    @property
    def identity(self) -> Any:
        return self.state.get(IDENTITY)

    async def put(self, key: str, body: Any) -> None:
        self.state[key] = body


def belonging(control: Any, settings: Settings) -> Any:
    refused: list[str] = []
    app = SimpleNamespace(refuse=refused.append, refused=refused)
    found: Any = Belonging(SimpleNamespace(settings=settings, control=control, app=app))  # type: ignore[arg-type]

    async def nothing(*_: Any) -> str:
        return ""

    found._source = found._first_or_same = found._assert_not_emptied = nothing
    return found


def test_a_worker_writes_down_what_is_read_and_refuses_another_file() -> None:
    async def scenario() -> None:
        control = Topic()
        await belonging(control, SETTINGS).find_out("topic")
        assert control.state == {TABLES: {"credentials": [FIRST]}}
        await belonging(control, SETTINGS).find_out("topic")
        with pytest.raises(RefusedError, match="has not read"):
            await belonging(control, SEVERAL).find_out("topic")
        assert control.state == {TABLES: {"credentials": [FIRST]}}

    run(scenario())


def test_a_worker_that_runs_ends_when_other_tables_are_read() -> None:
    """It would read users again without the rows of a table that it does not know."""

    async def scenario() -> None:
        control = Topic(**read(FIRST))
        worker = belonging(control, SETTINGS)
        await worker.follow()
        assert worker._pipeline.app.refused == []
        await control.put(TABLES, reading.body(SEVERAL))
        await worker.follow()
        assert "does not name it" in worker._pipeline.app.refused[0]

    run(scenario())


# -- the commands ------------------------------------------------------------------------------------------------------


def test_a_repair_reads_a_new_table_and_says_so_first() -> None:
    """Workers with the file of before have time to end while the connector stops."""
    source = Source(Board())
    source.control.state[TABLES] = {"credentials": []}
    said = repair(source)
    assert said[0] == "tables: public.credentials, public.users are read from now on" and source.did == WHOLE
    assert source.control.state[TABLES] == {"credentials": [FIRST], "ends": {"0": 70, "1": 71}}


def test_a_repair_for_another_reason_lets_the_workers_run() -> None:
    """Of tables in another order, or known by the guard alone, nothing new is read."""
    source = Source(Board())
    del source.control.state[TABLES]
    said = repair(source)
    assert said[0].startswith("stop") and TABLES not in source.control.state
    assert not reading.differs(read(FIRST, THIRD, SECOND), SEVERAL)


@pytest.mark.parametrize("step", WHOLE)
def test_no_worker_runs_until_the_new_table_was_read_however_often_it_is_begun(step: str) -> None:
    """It would send null as the password of whoever has one there."""
    source = Source(Board())
    source.control.state[TABLES] = {"credentials": []}
    source.fail_at = step
    with pytest.raises(Interrupted):
        repair(source)
    refused = reading.refusal(source.control.state, SETTINGS)
    assert "reads other tables than before" in refused and "after its step `snapshot`" in refused
    if step == "resume":  # noted before
        source.control.tell("STARTED", "COMPLETED")
    repair(source)
    assert reading.refusal(source.control.state, SETTINGS) == ""
    assert source.control.state[TABLES] == reading.done(SETTINGS, {0: 70, 1: 71})


def test_a_repair_that_has_resumed_begins_anew_for_a_table_that_came_since() -> None:
    """The connector that runs does not know it."""
    source = Source(Board())
    source.fail_at = "resume"
    with pytest.raises(Interrupted):
        repair(source)
    assert source.control.state[REPAIR]["memory"] is not None
    source.control.state[TABLES] = {"credentials": []}
    source.did.clear()
    repair(source)
    assert source.did[0] == "stop" and "config" in source.did


def test_the_preview_of_a_repair_names_the_new_table() -> None:
    steps = commands._steps(SEVERAL, enable=True, moved=False, new=reading.unread(read(FIRST), SEVERAL))
    assert steps[0].startswith(f"read {SECOND}, {THIRD}, too")


def running(asked: Asked, settings: Settings, stored: Settings) -> Any:
    asked.settings = settings
    asked.stored = {"name": NAME, **connector_config(stored)}
    asked.found = ConnectorStatus("RUNNING", ("RUNNING",), None)
    return asked


@pytest.mark.parametrize("yes", [(), ("--yes",)])
@pytest.mark.parametrize("stored", [SETTINGS, SEVERAL], ids=["as it was", "changed by hand"])
def test_a_connector_that_streams_gets_no_new_table(asked: Asked, yes: tuple[str, ...], stored: Settings) -> None:
    """What is in the table already would never come."""
    running(asked, SEVERAL, stored).state = read(FIRST)
    said = asked.say("apply", *yes)
    assert (
        said.exit_code == 1
        and f"{SECOND}, {THIRD} is new, and" in said.stderr
        and "`source repair --yes`" in said.stderr
    )
    assert asked.did == [] and asked.state == read(FIRST)


def test_at_the_very_beginning_a_connector_without_a_position_reads_them_all(asked: Asked) -> None:
    """With users that are known it would read them while workers send: that is what the repair is for."""
    running(asked, SEVERAL, SETTINGS).state = read(FIRST)
    asked.position = False
    assert asked.say("apply", "--yes").exit_code == 1
    del asked.state[IDENTITY]
    assert asked.say("apply", "--yes").exit_code == 0
    assert asked.did == ["config"] and asked.state[TABLES] == reading.body(SEVERAL)


def test_a_table_is_left_out_from_now_on(asked: Asked) -> None:
    """Workers with the file of before end; a start with the new one is not refused."""
    running(asked, SETTINGS, SEVERAL).state = read(FIRST, SECOND, THIRD)
    assert "table.include.list" in asked.say("apply").output and asked.state == read(FIRST, SECOND, THIRD)
    said = asked.say("apply", "--yes", "--json")
    assert said.exit_code == 0 and orjson.loads(said.output)["changed"] is True
    assert asked.state[TABLES] == {"credentials": [FIRST]} and reading.refusal(asked.state, SETTINGS) == ""


def test_another_first_table_is_refused_by_all_commands(asked: Asked) -> None:
    settings = of(OLD_LOGINS, CREDENTIALS_TABLE)
    running(asked, settings, SETTINGS).state = read(FIRST)
    asked.position = False
    said = asked.say("apply", "--yes")
    assert said.exit_code == 2 and f"Put {FIRST} first" in said.stderr and asked.did == []
    del asked.state[IDENTITY]  # no worker has ever run: nothing is known of any row
    assert asked.say("apply", "--yes").exit_code == 0
