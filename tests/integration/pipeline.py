"""One pipeline under test: its configuration file, its workers, its cidaas, and the independent check at its end."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import psycopg

from demo.oracle import await_equal
from demo.stack import postgres
from demo.stack.places import ROOT
from tests.integration.legacy import Legacy
from tests.integration.standin import Cidaas, start_standin
from tests.integration.waiting import until
from tests.integration.workers import Said, Worker, command, free_ports

if TYPE_CHECKING:
    from pathlib import Path

    from demo.oracle import Report
    from demo.stack import Stack

#: For tests that are not about the brake, and with a call time-out that makes `settle` (C4, C5) 8 s.
STANDARD = {"cidaas.timeout": "3.0", "brake.floor": "1_000_000", "brake.ceiling": "1_000_000"}


def configured(changes: dict[str, str]) -> str:
    """The delivered pipeline.toml with some keys set: {"section.key": "TOML value"}."""
    text = (ROOT / "pipeline.toml").read_text()
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        head, found, rest = text.partition(f"[{section}]")
        assert found, f"there is no [{section}] in pipeline.toml"
        body, bracket, tail = rest.partition("\n[")
        line = re.compile(rf"^#? ?{key} *=.*$", re.MULTILINE)
        body = line.sub("", body) + f"\n{key} = {value}"
        text = head + found + body + bracket + tail
    return text


class Pipeline:
    """An app id on the shared stack."""

    def __init__(self, stack: Stack, folder: Path, app_id: str = "cidaas-sync", cidaas_port: int | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stack, self.folder, self.app_id = stack, folder, app_id
        self.config_file = folder / "pipeline.toml"
        self.workers: dict[str, Worker] = {}
        self.legacy = Legacy(stack.env["LEGACY_ADMIN_URL"])
        self._config: dict[str, str] = {}
        self.configure()
        self.env = stack.layout.environment({"PIPELINE_CONFIG": str(self.config_file), "PYTHONUNBUFFERED": "1"})
        for name in ("APP_DATADIR", "WEB_PORT"):
            self.env.pop(name)
        self._standin: subprocess.Popen[bytes] | None = None
        if cidaas_port is not None:
            self.env["CIDAAS_BASE_URL"] = f"http://127.0.0.1:{cidaas_port}"
        namespace = re.search(r'^sub_namespace = "(.*?)"', self.config_file.read_text(), re.MULTILINE)
        assert namespace is not None
        self.cidaas = Cidaas(self.env["CIDAAS_BASE_URL"], namespace[1])

    def start_cidaas(self) -> None:
        """Start the stand-in of this pipeline alone."""
        port = int(self.env["CIDAAS_BASE_URL"].rpartition(":")[2])
        self._standin = start_standin(self.env, port, self.folder / "cidaas.log")
        until(self.cidaas.answers, "the stand-in answers")

    def configure(self, **changes: str) -> None:
        """Write the configuration file: the standard of the tests, and `section__key="TOML value"`."""
        named = {name.replace("__", "."): value for name, value in changes.items()}
        self._config = STANDARD | {"pipeline.app_id": f'"{self.app_id}"'} | named
        self.config_file.write_text(configured(self._config))

    # -- workers ---------------------------------------------------------------------------------------------------

    @property
    def worker(self) -> Worker:
        """The worker, when there is one."""
        (found,) = self.alive()
        return found

    def alive(self) -> list[Worker]:
        """The workers that run."""
        return [worker for worker in self.workers.values() if worker.alive]

    def launch(self, name: str = "one", **env: str) -> Worker:
        """Start a worker and return at once; the same name has the same data folder."""
        before = self.workers.get(name)
        assert before is None or not before.alive, f"worker {name} runs already"
        worker = self.workers[name] = Worker(name, self.folder, self.env | env)
        worker.marks = (self._config, env)
        worker.start()
        return worker

    def start(self, name: str = "one", **env: str) -> Worker:
        """Start a worker and wait until it has taken its partitions over."""
        worker = self.launch(name, **env)
        worker.await_ready()
        return worker

    def ensure(self, **changes: str) -> Worker:
        """One worker with this configuration, whatever the test before left; started again only if it must be."""
        self.configure(**changes)
        alive = self.alive()
        if len(alive) == 1 and getattr(alive[0], "marks", None) == (self._config, {}):
            alive[0].await_ready()
            return alive[0]
        self.stop()
        return self.start()

    def stop(self) -> None:
        """Stop every worker of this pipeline kindly, all at once."""
        alive = self.alive()
        for worker in alive:
            worker.kill(signal.SIGTERM)
        for worker in alive:
            worker.wait(25)

    def close(self) -> None:
        """End every process of this pipeline."""
        for worker in self.alive():
            worker.kill()
        if self._standin is not None:
            self._standin.terminate()
            try:
                self._standin.wait(10)
            except subprocess.TimeoutExpired:
                self._standin.kill()

    # -- commands --------------------------------------------------------------------------------------------------

    def command(self, *words: str, worker: Worker | None = None, seconds: float = 60.0, **env: str) -> Said:
        """Run `faust -A streams.app WORDS`, looking at this worker (default: the only one)."""
        alive = self.alive()
        asked = worker or (alive[0] if alive else None)
        url = {"WORKER_URL": f"http://127.0.0.1:{asked.port if asked else 1}"}
        return command(self.env | url | env, *words, seconds=seconds)

    def json(self, *words: str, code: int = 0, worker: Worker | None = None) -> dict[str, Any]:
        """Run a command with --json; its answer."""
        said = self.command(*words, "--json", worker=worker)
        assert said.code == code, said
        body: dict[str, Any] = orjson.loads(said.out)
        return body

    def sentence(self, user: int, contains: str, seconds: float = 30.0) -> str:
        """Wait until the worker says this of the user."""
        worker = self.worker

        def said() -> str:
            sentence = str(worker.user(user).get("sentence", ""))
            return sentence if re.search(contains, sentence) else ""

        return until(said, lambda: f"{contains!r} said of user {user}, but: {worker.user(user)}", seconds)

    # -- the oracle ------------------------------------------------------------------------------------------------

    def assert_equal(self, seconds: float = 60.0) -> Report:
        """Legacy tables = cidaas: nothing missing, stale or resurrected; nobody was in two calls at a time."""
        report = asyncio.run(await_equal(self.env, seconds=seconds))
        if not report.ok or report.unexpected:
            wrong = [f.user for name in ("missing", "stale", "resurrected") for f in report.findings.get(name, [])]
            raise AssertionError("\n".join([*report.lines(), *self._said_of(wrong[:5])]))
        self.cidaas.assert_one_call_a_user()
        return report

    def _said_of(self, users: list[str]) -> list[str]:
        lines = []
        for worker in self.alive():
            for user in users:
                said = worker.user(int(user)).get("sentence")
                if said:
                    lines.append(f"  worker {worker.name} on user {user}: {said}")
        return lines


def own_pipeline(stack: Stack, folder: Path, app_id: str) -> Pipeline:
    """A pipeline from nothing: it reads the topic from its beginning into a cidaas of its own."""
    return Pipeline(stack, folder, app_id, next(free_ports))


def take_back(stack: Stack, name: str, tables: str) -> None:
    """Leave the shared database as it was: no connector `name`, no slot, no publication, none of these tables."""
    httpx.delete(f"{stack.env['CONNECT_URL']}/connectors/{name}", trust_env=False)
    with postgres.connect(stack.layout) as admin:
        admin.execute(f"DROP TABLE IF EXISTS {tables} CASCADE".encode())
        admin.execute(f"DROP PUBLICATION IF EXISTS {name}".encode())

        def dropped() -> bool:
            try:
                admin.execute(
                    "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (name,)
                )
            except psycopg.errors.ObjectInUse:
                return False
            return True

        until(dropped, "the slot can be dropped")
