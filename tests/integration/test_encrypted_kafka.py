"""Kafka by SASL_SSL: commands, a worker, and the question before a service starts; the broker has no other door."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from demo.stack import kafka
from demo.stack.places import ROOT
from tests.integration.pipeline import configured
from tests.integration.waiting import until
from tests.integration.workers import Worker, command, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack import Stack

USER, PASSWORD = "cidaas-sync", "s3cr=t pass"  # what people's passwords look like
MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_LOGIN = "org.apache.kafka.common.security"


def properties(folder: Path, port: int, controller: int) -> str:
    """A broker with one door: TLS, and a password by each mechanism that we support."""
    plain = f'{_LOGIN}.plain.PlainLoginModule required username="a" password="a" user_a="a" user_{USER}="{PASSWORD}";'
    return "\n".join(
        (
            "process.roles=broker,controller",
            "node.id=1",
            f"controller.quorum.bootstrap.servers=127.0.0.1:{controller}",
            "controller.listener.names=CONTROLLER",
            f"listeners=SASL_SSL://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            f"advertised.listeners=SASL_SSL://localhost:{port},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map=SASL_SSL:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name=SASL_SSL",
            f"sasl.enabled.mechanisms={','.join(MECHANISMS)}",
            "sasl.mechanism.inter.broker.protocol=PLAIN",
            f"listener.name.sasl_ssl.plain.sasl.jaas.config={plain}",
            *(
                f"listener.name.sasl_ssl.{name.lower()}.sasl.jaas.config={_LOGIN}.scram.ScramLoginModule required;"
                for name in MECHANISMS[1:]
            ),
            "ssl.keystore.type=PKCS12",
            f"ssl.keystore.location={folder}/broker.p12",
            "ssl.keystore.password=keystore",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={folder}/ca.pem",
            f"log.dirs={folder}/data",
            "auto.create.topics.enable=false",
            *(f"{one}.replication.factor=1" for one in ("offsets.topic", "transaction.state.log")),
            "offsets.topic.num.partitions=1",
            "transaction.state.log.min.isr=1",
            "transaction.state.log.num.partitions=1",
            "group.initial.rebalance.delay.ms=0",
        )
    )


def make_certificate(folder: Path) -> None:
    """The broker's key, signed by itself: its certificate is the authority that clients name in KAFKA_CA_FILE."""
    store = ["-keystore", str(folder / "broker.p12"), "-storepass", "keystore", "-alias", "broker"]
    make = ["keytool", "-genkeypair", *store, "-storetype", "PKCS12", "-keyalg", "EC", "-groupname", "secp256r1"]
    make += ["-dname", "CN=localhost", "-ext", "san=dns:localhost", "-ext", "bc:c=ca:true", "-validity", "2"]
    subprocess.run(make, check=True, capture_output=True)
    show = ["keytool", "-exportcert", "-rfc", *store, "-file", str(folder / "ca.pem")]
    subprocess.run(show, check=True, capture_output=True)


@contextmanager
def running(folder: Path, port: int) -> Iterator[None]:
    """The broker, formatted with the SCRAM users and started."""
    file = str(folder / "broker.properties")
    users = [f"{name}=[name={USER},password={PASSWORD}]" for name in MECHANISMS[1:]]
    options = [option for user in users for option in ("--add-scram", user)]
    identity = "AAAAAAAAAAAAAAAAAAAAAA"
    form = kafka._java(
        "kafka.tools.StorageTool", "128m", "format", "--standalone", "-t", identity, "-c", file, *options
    )
    subprocess.run(form, check=True, capture_output=True)
    with (folder / "broker.log").open("wb") as log:
        broker = subprocess.Popen(kafka._java("kafka.Kafka", "256m", file), stdout=log, stderr=subprocess.STDOUT)
    try:
        until(lambda: kafka._listens(port), "the broker listens", 60)
        yield
    finally:
        broker.terminate()
        broker.wait(30)


@pytest.fixture(scope="module")
def env(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a worker on that broker; database and cidaas are the shared ones."""
    folder, port = tmp_path_factory.mktemp("encrypted"), next(free_ports)
    (folder / "broker.properties").write_text(properties(folder, port, next(free_ports)))
    (folder / "pipeline.toml").write_text(configured({"pipeline.app_id": '"encrypted"'}))
    make_certificate(folder)
    variables = stack.layout.environment({
        "PIPELINE_CONFIG": str(folder / "pipeline.toml"),
        "KAFKA_BOOTSTRAP_SERVERS": f"localhost:{port}",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": USER,
        "KAFKA_SASL_PASSWORD": PASSWORD,
        "KAFKA_CA_FILE": str(folder / "ca.pem"),
        "DELIVERY_START": "paused",
        "PYTHONPATH": str(ROOT),
    })  # fmt: skip
    variables.pop("APP_DATADIR")
    with running(folder, port):
        until(lambda: _answers(variables) == 0, "the broker lets us in", 60)
        yield variables


def _answers(variables: dict[str, str]) -> int:
    script = [sys.executable, "deploy/kafka_answers.py"]
    return subprocess.run(script, cwd=ROOT, env=variables, capture_output=True, check=False).returncode


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_commands_log_in_by_each_mechanism(env: dict[str, str], mechanism: str) -> None:
    said = command({**env, "KAFKA_SASL_MECHANISM": mechanism}, "topics")
    assert said.code == 0, said
    assert "legacy.identity" in said.out


@pytest.mark.parametrize(
    "wrong",
    [{"KAFKA_SASL_PASSWORD": "another"}, {"KAFKA_CA_FILE": ""}, {"KAFKA_SECURITY_PROTOCOL": "PLAINTEXT"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_what_the_broker_refuses_is_said_and_no_service_starts(env: dict[str, str], wrong: dict[str, str]) -> None:
    said = command(env | wrong, "topics")
    said.refused(2, "Kafka at localhost")
    assert PASSWORD not in said.text
    assert _answers(env | wrong) == 1


def test_a_worker_takes_its_partitions_over_and_gives_them_up(env: dict[str, str], tmp_path: Path) -> None:
    worker = Worker("encrypted", tmp_path, env)
    worker.start()
    worker.await_ready()
    assert worker.status()["owned"] == 12
    assert worker.end() == 0
    assert PASSWORD not in worker.log()
