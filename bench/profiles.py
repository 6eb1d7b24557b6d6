"""Where the worker spends its time: py-spy over a run of its own, summed up in bench/profiles/NAME.txt."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from bench.arena import say
from bench.contenders import FAUST, Ours
from bench.errors import ContenderError
from bench.peers import PYTHON
from bench.processes import Child
from bench.scenarios import restart
from bench.scenarios.deliver import deliver

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.arena import Arena
    from bench.contenders import Run
    from bench.plan import Plan

FOLDER = Path(__file__).parent / "profiles"
_RATE = 200  # samples a second
_LINES, _STACKS = 40, 15


class Profiled(Ours):
    """Our worker under py-spy, which starts it: so no rights are needed but those of a parent."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def start(self, run: Run, mode: str) -> Child:
        """Start it; the profile is written when it ends."""
        spy = [str(PYTHON.parent / "py-spy"), "record", "--format", "raw", "--function", "--rate", str(_RATE)]
        command = [*spy, "--output", str(self._file), "--", *FAUST]
        return Child(command, run.log, self.environment(run, mode), inner=True)


async def profile(name: str, arena: Arena, plan: Plan, folder: Path) -> None:
    """Make the profile of one scenario, if it is one that is profiled; never a measured run."""
    if name not in ("deliver", "restart") or (plan.contenders is not None and Ours.name not in plan.contenders):
        return
    raw = arena.folder / f"{name}.raw"
    contender = Profiled(raw)
    try:
        if name == "deliver":
            users = plan.deliver[0][1]
            await deliver(arena, contender, users, 0.0)
        else:
            users = plan.restart_users
            await restart.profiled(arena, contender, users)
    except ContenderError as error:
        say(f"  no profile of {name}: {error}")
        return
    text = await asyncio.to_thread(summary, name, users, raw.read_text().splitlines())
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(text)


def summary(name: str, users: int, stacks: Iterable[str]) -> str:
    """Tables of a profile in py-spy's raw format: a line `frame;frame;frame COUNT` for each stack."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    whole: Counter[tuple[str, ...]] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        frames = tuple(part for frame in stack.split(";") if (part := frame.strip())) or ("unknown",)
        alone[frames[-1]] += int(count)
        whole[frames[-6:]] += int(count)
        for frame in set(frames):
            within[frame] += int(count)
    samples = sum(alone.values()) or 1

    def lines(counts: Counter[str]) -> list[str]:
        return [f"{count / samples:7.1%}  {frame}" for frame, count in counts.most_common(_LINES)]

    parts = [
        f"Profile of the worker, {name}, {users:,} users: {samples:,} samples at {_RATE} a second of threads that",
        "were not idle, by py-spy; from the start of the process to its end.",
        "",
        "The function itself:",
        *lines(alone),
        "",
        "With everything that it calls:",
        *lines(within),
        "",
        "The heaviest stacks (their last six frames):",
        *(f"{count / samples:7.1%}  {' > '.join(frames)}" for frames, count in whole.most_common(_STACKS)),
    ]
    return "\n".join(parts) + "\n"
