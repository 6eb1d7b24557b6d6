"""A certificate in words, as page and screen of a census show them (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.census.report import Line, Report, Section
from streams.cutover.record import moment
from streams.quantities import duration
from streams.reconcile.cases import MEANING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def build(document: Mapping[str, Any]) -> Report:
    """Put a certificate into words; whoever wants to check it needs the JSON."""
    by = document["by"]
    when = f"{document['time']}, by {by['name']} ({by['account']} on {by['host']})"
    sections = [
        ("What was proved", _proved(document)),
        ("Users", _users(document)),
        ("Not at cidaas as in the legacy database", _not_confirmed(document)),
        ("Configuration and versions", _configuration(document)),
        ("Signature", _signature(document)),
    ]
    full = tuple(Section(name, tuple(lines)) for name, lines in sections)
    title = f"certificate of the go-live of {document['configuration']['pipeline']}"
    return Report(title, when, verdict(document), tuple(section for section in full if section.lines))


def verdict(document: Mapping[str, Any]) -> str:
    """It in one sentence."""
    users, open_ = document["users"], len(document["not_confirmed"])
    whom = f"{users:,} user{'s' * (users != 1)}"
    but = f"; {open_:,} of them {'is' if open_ == 1 else 'are'} not, by somebody's word" if open_ else ""
    position = document["marker"]["position"]
    return f"{document['verdict']}: every change up to LSN {position} is in, for {whom}{but}."


def _proved(document: Mapping[str, Any]) -> Iterator[Line]:
    compared, marker = document["compared"], document["marker"]
    yield Line(None, f"Legacy database {document['database']}, tables {', '.join(document['tables'])}")
    yield Line(None, f"Marker {marker['id']} at LSN {marker['position']}; no transaction was open across it")
    offsets = ", ".join(f"{number}: {offset}" for number, offset in document["topic"]["offsets"].items())
    yield Line(None, f"No row was changed behind it, up to these offsets of {document['topic']['name']}: {offsets}")
    yield Line(None, f"The pipeline had joined all of it, and nobody was pending or in a call to {document['cidaas']}")
    back, took = compared["read_back"], duration(compared["seconds"])
    at_cidaas = f"; {back:,} users were read back at cidaas" if back is not None else "; cidaas was not read back"
    yield Line(
        None, f"Legacy tables, pipeline and ledger were compared at {moment(compared['at'])}, in {took}{at_cidaas}"
    )
    if compared["columns_left_out"]:
        yield Line(None, f"Not compared: columns {', '.join(compared['columns_left_out'])}")
    if compared["fields_not_stored"]:
        yield Line(None, f"Sent, and not shown by cidaas of anybody: {', '.join(compared['fields_not_stored'])}")
    yield Line(None, f"From freeze to GO: {duration(document['seconds'])}")


def _users(document: Mapping[str, Any]) -> Iterator[Line]:
    meaning = {case.value: words for case, words in MEANING.items()}
    for case, number in document["cases"].items():
        what = case.replace("_", " ")
        yield Line(number, f"{what}: {meaning[case]}" if case in meaning else what, document["users"])


def _not_confirmed(document: Mapping[str, Any]) -> Iterator[Line]:
    for one in document["not_confirmed"]:
        word, case = one["signed_off"], one["case"].replace("_", " ")
        reason = f" ({one['reason']})" if one["reason"] else ""
        by = word["by"] or "a person"
        why = f": {word['why']}" if word["why"] else ""
        said = f"{word['command'] or 'answered'} by {by}, {moment(word['at'])}{why}"
        yield Line(None, f"user {one['user']}: {case}{reason}, since {moment(one['since'])}", remark=said)


def _configuration(document: Mapping[str, Any]) -> Iterator[Line]:
    configuration = document["configuration"]
    fingerprint, mapping = configuration["fingerprint"], configuration["mapping"]
    yield Line(None, f"Configuration {fingerprint}, as `audit --command worker` shows it; mapping {mapping}")
    yield Line(None, ", ".join(f"{name} {version or 'not known'}" for name, version in document["versions"].items()))


def _signature(document: Mapping[str, Any]) -> Iterator[Line]:
    mark = document["signature"]
    yield Line(None, f"{mark['algorithm']} {mark['value']}, with the key {mark['key']}")
    yield Line(
        None, "This page is a copy to be read. `cutover verify FILE` checks the JSON of `cutover certificate --json`"
    )
