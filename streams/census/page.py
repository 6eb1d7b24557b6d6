"""The report as one page: nothing is loaded, nothing is run, and it can be read on a telephone (pure)."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from streams.census.report import examples

if TYPE_CHECKING:
    from streams.census.report import Line, Report, Section

_STYLE = """\
:root { color-scheme: light dark; --quiet: color-mix(in srgb, currentColor 65%, transparent); --line: #8884; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.35rem; line-height: 1.25; margin: .5rem 0 0; overflow-wrap: anywhere; }
h1::first-letter { text-transform: uppercase; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .4rem; break-after: avoid; }
.when, footer { color: var(--quiet); font-size: .875rem; margin: .2rem 0; }
footer { border-top: 1px solid var(--line); margin-top: 2rem; padding-top: .5rem; }
.verdict { font-size: 1.15rem; border-left: .25rem solid; padding-left: .8rem; }
table { border-collapse: collapse; table-layout: fixed; width: 100%; }
tr { break-inside: avoid; }
td { border-top: 1px solid var(--line); padding: .4rem 0; vertical-align: top; overflow-wrap: anywhere; }
tr:first-child td { border-top-color: currentColor; }
td.figure { box-sizing: border-box; width: 10.5rem; padding-right: 1rem; text-align: right; white-space: nowrap; }
td.figure { font-variant-numeric: tabular-nums; }
td.figure small { display: inline-block; width: 4.6rem; }
small { display: block; color: var(--quiet); font-size: .875rem; }
.bar { display: flex; height: 1.4rem; margin: .6rem 0; gap: 2px; }
.bar i { min-width: 3px; }
.mark td.figure { border-left: .5rem solid var(--fate); }
.bar i { background: var(--fate); print-color-adjust: exact; }
.unchanged { --fate: #2f9e5f; } .second_factor_lost { --fate: #8fb52f; } .reset { --fate: #e0a21b; }
.barred { --fate: #8d949e; } .refused { --fate: #d1493f; }
@media (max-width: 34rem) {
  td.figure { width: 5.6rem; padding-right: .7rem; }
  td.figure small { display: block; width: auto; }
}
@media print { body { font-size: 10.5pt; max-width: none; padding: 0; } .mark td.figure { print-color-adjust: exact; } }
"""
_NO_VALUES = "Counts, and ids of users as examples: no names, addresses or passwords are on this page."


def page(report: Report) -> str:
    """Return the whole page."""
    sections = "\n".join(map(_section, report.sections))
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(report.title)}</title>
<style>
{_STYLE}</style>
<h1>{escape(report.title)}</h1>
<p class="when">{escape(report.when)}</p>
<p class="verdict">{escape(report.verdict)}</p>
{sections}
<footer>{_NO_VALUES}</footer>
</html>
"""


def _section(section: Section) -> str:
    fates = {line.fate for line in section.lines}
    compared = len(fates) > 1
    rows = "\n".join(_row(line, marked=compared) for line in section.lines)
    bar = f"{_bar(section)}\n" if compared else ""
    return f"<h2>{_code(section.title)}</h2>\n{bar}<table>\n{rows}\n</table>"


def _bar(section: Section) -> str:
    """The lines' shares side by side; the table below says the same in words."""
    parts = "".join(
        f'<i class="{line.fate}" style="flex-grow: {line.number}"></i>'
        for line in section.lines
        if line.fate is not None and line.number
    )
    return f'<div class="bar" aria-hidden="true">{parts}</div>'


def _row(line: Line, *, marked: bool) -> str:
    more = "".join(f"<small>{_code(words)}</small>" for words in (line.remark, examples(line)) if words)
    what = f"{_code(line.what)}{more}"
    if line.number is None:
        return f"<tr><td colspan=2>{what}</td></tr>"
    share = f" <small>{escape(line.share)}</small>"
    kind = f' class="mark {line.fate}"' if marked else ""
    return f'<tr{kind}><td class="figure">{line.number:,}{share}</td><td>{what}</td></tr>'


def _code(text: str) -> str:
    """Escape a text; what stands between backticks is a command."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
