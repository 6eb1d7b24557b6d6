"""docs/figures.md and the section of README.md that quotes it, made wholly of bench/results.json."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.figures import number
from bench.plan import FULL, USUAL
from bench.tables import SECTIONS
from bench.targets import TARGETS, Measured, Target
from demo.stack.places import ROOT

if TYPE_CHECKING:
    from bench.results import Results

PAGE, README = ROOT / "docs" / "figures.md", ROOT / "README.md"
REASONS = Path(__file__).parent / "reasons.toml"
BEGIN, END = "<!-- figures: made by `make bench`, not by hand -->", "<!-- end of figures -->"
#: Percent of all cores, used by others before the stack was started, from which on the machine was not idle.
_BUSY = 5.0


def write(results: Results) -> None:
    """Write both parts."""
    for path, text in ((PAGE, measured(results)), (README, quoted(results))):
        path.write_text(replaced(path.read_text(), text))


def replaced(page: str, text: str) -> str:
    """The page with this text between its marks."""
    middle = f"{BEGIN}\n\n{text}\n{END}"
    done, found = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: middle, page, flags=re.DOTALL)
    assert found == 1, f"the marks {BEGIN} and {END} are not there once"
    return done


def measured(results: Results, reasons: dict[str, str] | None = None) -> str:
    """The measured part of docs/figures.md."""
    if not results["scenarios"]:
        return "Nothing has been measured yet: `make bench` writes this part.\n"
    reasons = tomllib.loads(REASONS.read_text()) if reasons is None else reasons
    parts = [_about(results), "## Targets\n", _targets(results), *_missed(results, reasons)]
    for name in (*USUAL, "cost", *FULL):
        parts += SECTIONS[name](results)
    return "\n".join(part.strip("\n") + "\n" for part in parts if part)


def quoted(results: Results) -> str:
    """The measured part of the README: the targets with their figures, and nothing that is not on the page."""
    judged = [(target, found) for target in TARGETS if (found := target.judge(results)) is not None]
    if not judged:
        return "Nothing has been measured yet; `make bench` writes [docs/figures.md](docs/figures.md).\n"
    lines = ["| figure | must | measured | |", "| --- | --- | --- | --- |"]
    lines += [
        f"| {target.figure} | {target.must or target.aim} | {found.text} | {_verdict(target, found)} |"
        for target, found in judged
    ]
    text = f"{_place(results)} All figures and how to measure them: [docs/figures.md](docs/figures.md)."
    return "\n".join([*lines, "", text, ""])


def _place(results: Results) -> str:
    machine = _newest(results)["machine"]
    parts = [part["about"]["machine"]["cpu"] for part in results["scenarios"].values()]
    cpus = list(dict.fromkeys([machine["cpu"], *parts]))  # scenarios may have been measured on different days
    one, which = ("One", cpus[0]) if len(cpus) == 1 else ("A", f"{' or '.join(cpus)}; the page says which")
    return (
        f"{one} machine with {machine['cores']} cores ({which}) and {machine['memory_gb']} GB, everything on it: "
        "broker, PostgreSQL, Connect, target and worker."
    )


def _newest(results: Results) -> dict[str, Any]:
    parts = [part["about"] for part in results["scenarios"].values()]
    newest: dict[str, Any] = max(parts, key=lambda about: about["date"])
    return newest


def _about(results: Results) -> str:
    about = _newest(results)
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    lines = [
        f"{_place(results)} {about['machine']['system']}; {versions}.",
        "",
        "Figures are medians, with the least and the most of all runs in brackets.",
        "",
        "| scenario | measured on | machine | commit | bytes a record | busy before, % | took |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {' | '.join(_scenario(name, results['scenarios'][name]))} |"
        for name in (*USUAL, *FULL)
        if name in results["scenarios"]
    ]
    made = [
        f"[{name}](../bench/profiles/{name}.txt)" for name in ("deliver", "restart") if name in results["scenarios"]
    ]
    if made:
        lines += ["", f"Where the worker spends its time: {', '.join(made)}."]
    return "\n".join(lines)


def _scenario(name: str, part: dict[str, Any]) -> list[str]:
    about = part["about"]
    commit = f"`{about['commit']}`" + (", with changes" if about["changed_files"] else "")
    sizes = sorted(set(part["record_bytes"].values()))
    busy = number(part["busy_percent"]) + (" (not idle)" if part["busy_percent"] > _BUSY else "")
    return [
        name,
        about["date"],
        about["machine"]["cpu"],
        commit,
        ", ".join(map(number, sizes)),
        busy,
        f"{part['seconds'] / 60:.0f} min",
    ]


def _targets(results: Results) -> str:
    lines = ["| figure | must | aim | measured | |", "| --- | --- | --- | --- | --- |"]
    for target in TARGETS:
        found = target.judge(results)
        text, words = ("not measured", "") if found is None else (found.text, _verdict(target, found))
        lines.append(f"| {target.figure} | {target.must} | {target.aim} | {text} | {words} |")
    return "\n".join(lines)


def _verdict(target: Target, found: Measured) -> str:
    if target.must and not found.must:
        return "**missed**"
    if found.workers > 1 and (found.must if target.must else found.aim):
        return "holds with two workers"
    if found.aim is None:
        return "holds"
    if target.must:
        return "holds, the aim too" if found.aim else "holds, the aim does not"
    return "holds" if found.aim else "the aim does not hold"


def _missed(results: Results, reasons: dict[str, str]) -> list[str]:
    """Why aims are missed; only of those that are."""
    missed = [
        target
        for target in TARGETS
        if (found := target.judge(results)) is not None and (found.aim is False or not found.must)
    ]
    lines = [f"* {target.figure}: {reasons.get(target.key, 'no reason is known yet.')}" for target in missed]
    return ["What is missed, and why:\n", "\n".join(lines)] if lines else []
