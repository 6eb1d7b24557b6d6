"""`reconcile` on a screen, as JSON and as a page: counts and ids, an exit code, and never a value."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from click.testing import CliRunner, Result
from fakes import SETTINGS, credential_row, user_row
from reconciling import Moving, play

from streams.commands import orders
from streams.commands import reconcile as command
from streams.control import RECONCILE
from streams.identity import RefusedError
from streams.reconcile import last
from streams.reconcile import run as running
from streams.reconcile.cases import CURES, DIFFERENCES, MEANING, WAITING, Case
from streams.reconcile.run import Wrong
from streams.rows import Removal, Resync, SetAside

if TYPE_CHECKING:
    from pathlib import Path

    from streams.rows import Control

AT = 1_800_000_000.0


def found(*wrong: Wrong, confirmed: int = 5, **more: Any) -> running.Result:
    result = running.Result(AT, 3.0, read_back=confirmed, **more)
    for number in range(confirmed):
        result.add(Case.CONFIRMED, str(100 + number))
    for one in wrong:
        result.add(one.case, one.user)
        result.wrong.append(one)
    return result


DIFFERENT = (
    Wrong("1", Case.LOST), Wrong("2", Case.STALE), Wrong("3", Case.GHOST, (), (1, 77), 4), Wrong("4", Case.MISSING),
    Wrong("5", Case.CHANGED_AT_TARGET, ("email", "address.locality")), Wrong("6", Case.NOT_DELETED),
    Wrong("sub-7", Case.FOREIGN),
)  # fmt: skip


class Stage:
    """A run that finds what it is told, a control topic, and orders that are only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.result = found()
        self.asked: dict[str, Any] = {}
        self.state: dict[str, Any] = {}
        self.ordered: list[tuple[str, Control]] = []
        monkeypatch.setattr(command, "compare", self._compare)
        monkeypatch.setattr(command, "Controls", self._controls)
        monkeypatch.setattr(orders, "Desk", self._desk)

    async def _compare(self, _: Any, control: Any, **asked: Any) -> running.Result:
        self.asked = asked
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    @asynccontextmanager
    async def _controls(self, _: Any) -> Any:
        yield self

    async def put(self, key: str, body: dict[str, Any]) -> None:
        self.state[key] = orjson.loads(orjson.dumps(body))

    @asynccontextmanager
    async def _desk(self, _: Any) -> Any:
        yield self

    async def order(self, some: Any) -> None:
        self.ordered += some

    def run(self, *words: str) -> Result:
        (one,) = command.commands(SETTINGS)
        return CliRunner().invoke(one, list(words))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Without a Kafka, a database or a cidaas."""
    return Stage(monkeypatch)


def test_clean_is_zero_and_is_kept(stage: Stage) -> None:
    said = stage.run()
    assert said.exit_code == 0 and "Clean: legacy database, pipeline and cidaas say the same." in said.output
    assert stage.asked == {"sample": None, "rate": 10.0}
    kept = stage.state[RECONCILE]
    assert (kept["at"], kept["differences"], kept["counts"]) == (AT, {}, {"confirmed": 5})
    assert last.words(kept, AT + 7_200) == "2 h ago: clean"


def test_differences_are_one_and_named_by_id_with_what_cures_them(stage: Stage) -> None:
    stage.result = found(*DIFFERENT)
    said = stage.run()
    assert said.exit_code == 1 and "7 of 12 users differ." in said.output
    text = " ".join(said.output.split())
    assert "lost: in the legacy database, and no record has shown them --repair: read again" in text
    assert "Fields: email (1), address.locality (1). --repair: sent to cidaas again." in text
    assert "nobody here knows them They are left alone. for example sub-7" in text
    assert stage.ordered == []
    words = last.words(stage.state[RECONCILE], AT + 60)
    assert words.startswith("1 min ago: 7 differences (1 lost, 1 stale, 1 ghost, 1 missing, 1 changed at target")


def test_json_has_all_of_them_and_the_page_the_counts(stage: Stage, tmp_path: Path) -> None:
    stage.result = found(*DIFFERENT, left_out=["public.users.span"], not_stored=["customFields.x"])
    file = tmp_path / "page.html"
    said = stage.run("--json", "--html", str(file))
    body = orjson.loads(said.stdout)
    assert said.exit_code == 1 and body["clean"] is False and len(body["wrong"]) == 7
    assert body["wrong"][4] == {"user": "5", "case": "changed_at_target", "fields": ["email", "address.locality"]}
    assert body["not_compared"] == {"columns": ["public.users.span"], "fields": ["customFields.x"]}
    page = file.read_text()
    assert "7 of 12 users differ." in page and "public.users.span" in page and "customFields.x" in page


def test_a_preview_says_what_would_be_done_and_does_nothing(stage: Stage) -> None:
    stage.result = found(*DIFFERENT)
    said = stage.run("--repair")
    assert said.exit_code == 1 and stage.ordered == []
    for line in (
        "1 lost: read again from the legacy database",
        "1 ghost: removed, behind the delete brake and a second look",
        "1 not deleted: sent to cidaas again",
        "Repeat with --yes",
    ):
        assert line in said.output
    body = orjson.loads(stage.run("--repair", "--json").stdout)
    assert body["changed"] is False and len(body["would"]) == 6 and len(body["wrong"]) == 7


def test_a_repair_orders_what_cures_each_and_leaves_strangers_alone(stage: Stage) -> None:
    stage.result = found(*DIFFERENT)
    said = stage.run("--repair", "--yes")
    assert said.exit_code == 1, "the stranger is still there"
    kinds = {user: type(control) for user, control in stage.ordered}
    assert kinds == {"1": SetAside, "2": SetAside, "3": Removal, "4": Resync, "5": Resync, "6": Resync}
    removal = dict(stage.ordered)["3"]
    assert isinstance(removal, Removal) and (removal.applied, removal.epoch, removal.lsn) == ((1, 77), 4, None)
    assert stage.run("--repair", "--yes", "--accept-foreign").exit_code == 0


def test_only_some_cases_are_repaired(stage: Stage) -> None:
    stage.result = found(*DIFFERENT)
    assert stage.run("--repair", "--yes", "--only", "ghost", "--only", "missing").exit_code == 1
    assert [user for user, _ in stage.ordered] == ["3", "4"]


def test_with_nothing_to_repair_nothing_is_done(stage: Stage) -> None:
    said = stage.run("--repair", "--yes")
    assert said.exit_code == 0 and "nothing is to be repaired." in said.output and stage.ordered == []


def test_users_of_the_tenant_alone_can_be_accepted(stage: Stage) -> None:
    stage.result = found(Wrong("sub-7", Case.FOREIGN))
    assert stage.run().exit_code == 1
    said = stage.run("--accept-foreign")
    assert said.exit_code == 0 and "Accepted, so no differences." in said.output
    assert stage.state[RECONCILE]["counts"]["foreign"] == 1 and stage.state[RECONCILE]["differences"] == {}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--yes"], "belong to --repair"),
        (["--only", "ghost"], "belong to --repair"),
        (["--sample", "5", "--without-cidaas"], "give one of the two"),
        (["--html", "/no/such/folder/page.html"], "cannot be written"),
    ],
)
def test_words_that_make_no_sense_are_refused(stage: Stage, words: list[str], says: str) -> None:
    said = stage.run(*words)
    assert said.exit_code == 2 and says in said.stderr and stage.asked == {}


def test_what_cannot_be_told_is_two(stage: Stage) -> None:
    stage.result = RefusedError("the connector has not passed")  # type: ignore[assignment]
    said = stage.run()
    assert said.exit_code == 2 and said.stderr == "the connector has not passed\n" and stage.state == {}


def test_each_case_has_its_meaning() -> None:
    assert set(MEANING) == set(Case) and set(CURES) == DIFFERENCES and not DIFFERENCES & WAITING


# -- no secret --------------------------------------------------------------------------------------------------------


def test_no_value_of_anybody_leaves_memory(stage: Stage, tmp_path: Path) -> None:
    """Everything that is secret or personal has a word of its own; none of them stands in anything that is written."""
    canary = "KANARIE"
    row = {name: f"{canary}-{name}" for name in SETTINGS.source.users.columns if name not in ("id", "status")}
    row["email"] = f"{canary}@example.org"

    async def scenario(moving: Moving) -> None:
        legacy, tenant = moving.legacy, moving.world.tenant
        for number in range(1, 6):
            mail = {"email": f"{canary}{number}@example.org"}
            legacy.change("c", "users", user_row(number, **row | mail))
            legacy.change(
                "c", "credentials", credential_row(number * 10, number, secret="$2b$04$" + canary * 8, salt=canary)
            )
        await moving.sync()
        legacy.change("u", "users", user_row(1, **row | {"city": canary + "x"}), lost=True)
        legacy.leave(2, lost=True)
        tenant.users[moving.world.sub(3)] |= {"email": canary + "y@example.org"}
        del tenant.users[moving.world.sub(4)]
        tenant.users["stranger"] = {"sub": "stranger", "email": canary + "@example.org"}
        stage.result = await moving.reconcile()

    play(scenario, replace(SETTINGS))
    file = tmp_path / "page.html"
    written = [
        stage.run("--html", str(file), "--repair", "--yes").output,
        stage.run("--json").output,
        file.read_text(),
        orjson.dumps(stage.state).decode(),
        repr(stage.result),
        repr(stage.ordered),
    ]
    assert len(stage.result.wrong) == 5
    assert [text for text in written if canary in text] == []
