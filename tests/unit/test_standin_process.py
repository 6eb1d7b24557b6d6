"""The stand-in as a process: it forgets nothing, ends at once, and says in one sentence why it cannot start."""

from __future__ import annotations

import asyncio
import os
import random
import re
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from standin_kit import BULK, CREDENTIALS, HASH, running, sub, user

from demo.standin.journal import Journal
from demo.standin.users import Users, keys_of

ROOT = Path(__file__).resolve().parents[2]


async def start(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "demo.standin", *arguments,
        cwd=ROOT, env=os.environ | environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def address(process: asyncio.subprocess.Process) -> tuple[str, str]:
    assert process.stderr is not None
    line = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
    found = re.search(r"http://\S+", line)
    assert found, line
    return found[0], line


async def refused(*arguments: str) -> str:
    process = await start(*arguments)
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert len(errors.decode().splitlines()) == 1
    return errors.decode()


async def test_kill_9_forgets_nothing_and_sigterm_ends_at_once(tmp_path: Path) -> None:
    data = str(tmp_path / "state" / "users")
    secret = {"CIDAAS_CLIENT_ID": "me", "CIDAAS_CLIENT_SECRET": "other"}
    process = await start("--port", "0", "--data", data, "--set", "token_lifetime=60", **secret)
    url, _ = await address(process)
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/token-srv/token", json=CREDENTIALS)).status_code == 401
        mine = CREDENTIALS | {"client_id": "me", "client_secret": "other"}
        token = (await http.post("/token-srv/token", json=mine)).json()["access_token"]
        http.headers["Authorization"] = f"Bearer {token}"
        await http.post(BULK, json=[user(number) for number in range(50)])
        await http.post(BULK, json=[user(3, given_name="Ada")])
        await http.delete(f"/users-srv/user/purge/{sub(4)}")
        before = (await http.get("/_test/dump")).text, (await http.get("/_test/history")).text
        in_use = await refused("--port", "0", "--data", data)
        assert "in use by another stand-in" in in_use
    process.kill()
    await process.communicate()

    process = await start("--port", "0", "--data", data)
    url, line = await address(process)
    assert "with 49 users" in line
    async with httpx.AsyncClient(base_url=url) as http:
        after = (await http.get("/_test/dump")).text, (await http.get("/_test/history")).text
        assert after == before
        # A caller that is killed in the middle of its request is no error.
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /users-srv/user/bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n[{")
        await writer.drain()
        writer.close()
        async with asyncio.timeout(10):
            while "bulk" not in (await http.get("/_test/counters")).json()["calls"]:
                pass
        # A call that is held does not hold up the end.
        await http.post("/_test/faults", json={"action": "hold"})
        held = asyncio.create_task(http.post("/token-srv/token", json=CREDENTIALS))
        async with asyncio.timeout(10):
            while "token" not in (await http.get("/_test/counters")).json()["in_flight"]:
                pass
        process.terminate()
        _, errors = await asyncio.wait_for(process.communicate(), 5)
        with pytest.raises(httpx.HTTPError):
            await held
    assert (process.returncode, errors) == (0, b"")


async def test_what_keeps_it_from_starting_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert f"port {port} is taken" in await refused("--port", port)
    damaged = tmp_path / "users"
    damaged.write_bytes(b'{"s":"N","n":1}\nwhat?\n{"s":"N","n":1}\n')
    assert "damaged at line 2" in await refused("--port", "0", "--data", str(damaged))
    assert "cannot be used" in await refused("--port", "0", "--data", str(tmp_path))
    assert "did you mean purge?" in await refused("--set", "purg=delayed")
    assert "cannot listen on 192.0.2.1" in await refused("--host", "192.0.2.1", "--port", "0")


async def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    data = tmp_path / "users"
    async with running(data) as kit:
        await kit.bulk(user(1), user(2))
    whole = data.read_bytes()
    data.write_bytes(whole[:-20])
    async with running(data) as kit:
        assert list(kit.tenant.users.values) == [sub(1)]
        await kit.bulk(user(3))
    async with running(data) as kit:
        assert list(kit.tenant.users.values) == [sub(1), sub(3)]


async def test_an_accepted_purge_survives(tmp_path: Path) -> None:
    data = tmp_path / "users"
    async with running(data, purge="delayed", purge_delay=0.2) as kit:
        await kit.one()
        await kit.http.delete(f"/users-srv/user/purge/{sub()}")
    async with running(data) as kit:
        end = asyncio.get_running_loop().time() + 10
        while kit.entity(sub()):
            assert asyncio.get_running_loop().time() < end, "the purge was forgotten"
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_file_and_its_compaction_keep_every_state(tmp_path: Path, seed: int) -> None:
    """Random states: reading the file, and the compacted file, gives the same users, owners and history."""
    luck = random.Random(seed)

    def grown() -> dict[str, Any]:
        return {"email": f"u{luck.randrange(1000)}@x.org", "given_name": 'a",":\\"u":{' * luck.randrange(3)}

    def everything(users: Users) -> tuple[Any, ...]:
        return list(users.values.items()), users.owners, users.history, users.purges, users.number

    users, journal = Users(), Journal(tmp_path / "users")
    journal.open(users)
    for now in range(1, 400):
        name = f'sub "{luck.randrange(20)}",u'
        if luck.random() < 0.2:
            users.remove(name, now)
        else:
            entity = grown() | {"sub": name, "password_hash_info": {"passwordHash": HASH}}
            keys = keys_of(entity)
            if not users.taken_by(keys, name):
                users.put(name, entity, keys, users.entity(name), now)
        journal.write(users.lines)
    users.purge_later("x", 1, 2)
    journal.write(users.lines)
    journal.close()

    for compact_from in (10**9, 0, 0):
        again, reader = Users(), Journal(tmp_path / "users")
        size = (tmp_path / "users").stat().st_size
        reader.open(again, compact_from)
        assert everything(again) == everything(users), f"seed {seed}"
        assert reader.size == (tmp_path / "users").stat().st_size
        if compact_from == 0 and size > 40_000:
            assert reader.size < size / 2
        reader.close()
