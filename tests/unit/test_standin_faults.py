"""The stand-in's scripted faults: each does what its script says, and no more often."""

from __future__ import annotations

import asyncio
import email.utils
import time
from typing import Any

import httpx
import pytest
from standin_kit import BULK, Kit, running, sub, until, user


async def statuses(kit: Kit, number: int) -> list[int]:
    return [(await kit.http.post(BULK, json=[user(each)])).status_code for each in range(number)]


async def test_a_status_with_body_and_headers_for_some_calls() -> None:
    async with running() as kit:
        await kit.fault(action="status", status=502, body="<html>", headers={"X-Proxy": "1"}, skip=1, count=2)
        assert await statuses(kit, 4) == [200, 502, 502, 200]
        assert len(kit.tenant.users) == 2
        assert (await kit.counters())["faults"] == {"status": 2}
        await kit.fault(action="status", status=504, when="after", count=1)
        assert await statuses(kit, 2) == [504, 200]
        assert sub(0) in kit.tenant.users.values


async def test_probability_repeats_with_its_seed() -> None:
    async def run() -> list[int]:
        async with running() as kit:
            await kit.fault(action="status", status=503, probability=0.5, seed=7)
            return await statuses(kit, 20)

    first = await run()
    assert {200, 503} == set(first)
    assert first == await run()


async def test_a_fault_is_for_its_endpoint_and_user_only() -> None:
    async with running() as kit:
        await kit.fault(action="status", status=500, match={"endpoint": "bulk", "sub": sub(2)})
        await kit.fault(action="status", status=501, match={"method": "delete"})
        assert await statuses(kit, 3) == [200, 200, 500]
        assert (await kit.http.delete(f"/users-srv/user/purge/{sub()}")).status_code == 501
        assert (await kit.http.get(f"/user-srv/users/{sub()}")).status_code == 200
        listed = (await kit.http.get("/_test/faults")).json()["faults"]
        assert [fault["fired"] for fault in listed] == [1, 1]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("action", "applied"), [("drop-before", False), ("drop-after", True), ("partial-answer", True)]
)
async def test_a_lost_connection(action: str, applied: bool, reset: bool) -> None:
    async with running() as kit:
        await kit.fault(action=action, count=1, reset=reset)
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await kit.one()
        assert (sub() in kit.tenant.users.values) is applied
        assert (await kit.one())["process_state"] == ("UPDATED" if applied else "CREATED")


async def test_a_call_can_be_applied_long_after_its_connection_was_lost() -> None:
    async with running() as kit:
        await kit.fault(action="apply-later", seconds=0.3, count=1)
        with pytest.raises(httpx.RemoteProtocolError):
            await kit.one(given_name="Old")
        await kit.one(given_name="New")
        await until(lambda: kit.entity(sub())["given_name"] == "Old", "the late call")
        seen = await kit.counters()
        assert (seen["users_called_while_late"], seen["examples"]["late_overlap"]) == (1, [sub()])
        await kit.one(given_name="Newer")
        assert (await kit.counters())["users_called_while_late"] == 1


async def test_latency_and_hold_delay_a_call() -> None:
    async with running() as kit:
        await kit.fault(action="latency", seconds=0.05, count=1)
        before = time.monotonic()
        await kit.one()
        assert time.monotonic() - before >= 0.05
        number = await kit.fault(action="hold", when="after")
        call = asyncio.create_task(kit.one(number=2))
        await until(lambda: sub(2) in kit.tenant.users.values, "the held call to be applied")
        assert not call.done()
        await kit.http.delete(f"/_test/faults/{number}")
        assert (await call)["process_state"] == "CREATED"


async def test_a_rate_limit_with_and_without_retry_after() -> None:
    async with running() as kit:
        await kit.fault(action="rate-limit", rate=0.001, burst=2, retry_after=3)
        assert await statuses(kit, 2) == [200, 200]
        limited = await kit.http.post(BULK, json=[user()])
        assert (limited.status_code, limited.headers["Retry-After"]) == (429, "3")
        await kit.http.delete("/_test/faults")
        await kit.fault(action="rate-limit", rate=0.001, burst=0.5)
        limited = await kit.http.post(BULK, json=[user()])
        assert (limited.status_code, "Retry-After" in limited.headers) == (429, False)
        await kit.http.delete("/_test/faults")
        await kit.fault(action="status", status=503, retry_after="date+60")
        date = (await kit.http.post(BULK, json=[user()])).headers["Retry-After"]
        assert 50 < email.utils.parsedate_to_datetime(date).timestamp() - time.time() <= 61


