"""The stand-in's bulk call: what is created, updated, refused, and what the switches change."""

from __future__ import annotations

from typing import Any

import pytest
from standin_kit import BULK, HASH, running, sub, user


async def test_a_user_is_created_and_then_updated() -> None:
    async with running() as kit:
        first = await kit.one(given_name="Ada")
        second = await kit.one(given_name="Grace")
        assert first == {
            "identifier": {"email": user()["email"], "provider": "self"},
            "sub": sub(),
            "process_state": "CREATED",
        }
        assert second["process_state"] == "UPDATED"
        assert kit.entity(sub())["given_name"] == "Grace"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"email": "nobody"}, "invalid email passed"),
        ({"email": "a b@shop.example.org"}, "invalid email passed"),
        ({"email": "a@-shop.org"}, "invalid email passed"),
        ({"email": "ümlaut@shop.example.org"}, "invalid email passed"),
        ({"email": "a@mailinator.com"}, "invalid email passed"),
        ({"email": "a@mail.YOPMAIL.com"}, "invalid email passed"),
        ({"email": "a@shop.invalid"}, "invalid email passed"),
        ({"email": 7}, "invalid datatype for field email"),
        ({"email": None}, "at least one valid user identifier is required"),
        ({"given_name": 7}, "invalid datatype for field given_name"),
        ({"userStatus": "ACTIVE"}, "invalid userStatus"),
        ({"birthdate": "01.02.1980"}, "invalid birthdate, expected YYYY-MM-DD"),
        ({"birthdate": "1980-02-30"}, "invalid birthdate, expected YYYY-MM-DD"),
        ({"createdTime": "yesterday"}, "invalid createdTime, expected ISO 8601"),
        ({"lastLoggedInTime": 1700000000}, "invalid lastLoggedInTime, expected ISO 8601"),
        ({"customFields": {"newsletter": "yes"}}, "invalid datatype for custom field newsletter"),
        ({"address": {"locality": 5}}, "invalid datatype for field address"),
        ({"mfa_enabled": "no"}, "invalid datatype for field mfa_enabled"),
        ({"password_hash_info": "x"}, "invalid datatype for field password_hash_info"),
        ({"password_hash_info": {"algorithmTypeId": "MD5", "passwordHash": "x"}}, "unknown algorithmTypeId"),
        (
            {"password_hash_info": {"algorithmTypeId": "BCRYPT_12", "passwordHash": HASH}},
            "cost of passwordHash does not match algorithmTypeId",
        ),
        (
            {"password_hash_info": {"algorithmTypeId": "BCRYPT_4", "passwordHash": HASH[:-1]}},
            "invalid passwordHash for a BCRYPT algorithmTypeId",
        ),
        (
            {"password_hash_info": {"algorithmTypeId": "SHA1", "passwordHash": "aa", "hData": {"salt": 7}}},
            "invalid datatype for field hData",
        ),
        (
            {"password_hash_info": {"algorithmTypeId": "PBKDF2", "passwordHash": "aa", "hData": {"salt": "s"}}},
            "PBKDF2 needs hData.salt and hData.iterations",
        ),
        ({"sub": "ANONYMOUS"}, "invalid sub"),
    ],
)
async def test_a_bad_user_fails_alone(fields: dict[str, Any], message: str) -> None:
    async with running() as kit:
        bad, good = await kit.bulk(user(1, **fields), user(2))
        assert (bad["sub"], bad["process_state"], bad["message"]) == ("ANONYMOUS", "FAILED", message)
        assert good["process_state"] == "CREATED"
        assert list(kit.tenant.users.values) == [sub(2)]


@pytest.mark.parametrize(
    "fields",
    [
        {"email": "o'neil+shop@sub.shop.example.org"},
        {"email": None, "username": "ada"},
        {"email": None, "mobile_number": "+491701234567"},
        {"createdTime": "2019-03-01T08:15:00Z", "lastLoggedInTime": "2026-11-20T17:02:11.123456+01:00"},
        {"password_hash_info": {"algorithmTypeId": "BCRYPT_4", "passwordHash": HASH.replace("$2b$", "$2y$")}},
        {"password_hash_info": None, "mfa_enabled": None, "address": None, "customFields": None, "birthdate": None},
    ],
)
async def test_a_good_user_is_taken(fields: dict[str, Any]) -> None:
    async with running() as kit:
        assert (await kit.one(**fields))["process_state"] == "CREATED"
        assert kit.entity(sub()).items() >= fields.items()


async def test_unknown_and_disabled_fields_are_skipped_silently() -> None:
    async with running(fields={"a": {"type": "TEXT"}, "b": {"type": "TEXT", "enabled": False}}) as kit:
        item = await kit.one(customFields={"a": "1", "b": "2", "c": "3"}, no_such_field=1, email_verified=True)
        assert item["process_state"] == "CREATED"
        entity = kit.entity(sub())
        assert entity["customFields"] == {"a": "1"}
        assert not {"no_such_field", "email_verified"} & set(entity)


async def test_omitted_fields_are_kept_or_cleared() -> None:
    password = {"algorithmTypeId": "BCRYPT_4", "passwordHash": HASH}
    async with running() as kit:
        await kit.one(family_name="Lovelace", password_hash_info=password)
        await kit.one()
        assert kit.entity(sub())["family_name"] == "Lovelace"
        await kit.one(password_hash_info=None)
        assert kit.entity(sub())["password_hash_info"] is None
        await kit.switch(omitted_fields="cleared")
        await kit.one()
        assert "family_name" not in kit.entity(sub())


