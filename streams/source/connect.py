"""A small client for Kafka Connect's REST interface.

    ConnectError
    ├── ConnectUnreachable   nobody answers at CONNECT_URL
    ├── ConnectDenied        Connect demands a user and a password, or does not take ours
    ├── ConnectRefused       Connect answered with an error (its status and words)
    └── ConnectorFailed      the connector or its task is FAILED, or not RUNNING in time

RUNNING is not proof that rows flow: the connector says so while it hangs on a lost slot. Ask PostgreSQL as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx

from streams.causes import why

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from streams.settings import ConnectRest

REBALANCE = 30.0  # seconds for which "a rebalance is in process" (409) is waited out
POLL = 0.1


class ConnectError(Exception):
    """Something is wrong with Kafka Connect; `remedy` is what to do where it cannot be asked at all."""

    remedy = "Start Kafka Connect, or correct CONNECT_URL."

    @property
    def sentence(self) -> str:
        """What is wrong, for a command that can do nothing else."""
        return str(self)


class ConnectUnreachable(ConnectError):  # noqa: N818 - the tree above reads better without suffixes
    """Nobody answers at CONNECT_URL."""


class ConnectDenied(ConnectError):  # noqa: N818
    """Connect demands a user and a password, or does not take ours."""

    remedy = "Set CONNECT_USER and CONNECT_PASSWORD to what the Connect worker's own list of users has."

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        return f"{self}. {self.remedy}"


class ConnectRefused(ConnectError):  # noqa: N818
    """Connect answered with an error; `status` is its HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class ConnectorFailed(ConnectError):  # noqa: N818
    """The connector or its task is FAILED, or was not RUNNING in time."""


@dataclass(frozen=True, slots=True)
class ConnectorStatus:
    """What Connect says of a connector: its state, its tasks' states, and why the first failed one failed."""

    state: str
    tasks: tuple[str, ...]
    trace: str | None

    @property
    def running(self) -> bool:
        """The connector and at least one task run, and no task does anything else."""
        return self.state == "RUNNING" and set(self.tasks) == {"RUNNING"}

    @property
    def failed(self) -> bool:
        """The connector or a task is FAILED; Connect does not start it again by itself."""
        return "FAILED" in (self.state, *self.tasks)


