"""What is deployed beside the code: alert rules that name only what a worker exports, units that fit how it ends."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from clock import Clock, run
from fakes import SETTINGS
from prometheus_client.parser import text_string_to_metric_families
from test_docs import FAUST, resolve
from world import World

from streams import metrics, service
from streams.cidaas.errors import Kind
from streams.comparison import Found
from streams.ledger import Situation, State
from streams.reconcile.cases import DIFFERENCES
from streams.source.guard import LOST, Finding
from streams.source.wal import WalRate

ROOT = Path(__file__).resolve().parents[2]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((ROOT / "deploy/alerts.yml").read_text())["groups"] for rule in group["rules"]
]
#: the words of PromQL that stand in the rules; everything else in them is a metric, a label or a number.
PROMQL = {"sum", "min", "max", "by", "increase", "offset", "vector", "and", "or"}


def source_slugs() -> set[str]:
    """The findings about the source, which become `cidaas_sync_source_fault`."""
    modules = ("source/guard.py", "source/memory.py", "watch.py")
    code = "\n".join((ROOT / "streams" / name).read_text() for name in modules)
    return set(re.findall(r'Finding\(\s*"(\w+)"', code)) | LOST


def outcomes_of_the_code() -> set[str]:
    code = "\n".join(path.read_text() for path in (ROOT / "streams").rglob("*.py"))
    counted = set(re.findall(r'outcomes\["(\w+)"\] \+= 1', code))
    return counted | {state.name.lower() for state in State} | {f"call_{kind.value}" for kind in Kind}


#: label -> the values that it can have.
LABELS = {
    "situation": {situation.value for situation in Situation} | {"users", "gone", "unreadable"},
    "slug": source_slugs(),
    "found": {found.value for found in Found},
    "case": {case.value for case in DIFFERENCES},
    "outcome": outcomes_of_the_code(),
    "job": {"cidaas-sync"},
}


def selectors() -> list[tuple[str, str, str]]:
    """(metric, label, value) of all rules; label and value are "" where a metric stands without any."""
    found = []
    for rule in RULES:
        for metric, labels in re.findall(r"\b(up|cidaas_sync_\w+)(?:\{([^}]*)\})?", rule["expr"]):
            matches = re.findall(r'(\w+)=~?"([^"]*)"', labels)
            found += [(metric, label, value) for label, text in matches for value in text.split("|")]
            found += [] if matches else [(metric, "", "")]
    return found


def test_each_metric_of_the_rules_is_one_that_a_worker_exports(tmp_path: Path) -> None:
    exported = _exported(tmp_path)
    assert exported["cidaas_sync_users"] == {"situation"}
    for metric, label, _ in selectors():
        assert metric == "up" or metric in exported, metric
        assert metric == "up" or not label or label in exported[metric], (metric, label)
    for rule in RULES:
        for label in re.findall(r"by \((\w+)\)", rule["expr"]):
            (metric,) = set(re.findall(r"cidaas_sync_\w+", rule["expr"]))
            assert label in exported[metric]


def _exported(path: Path) -> dict[str, set[str]]:
    """The series of a worker that has sent a user and sees a fault: name -> its labels."""
    clock = Clock()

    async def page() -> str:
        world = await World.start(path, clock)
        pipeline: Any = world.pipeline
        pipeline.delivery, pipeline.join, pipeline.name, pipeline.started_at = world.delivery, world.join, "", 0.0
        pipeline.control.heartbeat_at, pipeline.control.notifications = 1.0, []
        pipeline.app = SimpleNamespace(
            conf=SimpleNamespace(web_host="", web_port=0), assignor=SimpleNamespace(tables_metadata=dict)
        )
        pipeline.rereads = SimpleNamespace(done=0, trouble="")
        pipeline.watch = SimpleNamespace(findings=[Finding("slot_lost", "", "")], wal=WalRate(), room=None)
        pipeline.lag = lambda _: 0
        world.go()
        await world.sign_up(1)
        await world.in_sync(1)
        text = metrics.exposition(pipeline)
        await world.stop()
        return text

    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(run(page(), clock)):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def test_each_label_of_the_rules_has_a_value_that_a_worker_gives_it() -> None:
    assert [one for one in selectors() if one[1] and one[2] not in LABELS[one[1]]] == []


def test_no_other_word_stands_in_an_expression() -> None:
    for rule in RULES:
        bare = re.sub(r'"[^"]*"|\{|\}|by \(\w+\)|\b\d+[smh]\b', " ", rule["expr"])
        words = set(re.findall(r"[a-z_]\w*", bare)) - PROMQL - set(LABELS)
        assert {word for word in words if word != "up" and not word.startswith("cidaas_sync_")} == set(), rule["alert"]


def test_each_finding_about_the_source_has_exactly_one_rule() -> None:
    named = [value for metric, label, value in selectors() if metric == "cidaas_sync_source_fault" and label == "slug"]
    assert sorted(named) == sorted(source_slugs())


def test_the_number_of_partitions_is_that_of_the_configuration() -> None:
    (rule,) = [rule for rule in RULES if rule["alert"] == "CidaasSyncPartitionsWithoutOwner"]
    assert rule["expr"].endswith(f"< {SETTINGS.partitions}")
    assert f"of {SETTINGS.partitions} partitions" in rule["annotations"]["summary"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_each_summary_says_what_to_do_by_a_command_that_there_is(rule: dict[str, Any]) -> None:
    summary = rule["annotations"]["summary"]
    calls = re.findall(rf"`{re.escape(FAUST)}([^`]+)`", summary)
    assert calls, "no command"
    assert summary.count("`") == 2 * len(calls), "something else is written like a command"
    for call in calls:
        command, arguments = resolve(shlex.split(call))
        command.make_context(command.name, arguments)
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert len({one["alert"] for one in RULES}) == len(RULES)


def test_what_the_rules_cite_of_the_docs_is_there() -> None:
    text = (ROOT / "deploy/alerts.yml").read_text()
    pages = re.findall(r'(docs/[\w-]+\.md)(?: \("([^"]+)"\))?', text)
    assert len(pages) > 3
    for page, heading in pages:
        assert not heading or re.search(rf"^#+ {re.escape(heading)}$", (ROOT / page).read_text(), re.M), heading


# -- units ------------------------------------------------------------------------------------------------------------

UNIT = (ROOT / "deploy/cidaas-sync.service").read_text()
TEMPLATE = (ROOT / "deploy/cidaas-sync@.service").read_text()


def service_section() -> configparser.SectionProxy:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(UNIT)
    return unit["Service"]


def test_the_restart_policy_fits_the_exit_codes() -> None:
    """1 and signals: start again, for ever. 2: refused, which a start would only say again."""
    section = service_section()
    assert (section["Restart"], section["RestartPreventExitStatus"]) == ("always", "2")
    assert "StartLimitIntervalSec=0" in UNIT.split("[Service]")[0]
    # Of ExecStartPre's exit code RestartPreventExitStatus knows nothing: a Kafka that is late is waited for.
    assert section["ExecStartPre"].endswith("python deploy/kafka_answers.py")


def test_the_times_fit_the_workers_stop() -> None:
    section = service_section()
    assert int(section["TimeoutStopSec"]) > service._STOP_DEADLINE + 5
    assert section["KillMode"] == "mixed"  # SIGTERM to the worker alone


def test_the_units_limit_of_files_is_enough_for_the_stores() -> None:
    open_files = 2 * SETTINGS.partitions * 64  # streams/state/store.py: set_max_open_files(64)
    assert "set_max_open_files(64)" in (ROOT / "streams/state/store.py").read_text()
    assert int(service_section()["LimitNOFILE"]) > 2 * open_files


def test_the_unit_keeps_secrets_to_itself_and_its_data_where_it_may_write() -> None:
    section = service_section()
    assert section["User"] not in ("root", "")
    assert section["EnvironmentFile"] == "/etc/cidaas-sync/env"
    assert (section["UMask"], section["StateDirectoryMode"], section["LimitCORE"]) == ("0077", "0700", "0")
    (folder,) = re.findall(r"APP_DATADIR=(\S+)", UNIT)
    assert folder == f"/var/lib/{section['StateDirectory']}"  # ProtectSystem=strict lets it write nowhere else
    assert not re.search(r"PASSWORD|SECRET|postgresql:", UNIT)


def test_both_units_are_one_but_for_port_and_folder() -> None:
    def body(text: str) -> str:
        return text.split("[Unit]\n", 1)[1].replace(" on port %i\n", "\n").replace("%i", "6066")

    assert body(TEMPLATE) == body(UNIT)
    assert "%i" in TEMPLATE and "%i" not in UNIT


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("name", ["cidaas-sync.service", "cidaas-sync@.service"])
def test_systemd_takes_the_unit(name: str, tmp_path: Path) -> None:
    true = shutil.which("true")
    there = re.sub(r"^(ExecStart(?:Pre)?=)\S+", rf"\1{true}", (ROOT / "deploy" / name).read_text(), flags=re.M)
    (tmp_path / name).write_text(there)
    command = ["systemd-analyze", "verify", str(tmp_path / name)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")
