"""A Kafka Connect whose Debezium is of a version that loses rows, as far as it says so itself."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

from demo.stack import kafka
from demo.stack.jars import jars
from tests.integration.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from demo.stack.layout import Layout

PLUGIN = "debezium-connector-postgres"
OLD, RIGHT = "3.6.3.Final", "3.7.0.Final"


class OldConnect:
    """The worker, in the place of the stack's own."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        """Start it; `folder` gets its plugins and its log."""
        plugins = folder / "connect"
        shutil.copytree(jars() / "connect", plugins)
        (jar,) = (plugins / PLUGIN).glob(f"{PLUGIN}-*.jar")
        _date_back(jar, folder / "old.jar")
        with (folder / "connect.log").open("wb") as log:
            self._process = subprocess.Popen(
                kafka.connect_command(layout), cwd=folder, env=kafka.connect_environment(layout),
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip
        try:
            until(lambda: kafka.connect_healthy(layout), "the old Kafka Connect answers", 90)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """Stop it."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()


def _date_back(jar: Path, other: Path) -> None:
    """Let a jar name another version; it does so in a file that its connector reads."""
    found = False
    with zipfile.ZipFile(jar) as source, zipfile.ZipFile(other, "w") as target:
        for item in source.infolist():
            body = source.read(item)
            if item.filename.endswith("/postgresql/build.version"):
                found = RIGHT.encode() in body
                body = body.replace(RIGHT.encode(), OLD.encode())
            target.writestr(item, body)
    assert found, f"{jar} does not say that it is {RIGHT}"
    other.replace(jar)
