"""The stand-in of cidaas that a rehearsal delivers into: a process of this machine that keeps nothing on a disk."""

from __future__ import annotations

import os
import re
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

import httpx
import orjson

from streams.identity import RefusedError
from streams.rehearsal.processes import Child
from streams.rehearsal.tenant import switches

if TYPE_CHECKING:
    from streams.rehearsal.tenant import Tenant
    from streams.settings import Settings

#: Seconds until it says where it listens.
_START = 30.0
_SAYS = re.compile(r"cidaas stand-in on (http://\S+)")


#: The folder of the sources; an installed package has no `demo` beside it.
_SOURCES = Path(__file__).resolve().parents[2]


def assert_there() -> None:
    """It lies with the sources, and not in an installed package.

    Raises:
        RefusedError: it is not there.
    """
    if not (_SOURCES / "demo" / "standin" / "__main__.py").exists():
        raise RefusedError(
            "the stand-in of cidaas (demo/standin) is not on this machine: run `rehearse` where the sources are"
        )


class Standin:
    """A running one, which behaves as `tenant`; `async with`."""

    def __init__(self, settings: Settings, tenant: Tenant, log: Path) -> None:
        self._settings, self._tenant, self._log = settings, tenant, log
        self._client = {"CIDAAS_CLIENT_ID": "rehearsal", "CIDAAS_CLIENT_SECRET": secrets.token_urlsafe(24)}
        self._child: Child | None = None
        self.url = ""

    async def __aenter__(self) -> Self:
        assert_there()
        values = switches(self._settings)
        wanted = [f"--set={name}={orjson.dumps(value).decode()}" for name, value in values.items()]
        command = [sys.executable, "-m", "demo.standin", "--port", "0", *wanted]
        self._child = await Child.start(command, {**os.environ, **self._client}, self._log, _SOURCES)
        try:
            self.url = await self._child.said(_SAYS, _START)
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                answer = await client.post(f"{self.url}/_test/faults", json=self._tenant.faults())
                answer.raise_for_status()
        except BaseException:
            await self._child.end()
            raise
        return self

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which a worker reaches it, and nothing else."""
        return {"CIDAAS_BASE_URL": self.url, **self._client}

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            await self._child.end()
