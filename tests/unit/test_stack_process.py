"""The embedded stack recognises its own processes, keeps its ports, and says what is missing."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from demo.stack import kafka, ports, prerequisites, releases
from demo.stack.errors import Missing, StackError
from demo.stack.layout import Layout, new_env, read_env, write_env
from demo.stack.postgres import NO_PROCESS, _await_orphans, _disarm_stale_pid
from demo.stack.process import Process, started_at, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Layout(tmp_path / "run")
    made.prepare()
    return made


@pytest.fixture
def process(layout: Layout) -> Iterator[Process]:
    made = Process(layout, "thing")
    yield made
    made.stop(signal.SIGKILL, 5)


def test_a_started_process_is_found_again_by_another_python(layout: Layout, process: Process) -> None:
    pid = process.spawn(SLEEPER, os.environ, layout.run_dir)
    assert int(layout.pid_file("thing").read_text()) == pid
    assert Process(layout, "thing").pid() == pid


def test_a_killed_process_is_gone_though_nobody_has_buried_it(layout: Layout, process: Process) -> None:
    pid = process.spawn(SLEEPER, os.environ, layout.run_dir)
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: started_at(pid) is None, 5)
    assert Process(layout, "thing").pid() is None


def test_somebody_elses_process_with_our_number_is_never_killed(layout: Layout) -> None:
    with subprocess.Popen(SLEEPER) as stranger:
        layout.pid_file("thing").write_text(f"{stranger.pid}\n")
        layout.data("thing.started").write_text(f"{stranger.pid} 1")
        ours = Process(layout, "thing")
        assert ours.pid() is None
        ours.stop(signal.SIGKILL, 1)
        assert stranger.poll() is None
        stranger.kill()


def test_stop_says_whether_the_kind_way_was_enough(layout: Layout, process: Process) -> None:
    process.spawn(SLEEPER, os.environ, layout.run_dir)
    assert process.stop(signal.SIGTERM, 5)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); signal.pause()"
    process.spawn([sys.executable, "-c", deaf], os.environ, layout.run_dir)
    assert wait_for(lambda: "deaf" in process.last_lines(), 10)
    assert not process.stop(signal.SIGTERM, 0.2)
    assert process.pid() is None


def test_another_version_of_postgresql_belongs_to_the_stack_that_was_made_with_it(layout: Layout) -> None:
    old = Layout(layout.run_dir.parent / "old", "14")
    old.prepare()
    again = Layout(old.run_dir)
    again.prepare()
    assert again.env["POSTGRES_VERSION"] == "14"
    assert "POSTGRES_VERSION" not in layout.env
    with pytest.raises(StackError, match=r"has PostgreSQL 14, not 18: forget it with `make clean`"):
        Layout(old.run_dir, "18").prepare()
    with pytest.raises(StackError, match=r"has the usual PostgreSQL, not 14"):
        Layout(layout.run_dir, "14").prepare()


def test_a_version_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="POSTGRES_VERSION is 13; there are 14, 15, 16, 17, 18"):
        Layout(tmp_path / "run", "13").prepare()
    assert not (tmp_path / "run").exists()


def test_a_package_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binaries.jar").write_bytes(b"something else")
    with pytest.raises(StackError, match=r"binaries\.jar is not the package that is pinned"):
        releases._unpack(tmp_path, releases.release("14"))


def test_the_next_start_has_the_same_ports_and_passwords(layout: Layout) -> None:
    again = Layout(layout.run_dir)
    again.prepare()
    assert again.env == layout.env
    assert layout.env_file.stat().st_mode & 0o077 == 0


def test_two_stacks_get_different_ports_before_either_has_started(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other")
    other.prepare()
    mine, others = ({made.env[name] for name in ports.USUAL} for made in (layout, other))
    assert not mine & others
    assert len(mine) == len(ports.USUAL)


def test_a_taken_port_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(ports, "USUAL", {"KAFKA_PORT": port})
        assert ports.choose(tmp_path)["KAFKA_PORT"] > port


def test_settings_for_a_real_system_do_not_leak_in(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("CIDAAS_BASE_URL", "https://customer.example")
    env = layout.environment()
    assert "KAFKA_SECURITY_PROTOCOL" not in env
    assert env["CIDAAS_BASE_URL"].startswith("http://127.0.0.1:")


def test_stack_env_is_read_as_it_was_written(tmp_path: Path) -> None:
    env = new_env(dict.fromkeys(ports.USUAL, 1), tmp_path) | {"ODD": "a=b"}
    write_env(tmp_path / "stack.env", env)
    assert read_env(tmp_path / "stack.env") == env


def test_postmaster_pid_of_a_dead_server_is_disarmed_but_keeps_its_memory(tmp_path: Path) -> None:
    file = tmp_path / "postmaster.pid"
    file.write_text(f"{os.getpid()}\n{tmp_path}\n1795408602\n15432\n\n127.0.0.1\n 8826964 65536\n")
    _disarm_stale_pid(tmp_path)
    assert file.read_text().splitlines()[0] == str(NO_PROCESS)
    assert "8826964" in file.read_text()


def test_a_new_server_waits_for_the_sessions_of_a_killed_one(tmp_path: Path) -> None:
    """PostgreSQL refuses to start beside them, and ends: seen six milliseconds after a `kill -9`."""
    session = tmp_path / "bin" / "postgres"
    session.parent.mkdir()
    shutil.copy(shutil.which("sleep") or "", session)
    orphan = subprocess.Popen([session, "0.5"], cwd=tmp_path)
    _await_orphans(tmp_path)
    assert orphan.poll() == 0, "it ended by itself before the new one starts"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('java version "1.8.0_402"', 8),
        ('openjdk version "25" 2025-09-16', 25),
        ("command not found", None),
    ],
)
def test_java_version(text: str, version: int | None) -> None:
    assert prerequisites.java_version(text) == version


def test_maven_version_in_colour() -> None:
    assert prerequisites.maven_version("\x1b[1mApache Maven 3.8.7\x1b[m") == (3, 8)


def test_each_missing_prerequisite_is_one_line_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    lines = prerequisites.missing()
    assert [line.split()[0] for line in lines] == ["Java", "Maven"]
    assert all("install" in line for line in lines)


def test_a_cluster_id_is_never_taken_for_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka.secrets, "randbelow", lambda limit: limit - 1)
    monkeypatch.setattr(kafka.secrets, "token_bytes", lambda count: b"\xff" * count)
    made = kafka.new_cluster_id()
    assert len(made) == 22
    assert not made.startswith("-")
