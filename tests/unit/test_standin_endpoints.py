"""The stand-in's other endpoints: tokens and scopes, deletes, reads, login, dump, history, counters."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import bcrypt
import pytest
from standin_kit import BULK, CREDENTIALS, running, sub, until, user

TOKEN = "/token-srv/token"


async def test_a_token_comes_by_json_and_by_form() -> None:
    async with running(token_lifetime=7) as kit:
        for kind in ("json", "data"):
            granted = (await kit.http.post(TOKEN, **{kind: CREDENTIALS})).json()
            assert (granted["token_type"], granted["expires_in"], granted["sub"]) == ("Bearer", 7, "ANONYMOUS")
        wrong = await kit.http.post(TOKEN, json=CREDENTIALS | {"client_secret": "no"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        for grant in ({"grant_type": "password"}, {}, []):
            assert (await kit.http.post(TOKEN, json=grant)).status_code == 400


async def test_a_call_needs_a_living_token_with_the_scope() -> None:
    async with running() as kit:
        assert (await kit.http.post(BULK, json=[user()], headers={"Authorization": "Bearer x"})).status_code == 401
        assert (await kit.http.post(BULK, json=[user()], headers={"Authorization": ""})).status_code == 401
        await kit.switch(scopes=["cidaas:users_delete"])
        await kit.login()
        refused = await kit.http.post(BULK, json=[user()])
        assert (refused.status_code, "cidaas:bulk_user_create" in refused.text) == (403, True)
        assert (await kit.http.get(f"/user-srv/users/{sub()}")).status_code == 403
        assert (await kit.http.delete(f"/user-scim-srv/v2/Users/{sub()}")).status_code == 403
        await kit.switch(scopes=["cidaas:bulk_user_create"])
        await kit.login()
        assert (await kit.http.delete(f"/users-srv/user/purge/{sub()}")).status_code == 403
        assert (await kit.http.post("/_test/tokens/revoke")).json()["revoked"] >= 1
        assert (await kit.http.post(BULK, json=[user()])).status_code == 401
        await kit.switch(token_lifetime=0)
        await kit.login()
        assert (await kit.http.post(BULK, json=[user()])).status_code == 401
        assert len(kit.tenant.users) == 0


async def test_purge_answers_202_and_then_what_the_switch_says() -> None:
    async with running() as kit:
        await kit.one(username="ada")
        assert (await kit.http.delete(f"/users-srv/user/purge/{sub()}")).status_code == 202
        assert kit.entity(sub()) is None
        for switch, status in (("404", 404), ("204", 204), ("417", 417)):
            await kit.switch(purge_missing=switch)
            assert (await kit.http.delete(f"/users-srv/user/purge/{sub()}")).status_code == status
        again = await kit.one(username="ada")
        assert again["process_state"] == "CREATED"
        await kit.switch(purge="delayed", purge_delay=0.1)
        assert (await kit.http.delete(f"/users-srv/user/purge/{sub()}")).status_code == 202
        assert (await kit.http.get(f"/user-srv/users/{sub()}")).status_code == 200
        await until(lambda: kit.entity(sub()) is None, "the delayed purge")
        assert (await kit.counters())["users"]["deleted"] == 2


async def test_scim_delete() -> None:
    async with running() as kit:
        await kit.one()
        assert (await kit.http.delete(f"/user-scim-srv/v2/Users/{sub()}")).status_code == 204
        missing = await kit.http.delete(f"/user-scim-srv/v2/Users/{sub()}")
        assert (missing.status_code, missing.json()["status"]) == (404, "404")
        assert missing.headers["content-type"].startswith("application/scim+json")


async def test_reads_find_a_user_and_show_no_hash() -> None:
    async with running() as kit:
        password = {"algorithmTypeId": "SHA1", "passwordHash": "a" * 40}
        await kit.one(username="ada", password_hash_info=password, customFields={"legacy_user_id": "4711"})
        await kit.one(number=2)
        for name in (user()["email"].upper(), "ada", sub()):
            found = await kit.http.post("/useractions-srv/userexistence", json={"userId": name})
            assert found.json()["data"] == {"sub": sub()}
        gone = await kit.http.post("/useractions-srv/userexistence", json={"userId": "nobody"})
        assert gone.status_code == 204
        shown = await kit.http.get(f"/user-srv/users/{sub()}")
        assert shown.json()["data"]["identities"][0]["email"] == user()["email"]
        assert "password_hash_info" not in shown.text
        assert (await kit.http.get("/user-srv/users/none")).status_code == 404

        async def search(**asked: Any) -> list[str]:
            answer = (await kit.http.post("/user-srv/graph/users", json=asked)).json()
            return [each["sub"] for each in answer["users"]]

        assert await search(fieldsFilter=[{"field": "email", "value": user(2)["email"], "exactMatch": True}]) == [
            sub(2)
        ]
        assert await search(fieldsFilter=[{"field": "customFields.legacy_user_id", "value": "4711"}]) == [sub()]
        assert await search(terms=["ada"]) == [sub()]
        assert await search(sortfield="createdTime", descending=True) == [sub(2), sub()]
        counted = await kit.http.post("/user-srv/graph/users", json={"size": 1})
        assert (len(counted.json()["users"]), counted.json()["total_count"]) == (1, 2)
        discovery = (await kit.http.get("/.well-known/openid-configuration")).json()
        assert discovery["token_endpoint"].endswith(TOKEN)


async def test_bulk_read_with_a_pit_shows_one_moment() -> None:
    async with running() as kit:
        await kit.bulk(*(user(number) for number in range(25)))
        asked: dict[str, Any] = {"sortfield": "updatedTime", "size": 10, "pit": {"keepAlive": "5"}}
        seen: list[str] = []
        while True:
            answer = await kit.http.post("/user-ext-srv/bulkread/users", json=asked)
            if answer.status_code == 204:
                break
            page = answer.json()
            seen += [each["sub"] for each in page["users"]]
            asked["searchAfter"] = page["users"][-1]["sort"]
            asked["pit"]["id"] = page["pitId"]
            await kit.one(number=3, given_name=f"Changed {len(seen)}")
            await kit.one(number=100 + len(seen))
        assert seen == [sub(number) for number in range(25)]
        asked["pit"]["id"] = "unknown"
        assert (await kit.http.post("/user-ext-srv/bulkread/users", json=asked)).status_code == 400


@pytest.mark.parametrize("algorithm", ["BCRYPT_4", "SHA1", "SHA256", "PBKDF2", "argon2id"])
async def test_login_checks_the_stored_hash(algorithm: str) -> None:
    word = "Grüße an Ada"
    hashes = {
        "BCRYPT_4": bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode(),
        "SHA1": hashlib.sha1(("pepper" + word).encode()).hexdigest(),
        "SHA256": hashlib.sha256(("pepper" + word).encode()).hexdigest(),
        "PBKDF2": hashlib.pbkdf2_hmac("sha256", word.encode(), b"pepper", 1000, 64).hex(),
        "argon2id": "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$aGFzaA",
    }
    info = {"algorithmTypeId": algorithm, "passwordHash": hashes[algorithm]}
    if algorithm in ("SHA1", "SHA256", "PBKDF2"):
        info["hData"] = {"salt": "pepper", "iterations": "1000"}
    async with running() as kit:
        await kit.one(password_hash_info=info)

        async def login(password: str) -> dict[str, Any]:
            asked = {"email": user()["email"].title(), "password": password}
            return (await kit.http.post("/_test/login", json=asked)).json()

        if algorithm == "argon2id":
            assert (await login(word))["reason"] == "this stand-in cannot compute the algorithm"
            return
        assert await login(word) == {"ok": True, "sub": sub(), "reason": None}
        assert (await login("wrong"))["reason"] == "wrong password"
        await kit.one(userStatus="LOCKED")
        assert (await login(word))["reason"] == "status is LOCKED"
        await kit.one(password_hash_info=None)
        assert (await login(word))["reason"] == "no password"


async def test_dump_and_history_tell_everything() -> None:
    async with running(history="full") as kit:
        password = {"algorithmTypeId": "SHA1", "passwordHash": "a" * 40}
        await kit.bulk(user(2), user(1, password_hash_info=password))
        await kit.one(given_name="Ada")
        await kit.http.delete(f"/users-srv/user/purge/{sub(2)}")
        lines = [json.loads(line) for line in (await kit.http.get("/_test/dump")).text.splitlines()]
        assert [line["sub"] for line in lines] == [sub(1)]
        assert lines[0]["entity"]["password_hash_info"] == password
        assert lines[0]["created_us"] <= lines[0]["updated_us"]
        everything = [json.loads(line) for line in (await kit.http.get("/_test/history")).text.splitlines()]
        assert [line["sub"] for line in everything] == [sub(2), sub(1)]
        assert [each["state"] for each in everything[0]["states"]] == ["CREATED", "DELETED"]
        one = (await kit.http.get(f"/_test/history/{sub(1)}")).json()
        assert [each["full"]["given_name"] for each in one["states"]] == ["Jürgen", "Ada"]
        hashed = hashlib.blake2b(b"a" * 40, digest_size=8).hexdigest()
        assert [each["password"] for each in one["states"]] == [hashed, hashed]
        assert len({each["entity"] for each in one["states"]}) == 2
        assert (await kit.http.get("/_test/history/none")).status_code == 404


async def test_counters_count_calls_users_and_overlaps() -> None:
    async with running() as kit:
        await kit.bulk(user(1), user(2), user(1), user(3, email="none"))
        await kit.bulk(user(2))
        held = await kit.fault(action="hold")
        calls = [asyncio.create_task(kit.bulk(user(7, given_name=name))) for name in ("A", "B")]
        await until(lambda: kit.tenant.counters.max_in_flight["bulk"] == 2, "two calls in flight")
        await kit.http.delete(f"/_test/faults/{held}")
        await asyncio.gather(*calls)
        await kit.http.post(BULK, json=[])
        seen = await kit.counters()
        assert seen["calls"]["bulk"] == {"200": 4, "400": 1}
        assert seen["users_per_call"] == {"1": 3, "4": 1}
        assert (seen["user_twice_in_call"], seen["email_twice_in_call"]) == (1, 1)
        assert (seen["users_in_two_calls"], seen["examples"]["overlap"]) == (1, [sub(7)])
        assert seen["max_in_flight"]["bulk"] == 2
        counted = seen["users"]
        assert (counted["created"], counted["updated"], counted["unchanged"], counted["failed"]) == (3, 3, 2, 1)
        assert counted["reasons"] == {"invalid email passed": 1}
        assert seen["first"] <= seen["last"]
        assert seen["stored"]["users"] == 3
        await kit.http.post("/_test/counters/reset")
        assert (await kit.counters())["calls"] == {}


async def test_forgetting_all_users() -> None:
    async with running() as kit:
        await kit.one(username="ada")
        assert (await kit.http.delete("/_test/users")).status_code == 204
        assert (await kit.http.get("/_test/dump")).text == ""
        assert (await kit.one(number=2, email=user()["email"], username="ada"))["process_state"] == "CREATED"


async def test_a_wrong_switch_is_refused_with_its_neighbour() -> None:
    async with running() as kit:
        for values, hint in (
            ({"migrationmode": "on"}, "did you mean migration_mode?"),
            ({"purge": "later"}, "at-once, delayed"),
            ({"poison": {"a": 200}}, "status from 400"),
            ({"batch_limit": "50"}, "a number"),
            ({"scopes": "a b"}, "a list of texts"),
            ({"token_lifetime": True}, "a number"),
            (["purge"], "an object"),
        ):
            answer = await kit.http.put("/_test/switches", json=values)
            assert answer.status_code == 400
            assert hint in answer.json()["error"]