class Connect:
    """Kafka Connect at one place. Use it as an asynchronous context manager."""

    def __init__(
        self,
        rest: ConnectRest,
        *,
        timeout: float = 30.0,
        rebalance: float = REBALANCE,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url, self._user, self._rebalance = rest.url, rest.user, rebalance
        self._http = httpx.AsyncClient(
            base_url=rest.url,
            auth=None if rest.user is None or rest.password is None else (rest.user, rest.password.reveal()),
            verify=True if rest.ca_file is None else ssl.create_default_context(cafile=rest.ca_file),
            timeout=timeout,
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def status(self, name: str) -> ConnectorStatus | None:
        """Return the connector's status, None if there is no such connector."""
        answer = await self._get(f"/connectors/{name}/status")
        if answer is None:
            return None
        parts = [answer["connector"], *answer["tasks"]]
        trace = next((part["trace"] for part in parts if part.get("trace")), None)
        return ConnectorStatus(answer["connector"]["state"], tuple(t["state"] for t in answer["tasks"]), trace)

    async def config(self, name: str) -> dict[str, str] | None:
        """Return the connector's configuration (placeholders, no secrets), None if there is no such connector."""
        found: dict[str, str] | None = await self._get(f"/connectors/{name}/config")
        return found

    async def offsets(self, name: str) -> list[dict[str, Any]]:
        """Return the stored offsets: empty before the first one, also while the initial snapshot runs.

        One that was deleted a moment ago is still listed, with null in its place.
        """
        answer = await self._get(f"/connectors/{name}/offsets")
        return [] if answer is None else [one for one in answer["offsets"] if one.get("offset")]

    async def versions(self, plugin: str) -> tuple[str, ...]:
        """Return the versions of a plugin, named by its class, that are there."""
        found = await self._get("/connector-plugins") or []
        return tuple(str(one.get("version")) for one in found if one["class"] == plugin)

    async def put_config(self, name: str, config: Mapping[str, str]) -> bool:
        """Create or update the connector; return whether anything changed. A stopped one stays stopped."""
        wanted = {"name": name, **config}
        if await self.config(name) == wanted:
            return False
        await self._send("PUT", f"/connectors/{name}/config", json=wanted)
        return True

    async def create_stopped(self, name: str, config: Mapping[str, str]) -> None:
        """Register a connector that does nothing yet; what Connect has stored under its name can be deleted then."""
        body = {"name": name, "config": {"name": name, **config}, "initial_state": "STOPPED"}
        await self._send("POST", "/connectors", json=body)

    async def stop(self, name: str, *, seconds: float = 30) -> None:
        """Stop the connector and wait until it has no task: it lets go of its connections and of the slot."""
        await self._send("PUT", f"/connectors/{name}/stop")
        await self._until(name, lambda status: status.state == "STOPPED" and not status.tasks, "STOPPED", seconds)

    async def resume(self, name: str) -> None:
        """Start a stopped connector; returns when it says so no more, or after a moment.

        Check slot against stored offset before: a gap shows no more afterwards.
        """
        await self._send("PUT", f"/connectors/{name}/resume")
        with contextlib.suppress(ConnectorFailed):  # what is wrong, `wait_running` says better
            await self._until(name, lambda status: status.state not in ("STOPPED", "PAUSED"), "starting", 5)

    async def restart(self, name: str, *, only_failed: bool = True) -> None:
        """Start failed (or all) tasks again; returns when the failure shows no more, or has come back."""
        options = f"includeTasks=true&onlyFailed={str(only_failed).lower()}"
        await self._send("POST", f"/connectors/{name}/restart?{options}")
        with contextlib.suppress(ConnectorFailed):  # what is wrong, `wait_running` says better
            await self._until(name, lambda status: not status.failed, "starting", 5)

    async def delete(self, name: str) -> bool:
        """Remove the connector; return whether there was one. Its offsets and its slot stay."""
        try:
            await self._send("DELETE", f"/connectors/{name}")
        except ConnectRefused as error:
            if error.status != httpx.codes.NOT_FOUND:
                raise
            return False
        return True

    async def delete_offsets(self, name: str) -> None:
        """Forget the stored offsets of a stopped connector, so that it starts from its initial snapshot."""
        await self._send("DELETE", f"/connectors/{name}/offsets")

    async def wait_running(self, name: str, *, seconds: float = 30) -> None:
        """Wait until connector and task are RUNNING (or STOPPED or PAUSED by somebody, which is left alone)."""

        def settled(status: ConnectorStatus) -> bool:
            if status.failed:
                raise ConnectorFailed(
                    f"connector {name} failed: {cause(status.trace)} Cure that, then run `connector apply`."
                )
            return status.running or status.state in ("STOPPED", "PAUSED")

        await self._until(name, settled, "RUNNING", seconds)

    async def _until(self, name: str, condition: Any, what: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            status = await self.status(name)
            if status is not None and condition(status):
                return
            if time.monotonic() > deadline:
                raise ConnectorFailed(
                    f"connector {name} was not {what} in {seconds:.0f} s (it says: {status}); read the log of the "
                    "Connect worker"
                )
            await asyncio.sleep(POLL)

    async def _get(self, path: str) -> Any:
        try:
            return (await self._send("GET", path)).json()
        except ConnectRefused as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def _send(self, method: str, path: str, json: Mapping[str, Any] | None = None) -> httpx.Response:
        deadline = time.monotonic() + self._rebalance
        while True:
            try:
                answer = await self._http.request(method, path, json=json)
            except httpx.HTTPError as error:
                raise ConnectUnreachable(
                    f"Kafka Connect does not answer at {self.url}: {why(error)}. Is it running, and is CONNECT_URL "
                    "right?"
                ) from error
            if answer.status_code == httpx.codes.CONFLICT and time.monotonic() < deadline:
                await asyncio.sleep(POLL)  # the workers are sharing out their tasks; Connect asks to try again
                continue
            if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise ConnectDenied(self._denial(answer.status_code))
            if answer.is_error:
                raise ConnectRefused(_refusal(method, path, answer), answer.status_code)
            return answer

    def _denial(self, status: int) -> str:
        if self._user is None:
            return f"Kafka Connect at {self.url} demands a user and a password ({status})"
        what = "does not take the password of" if status == httpx.codes.UNAUTHORIZED else "does not allow this to"
        return f"Kafka Connect at {self.url} {what} CONNECT_USER {self._user} ({status})"


async def unregister(connect: Connect, name: str) -> bool:
    """Stop a connector, forget its position and remove it; return whether there was one. Its slot stays.

    Safe to repeat, also after a kill in the middle.
    """
    if await connect.status(name) is not None:
        await connect.stop(name)
        await connect.delete_offsets(name)
    return await connect.delete(name)


def cause(trace: str | None) -> str:
    """Say why a task failed: the first line of its trace, and the innermost cause, which is the telling one."""
    lines = (trace or "no reason given").splitlines()
    causes = [line.strip() for line in lines if line.startswith("Caused by:")]
    return " ".join([lines[0], *causes[-1:]])[:500]


def _refusal(method: str, path: str, answer: httpx.Response) -> str:
    try:
        words = str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        words = answer.text[:200]
    return f"Kafka Connect refused {method} {path} ({answer.status_code}): {words.strip()}"