async def test_an_email_belongs_to_one_sub_of_a_provider() -> None:
    async with running() as kit:
        await kit.bulk(user(1, email="ada@shop.example.org"), user(2, username="bob"))
        taken = await kit.one(number=3, email="ADA@shop.example.org")
        assert (taken["process_state"], taken["sub"]) == ("FAILED", "ANONYMOUS")
        assert taken["message"] == "conflict: email is already used by another account"
        moved = await kit.one(number=2, email="ada@shop.example.org")
        assert moved["process_state"] == "FAILED"
        named = await kit.one(number=3, username="bob")
        assert named["message"] == "conflict: username is already used by another account"
        other = await kit.one(number=3, email="ada@shop.example.org", provider="google", providerUserId="9")
        assert other["process_state"] == "CREATED"
        # A freed address can be taken.
        await kit.one(number=1, email="countess@shop.example.org")
        assert (await kit.one(number=4, email="ada@shop.example.org"))["process_state"] == "CREATED"
        await kit.switch(email_taken="update-other")
        assert (await kit.one(number=5, email="ada@shop.example.org"))["sub"] == sub(4)


async def test_without_sub_a_user_is_found_by_email_and_provider() -> None:
    async with running() as kit:
        await kit.one()
        anonymous = {key: value for key, value in user(given_name="Ada").items() if key != "sub"}
        assert (await kit.bulk(anonymous))[0] | {"identifier": None} == {
            "identifier": None,
            "sub": sub(),
            "process_state": "UPDATED",
        }
        fresh = (await kit.bulk(anonymous | {"email": "new@shop.example.org"}))[0]
        assert fresh["process_state"] == "CREATED"
        assert fresh["sub"] in kit.tenant.users.values


async def test_identities_are_one_account() -> None:
    async with running() as kit:
        account = {
            "sub": sub(),
            "identities": [
                {"provider": "self", "email": "ada@shop.example.org"},
                {"provider": "google", "providerUserId": "9", "email": "ada@shop.example.org"},
            ],
        }
        item = (await kit.bulk(account))[0]
        assert (item["identifier"]["email"], item["process_state"]) == ("ada@shop.example.org", "CREATED")
        assert (await kit.one(number=2, email="ada@shop.example.org"))["process_state"] == "FAILED"
        mixed = await kit.http.post(BULK, json=[account, user(3)])
        assert mixed.status_code == 400


async def test_a_second_password_needs_migration_mode() -> None:
    def password(letter: str) -> dict[str, str]:
        return {"algorithmTypeId": "BCRYPT_4", "passwordHash": "$2b$04$" + letter * 53}

    async with running(migration_mode="off-fail") as kit:
        await kit.one(password_hash_info=password("a"))
        assert (await kit.one(password_hash_info=password("a")))["process_state"] == "UPDATED"
        assert (await kit.one(password_hash_info=password("b")))["process_state"] == "FAILED"
        await kit.switch(migration_mode="off-ignore")
        assert (await kit.one(password_hash_info=password("b")))["process_state"] == "UPDATED"
        assert kit.entity(sub())["password_hash_info"] == password("a")
        await kit.switch(migration_mode="on")
        await kit.one(password_hash_info=password("b"))
        assert kit.entity(sub())["password_hash_info"] == password("b")


async def test_what_fails_the_whole_call_applies_nothing() -> None:
    async with running() as kit:
        good, bad_mail, bad_record = user(1), user(2, email="x@mailinator.com"), user(3, userStatus="NEW")

        async def status(*users: Any) -> int:
            return (await kit.http.post(BULK, json=list(users))).status_code

        await kit.switch(bad_email="507", invalid_record="417", poison={sub(4): 500, "p@shop.example.org": 400})
        assert await status(good, bad_mail) == 507
        assert await status(good, bad_record) == 417
        assert await status(good, user(4)) == 500
        assert await status(good, user(5, email="p@shop.example.org")) == 400
        await kit.switch(batch_limit=2)
        assert await status(user(1), user(2), user(3)) == 413
        assert await status() == 400
        assert await status("text") == 400
        for body in ('{"sub": "1"}', "[{]", ""):
            assert (await kit.http.post(BULK, content=body)).status_code == 400
        assert len(kit.tenant.users) == 0


async def test_the_answer_takes_other_shapes() -> None:
    async with running(state_key="state", wrapper="data") as kit:
        answer = (await kit.http.post(BULK, json=[user()])).json()
        assert answer["data"]["process_states"][0]["state"] == "CREATED"
        await kit.switch(wrapper="bare", answer_order="shuffled")
        users = [user(number) for number in range(30)]
        orders = set()
        for _ in range(3):
            items = (await kit.http.post(BULK, json=users)).json()["process_states"]
            orders.add(tuple(item["sub"] for item in items))
            assert {item["sub"] for item in items} == {each["sub"] for each in users}
        assert len(orders) > 1


@pytest.mark.parametrize("shape", ["flat", "nested", "ErrorResp"])
async def test_errors_have_the_shape_that_the_switch_says(shape: str) -> None:
    async with running(error_shape=shape) as kit:
        body = (await kit.http.post(BULK, json={})).json()
        envelope = body["ErrorResp"] if shape == "ErrorResp" else body
        assert envelope["status"] == 400
        assert isinstance(envelope["error"], dict) is (shape == "nested")
