"""The worked examples as their pages tell them: schema, synced users, a changed password, a delete, and back."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from demo.stack import postgres
from demo.stack.places import ROOT
from streams.settings import load
from tests.integration.pipeline import take_back
from tests.integration.standin import Cidaas
from tests.integration.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from demo.stack import Stack
    from tests.integration.pipeline import Pipeline
    from tests.integration.workers import Said

FAUST, SQL = "faust -A streams.app ", "python -m demo.stack sql "


class Example:
    """One example, its page, and a pipeline for it on the shared stack."""

    def __init__(self, name: str, stack: Stack, fresh: Callable[[str], Pipeline], config: Path | None) -> None:
        self.folder = ROOT / "docs" / "examples" / name
        self.stack = stack
        config = config or self.folder / "pipeline.toml"
        self.settings = load(config, {})
        self.pipeline = fresh(self.settings.app_id)
        self.pipeline.env |= {"PIPELINE_CONFIG": str(config), "DELIVERY_START": "running"}
        self.cidaas = Cidaas(self.pipeline.env["CIDAAS_BASE_URL"], str(self.settings.cidaas.sub_namespace))
        blocks = re.findall(r"^```sh\n(.*?)^```", (self.folder / "README.md").read_text(), re.M | re.S)
        self.steps, self.changes, *_, self.back = [block.splitlines() for block in blocks]

    def run(self, line: str) -> Said | None:
        """Run one line of the page; None for one that is about the shell or the stack itself."""
        if line.startswith(FAUST):
            return self.pipeline.command(*shlex.split(line.removeprefix(FAUST)))
        if line.startswith(SQL):
            env = self.pipeline.env | {"RUN_DIR": str(self.stack.layout.run_dir)}
            command = [sys.executable, *shlex.split(line)[1:]]
            done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
        return None

    def follow(self, lines: list[str]) -> dict[str, str]:
        """Run lines up to the worker's; what each command said."""
        said: dict[str, str] = {}
        for line in lines:
            if line.startswith(f"{FAUST}worker"):
                break
            answer = self.run(line)
            if answer is not None:
                name = " ".join(line.removeprefix(FAUST).split(" ")[:2])
                assert answer.code == 0 or name.split()[0] == "census", f"{line}: {answer}"
                said[name] = answer.text
        return said

    def users(self) -> set[str]:
        """The e-mail addresses at cidaas."""
        return set(self.entities())

    def entities(self) -> dict[str, dict[str, Any]]:
        """All users at cidaas by their e-mail addresses; where a user has identities, that of its own, the first."""
        entities = [line["entity"] for line in self.dump()]
        return {(entity.get("identities") or [entity])[0]["email"]: entity for entity in entities}

    def dump(self) -> list[dict[str, Any]]:
        """All users at cidaas."""
        dump = httpx.get(f"{self.pipeline.env['CIDAAS_BASE_URL']}/_test/dump", trust_env=False).text
        return [json.loads(line) for line in dump.splitlines()]

    def providers(self, email: str) -> list[str]:
        return [one["provider"] for one in self.entities()[email]["identities"]]

    def await_login(self, email: str, word: str) -> None:
        until(lambda: self.pipeline.cidaas.login(email, word), f"{email} logs in", 90)

    def sub_of(self, email: str, word: str) -> str:
        login = {"email": email, "password": word}
        answer = httpx.post(f"{self.pipeline.env['CIDAAS_BASE_URL']}/_test/login", json=login, trust_env=False)
        return str(answer.json()["sub"])

    def await_users(self, *emails: str) -> None:
        until(lambda: self.users() == set(emails), lambda: f"{emails} at cidaas, but {sorted(self.users())}", 90)

    def in_sync(self, user: str) -> None:
        def said() -> str:
            return self.pipeline.command("user", user).text

        until(lambda: "in sync" in said(), said, 90)

    def drop(self, table: str) -> None:
        """Leave the shared database as it was, also when the test failed half-way."""
        take_back(self.stack, self.settings.source.name, table)


@pytest.fixture
def example(stack: Stack, fresh: Callable[[str], Pipeline]) -> Callable[..., Any]:
    @contextmanager
    def opened(name: str, *tables: str, config: Path | None = None) -> Iterator[Example]:
        one = Example(name, stack, fresh, config)
        try:
            yield one
        finally:
            one.pipeline.stop()
            one.drop(", ".join(tables))

    return opened


def test_the_shop_with_one_table(example: Callable[..., Any]) -> None:
    with example("one-table-shop", "shop_customers") as shop:
        said = shop.follow(shop.steps)
        assert "nothing is wrong with the mapping" in said["mapping check"]
        assert "not mapped, and never read: notes" in said["mapping check"]
        assert '"algorithmTypeId": "CUSTOM_MD5"' in said["mapping preview"]
        assert "k3Vq" not in said["mapping preview"], "the salt was shown"

        worker = shop.pipeline.start()
        shop.await_users("ada@example.org", "grace@example.org", "karl@example.org")
        shop.await_login("ada@example.org", "correct horse")
        assert not shop.pipeline.cidaas.login("grace@example.org", "battery staple"), "she is blocked"

        shop.follow(shop.changes)
        shop.await_login("ada@example.org", "new secret")
        assert not shop.pipeline.cidaas.login("ada@example.org", "correct horse")
        shop.await_users("ada@example.org", "karl@example.org")
        shop.in_sync("1001")
        assert worker.end() == 0

        (remove, disable, drop) = shop.back
        assert "removed" in str(shop.run(remove))
        answer = shop.run(disable)
        assert answer is not None
        assert (answer.code, "depend on it" in answer.text) == (1, True), answer
        shop.run(drop)
        with postgres.connect(shop.stack.layout) as admin:
            left = admin.execute("SELECT FROM pg_replication_slots WHERE slot_name = 'one_table_shop'").fetchall()
        assert left == []