async def test_some_users_of_a_call_fail() -> None:
    async with running() as kit:
        await kit.fault(action="fail-users", users=2, message="database is busy", count=1, seed=1)
        items = await kit.bulk(*(user(number) for number in range(5)))
        failed = [item for item in items if item["process_state"] == "FAILED"]
        assert [item["message"] for item in failed] == ["database is busy"] * 2
        assert len(kit.tenant.users) == 3


async def test_a_fault_for_named_users_touches_them_and_no_others() -> None:
    async with running() as kit:
        await kit.fault(action="fail-users", subs=[sub(1), sub(3)])
        await kit.fault(action="answers", mode="missing", subs=[sub(2)])
        await kit.switch(answer_order="shuffled")
        items = await kit.bulk(*(user(number) for number in range(5)))
        assert {item["identifier"]["email"]: item["process_state"] for item in items} == {
            user(number)["email"]: "FAILED" if number in (1, 3) else "CREATED" for number in (0, 1, 3, 4)
        }
        await kit.bulk(user(0), user(4))
        listed = (await kit.http.get("/_test/faults")).json()["faults"]
        assert [fault["fired"] for fault in listed] == [1, 1], "a call without them does not count"
        refused = await kit.http.post("/_test/faults", json={"action": "fail-users", "subs": [1]})
        assert refused.status_code == 400


@pytest.mark.parametrize(
    "mode", ["missing", "unknown", "anonymous", "other-sub", "extra", "shuffled", "not-json", "empty"]
)
async def test_an_answer_that_does_not_say_what_happened(mode: str) -> None:
    async with running() as kit:
        await kit.fault(action="answers", mode=mode, users=1, seed=3)
        answer = await kit.http.post(BULK, json=[user(number) for number in range(9)])
        assert answer.status_code == 200
        assert len(kit.tenant.users) == 9
        if mode in ("not-json", "empty"):
            assert answer.text in ("", "<html><body>OK</body></html>")
            return
        items: list[dict[str, Any]] = answer.json()["process_states"]
        subs = [item["sub"] for item in items]
        sent = [sub(number) for number in range(9)]
        expected = {
            "missing": len(items) == 8,
            "unknown": [item["process_state"] for item in items].count("QUEUED") == 1,
            "anonymous": subs.count("ANONYMOUS") == 1,
            "other-sub": len(set(subs) - set(sent)) == 1,
            "extra": len(items) == 10,
            "shuffled": subs != sent and sorted(subs) == sent,
        }
        assert expected[mode]


async def test_other_key_names_and_a_wrapper() -> None:
    async with running() as kit:
        names = {"process_states": "results", "process_state": "result", "sub": "userId"}
        await kit.http.post("/_test/faults", json=[{"action": "keys", "keys": names}, {"action": "wrapped"}])
        answer = (await kit.http.post(BULK, json=[user()])).json()
        assert answer["data"]["results"][0]["userId"] == sub()
        assert answer["data"]["results"][0]["result"] == "CREATED"


async def test_away_with_503_dropped_and_refused() -> None:
    async with running() as kit:
        for style in ("503", "drop"):
            await kit.http.post("/_test/away", json={"seconds": 60, "style": style})
            if style == "503":
                assert await statuses(kit, 1) == [503]
            else:
                with pytest.raises(httpx.RemoteProtocolError):
                    await kit.one()
            await kit.http.post("/_test/away", json={"seconds": 0})
            assert await statuses(kit, 1) == [200]
        await kit.http.post("/_test/away", json={"seconds": 0.3, "style": "refused"})
        with pytest.raises(httpx.ConnectError):
            await kit.one()
        end = time.monotonic() + 10
        while True:
            try:
                assert (await kit.one())["process_state"] == "CREATED"
                break
            except httpx.ConnectError:
                assert time.monotonic() < end, "the stand-in did not come back"
                await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "hint"),
    [
        ({"action": "explode"}, "action is one of"),
        ({"action": "status"}, "needs status"),
        ({"action": "hold", "secconds": 1}, "did you mean seconds?"),
        ({"action": "hold", "seconds": "1"}, "wrong kind"),
        ({"action": "hold", "match": {"endpoint": "nowhere"}}, "endpoint is"),
        ({"action": "answers", "mode": "odd"}, "mode is one of"),
        ("hold", "an object"),
    ],
)
async def test_a_fault_that_cannot_be_is_refused(script: Any, hint: str) -> None:
    async with running() as kit:
        answer = await kit.http.post("/_test/faults", json=script)
        assert answer.status_code == 400
        assert hint in answer.json()["error"]
