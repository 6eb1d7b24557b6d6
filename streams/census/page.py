"""The report as one page: nothing is loaded, nothing is run, and it can be read on a telephone (pure)."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from streams.census.report import examples

if TYPE_CHECKING:
    from streams.census.report import Line, Report, Section

_STYLE = """\
:root { color-scheme: light dark; --quiet: color-mix(in srgb, currentColor 65%, transparent); --line: #8884; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.8rem 0 .3rem; }
.verdict { font-size: 1.15rem; border-left: .25rem solid; padding-left: .8rem; }
table { border-collapse: collapse; width: 100%; }
td { border-top: 1px solid var(--line); padding: .35rem 0 .35rem .7rem; vertical-align: top; overflow-wrap: anywhere; }
td.figure { padding-left: 0; text-align: right; white-space: nowrap; width: 1%; font-variant-numeric: tabular-nums; }
small { display: block; color: var(--quiet); }
"""


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
<p class="verdict">{escape(report.verdict)}</p>
{sections}
</html>
"""


def _section(section: Section) -> str:
    rows = "\n".join(map(_row, section.lines))
    return f"<h2>{escape(section.title)}</h2>\n<table>\n{rows}\n</table>"


def _row(line: Line) -> str:
    more = "".join(f"<small>{escape(words)}</small>" for words in (line.remark, examples(line)) if words)
    what = f"<td>{escape(line.what)}{more}</td>"
    if line.number is None:
        return f"<tr>{what.replace('<td>', '<td colspan=2>', 1)}</tr>"
    share = f"<small>{escape(line.share)}</small>" if line.share else ""
    return f'<tr><td class="figure">{line.number:,}{share}</td>{what}</tr>'