def test_a_keycloak(example: Callable[..., Any]) -> None:
    ada = "8f14e45f-ceea-467f-ab11-0d3c7e1f2a44"
    with example("keycloak-like", "federated_identity", "credential", "user_entity") as keycloak:
        said = keycloak.follow(keycloak.steps)
        assert "nothing is wrong with the mapping" in said["mapping check"]
        assert '"algorithmTypeId": "PBKDF2"' in said["mapping preview"]
        assert '"iterations": "27500"' in said["mapping preview"]
        for secret in ("AAECAwQFBgcICQoLDA0ODw==", "qnA427fe69"):
            assert secret not in said["mapping preview"], "a secret was shown"
        assert re.search(r"PBKDF2.*27500 iterations", said["census"]), said["census"]
        assert re.search(r"argon2id, m=7168,t=5,p=1: goes to cidaas", said["census"]), said["census"]
        assert '"providerUserId": "108204268033311374519"' in said["mapping preview"]
        assert re.search(r" 1 .* live users with one at facebook", said["census"]), said["census"]
        assert "none that pipeline.toml lists" in said["census"], "Karl's"
        for secret in ("ThisIsASeed", "NobodyReadsThis"):
            assert secret not in said["census"] + said["mapping preview"]

        worker = keycloak.pipeline.start()
        cidaas = keycloak.pipeline.cidaas
        cidaas.switch(pbkdf2_salt="base64")
        keycloak.await_users("ada@example.org", "grace@example.org", "karl@example.org")
        keycloak.await_login("ada@example.org", "correct horse")
        assert not cidaas.login("ada@example.org", "an older one"), "the newest password counts"
        hashes = {email: entity["password_hash_info"] for email, entity in keycloak.entities().items()}
        assert hashes["karl@example.org"]["algorithmTypeId"] == "argon2id"
        assert hashes["karl@example.org"]["passwordHash"].startswith(
            "$argon2id$v=19$m=7168,t=5,p=1$QEFCQ0RFRkdISUpLTE1OTw$"
        )
        assert not cidaas.login("grace@example.org", "battery staple"), "she is locked"
        assert keycloak.sub_of("ada@example.org", "correct horse") == ada
        assert keycloak.providers("ada@example.org") == ["self", "facebook", "google"]
        assert keycloak.providers("karl@example.org") == ["self"], "cidaas does not have his provider"

        keycloak.follow(keycloak.changes)
        keycloak.await_login("ada@example.org", "new secret")
        assert not cidaas.login("ada@example.org", "correct horse")
        keycloak.await_users("ada@example.org", "karl@example.org")
        keycloak.in_sync(ada)
        assert keycloak.providers("ada@example.org") == ["self", "google"]
        assert worker.end() == 0
        for line in keycloak.back:
            keycloak.run(line)


SOCIAL = """
[mapping.identities]
facebook = "facebook_id"
[mapping.groups]
SHOP = { roles = ["USER"] }
ACTIVE = { column = "state", values = ["active"] }
[mapping.consents]
newsletter = { column = "newsletter", time = "registered" }
"""


def test_social_logins_groups_and_consents_reach_cidaas(example: Callable[..., Any], tmp_path: Path) -> None:
    text = (ROOT / "docs/examples/one-table-shop/pipeline.toml").read_text()
    text = text.replace('email = "mail"', 'email = { template = "{mail}", case = "lower" }')
    config = tmp_path / "social.toml"
    config.write_text(text.replace("one-table-shop", "social-shop").replace("one_table_shop", "social_shop") + SOCIAL)
    with example("one-table-shop", "shop_customers", config=config) as shop:
        create, *rest = [line for line in shop.steps if line.startswith((SQL, FAUST))]
        shop.run(create)
        with postgres.connect(shop.stack.layout) as admin:
            admin.execute("ALTER TABLE shop_customers ADD facebook_id bigint")
            admin.execute("UPDATE shop_customers SET facebook_id = 10224 WHERE customer_id = 1001")
        said = shop.follow(rest)
        assert "nothing is wrong with the mapping" in said["mapping check"]
        assert '"providerUserId": "10224"' in said["mapping preview"]

        shop.pipeline.start()
        ada = shop.cidaas.await_user(1001, seconds=90)
        own, facebook = ada["identities"]
        assert (own["provider"], own["email"], own["given_name"]) == ("self", "ada@example.org", "Ada")
        assert (facebook["provider"], facebook["providerUserId"], facebook["sub"]) == ("facebook", "10224", ada["sub"])
        assert [group["groupId"] for group in ada["groups"]] == ["SHOP", "ACTIVE"]
        (consent,) = ada["consents"]
        assert (consent["fieldKey"], consent["state"]) == ("newsletter", "ACCEPTED")
        by_email = shop.pipeline.json("user", "--email", "Ada@example.org")
        assert by_email["ledger"]["sub"] == ada["sub"], "an address that is made of a template is found, too"
        karl = shop.cidaas.await_user(1003)
        assert [one["provider"] for one in karl["identities"]] == ["self"], "one shape for all"
        shop.await_login("ada@example.org", "correct horse")

        with postgres.connect(shop.stack.layout) as admin:
            admin.execute(
                "UPDATE shop_customers SET facebook_id = 3, state = 'blocked', newsletter = false"
                " WHERE customer_id = 1001"
            )
        ada = shop.cidaas.await_user(1001, lambda user: user["consents"][0]["state"] == "REVOKED", 90)
        assert ada["identities"][1]["providerUserId"] == "3"
        assert [group["groupId"] for group in ada["groups"]] == ["SHOP"]
        shop.in_sync("1001")
