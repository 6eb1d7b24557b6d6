"""The last act, by the commands of the README: sign off who is refused, freeze, certificate, finish.

An end that was interrupted is gone on with: after its first step no worker starts any more.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from demo.job.summary import relative
from demo.stack.places import ROOT

if TYPE_CHECKING:
    from demo.job.machine import Machine
    from demo.job.marker import Marker
    from demo.job.screen import Screen

ARCHIVE, CERTIFICATE, KEY = "archive", "certificate", "certificate.key"
_CONFIG = "evening.toml"


class EveningError(Exception):
    """A command did not do what it is there for; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command has said."""

    code: int
    out: str
    err: str

    @property
    def body(self) -> dict[str, Any]:
        """What it has said as JSON."""
        found: dict[str, Any] = orjson.loads(self.out)
        return found


class Evening:
    """The go-live of a demo whose check was fine."""

    def __init__(self, machine: Machine, screen: Screen, marker: Marker) -> None:
        self._machine, self._screen, self._marker = machine, screen, marker
        self._run_dir: Path = machine.stack.layout.run_dir

    async def run(self) -> None:
        """Do all of it. Raises EveningError."""
        self._configure()
        replace(self._marker, ending=True).write(self._run_dir)
        await self._freeze()
        await self.finish()

    async def undone(self) -> bool:
        """Whether an evening that was interrupted had no GO yet; then everything is as before it."""
        said = await self._command("cutover", "finish", codes=(0, 2))
        if said.code == 0 or "there is no GO" not in said.err:
            return False
        await self._command("cutover", "abort", "--yes")
        return True

    async def _freeze(self) -> None:
        with self._screen.stage("freeze", "proves that every change is in, for every user") as stage:
            await self._command("quarantine", "drop", "--all", "--yes")
            said = await self._command("cutover", "freeze", "--yes", "--json", codes=(0, 1))
            if said.code:
                reasons = "; ".join(one["what"] for one in said.body["reasons"])
                stage.result("NO-GO")
                raise EveningError(f"NO-GO: {reasons}")
            body = said.body
            users, out = body["certificate"]["users"], len(body["certificate"]["not_confirmed"])
            stage.result(f"GO: every change is in, for {users:,} users; {out:,} of them signed off, and not at cidaas")
        with self._screen.stage("proof", "a signed certificate") as stage:
            page, document = (self._run_dir / f"{CERTIFICATE}.{suffix}" for suffix in ("html", "json"))
            said = await self._command("cutover", "certificate", "--json", "--html", str(page))
            document.write_text(said.out)
            await self._command("cutover", "verify", str(document))
            stage.result(f"{relative(page)}, signed and verified")

    async def finish(self) -> None:
        """Take everything away, also where an earlier run has begun with it."""
        with self._screen.stage("finish", "takes everything away but one archive") as stage:
            await self._machine.release("worker")
            await self._ended()
            said = await self._command("cutover", "finish", "--yes", "--json")
            kept = said.body["archive"]
            left = sorted(place for place, found in said.body["left"].items() if found)
            if left or kept is None:
                raise EveningError(f"something is left: {', '.join(left)}")
            stage.result("connector, slot, publication, roles, topics, local state are gone")
        self._screen.line("kept", f"{relative(Path(kept['file']))}: ledger, audit, certificate; no secret")

    async def _ended(self) -> None:
        """Wait until the group has forgotten the worker, which was stopped, or killed some seconds ago."""
        async with asyncio.timeout(60):
            while (said := await self._command("cutover", "finish", codes=(0, 2))).code:
                if "workers run still" not in said.err:
                    raise EveningError(said.err.strip())
                await asyncio.sleep(0.5)  # a poll: the broker tells nobody when a member's time is over

    # -- commands ------------------------------------------------------------------------------------------------------

    async def _command(self, *words: str, codes: tuple[int, ...] = (0,)) -> Said:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "streams", *words),
            cwd=ROOT,
            env=self._env(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.terminate()
            await process.wait()
            raise
        said = Said(process.returncode or 0, out.decode(), err.decode())
        if said.code not in codes:
            raise EveningError(f"`{' '.join(words)}` ended with {said.code}: {(said.err or said.out).strip()}")
        return said

    def _configure(self) -> None:
        """Write a pipeline.toml with an archive folder that no demo before has used, and make a key."""
        shipped = (ROOT / "pipeline.toml").read_text()
        number = 1 + sum(1 for _ in self._run_dir.glob(f"{ARCHIVE}-*"))
        made, found = re.subn(r"(?m)^\[cutover\].*$", f'[cutover]\narchive = "{ARCHIVE}-{number}"', shipped)
        assert found == 1, "pipeline.toml has one table [cutover]"
        (self._run_dir / _CONFIG).write_text(made)
        key = self._run_dir / KEY
        key.touch(0o600)
        key.write_text(secrets.token_hex(32) + "\n")

    def _env(self) -> dict[str, str]:
        own = {
            "PIPELINE_CONFIG": str(self._run_dir / _CONFIG),
            "SYNC_CERTIFICATE_KEY_FILE": str(self._run_dir / KEY),
        }
        return self._machine.stack.layout.environment() | own
