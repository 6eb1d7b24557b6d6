"""`cutover freeze`, `sign-off`, `abort`, `certificate` and `verify`: the proof for every user, and the switch."""

from __future__ import annotations

import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import orjson

from streams.audit.records import Actor, Hiding
from streams.census import report as text
from streams.census.page import page
from streams.commands import base, consent, files, orders, recording
from streams.commands.evening import Evening
from streams.commands.progress import Line
from streams.commands.user import look_up
from streams.control import DELIVERY
from streams.cutover import certificate, gate, paper, record
from streams.cutover.asking.behind import Behind
from streams.cutover.freezing import Freeze, Verdict
from streams.cutover.held import ANSWERED, BLOCKING, SignOff, record_name, sign_offs
from streams.doctor.checks import fault
from streams.keys import LSN
from streams.legacy import Legacy
from streams.offline import Controls, control_state
from streams.reconcile.passing import Passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.control import Control
    from streams.cutover.record import Record
    from streams.doctor.checks import Check
    from streams.settings import Settings

#: Seconds after which a freeze is given up, if nobody says otherwise.
_TIMEOUT = 300.0
#: What a freeze needs in the environment.
_NEEDED = (
    "SYNC_CERTIFICATE_KEY",
    "LEGACY_DATABASE_URL",
    "CIDAAS_BASE_URL",
    "CIDAAS_CLIENT_ID",
    "CIDAAS_CLIENT_SECRET",
)
#: Situations in which a user can be signed off: a person's word by another command may be given a reason, too.
_SIGNED = frozenset(situation.value for situation in (*BLOCKING, *ANSWERED))
_SAID = {
    certificate.Signature.CHANGED: "it was changed after it was signed: do not rely on it",
    certificate.Signature.ANOTHER_KEY: "it was signed with another key than SYNC_CERTIFICATE_KEY here",
    certificate.Signature.NONE: "it is no certificate of `cutover certificate --json`",
}


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file, which belong to the group `cutover`."""

    @click.command(
        "freeze",
        help="The legacy application is in maintenance: prove that every change is in, for every user, and say GO or "
        "NO-GO with reasons; 1 for NO-GO. GO holds delivery for good.  "
        "Example: faust -A streams.app cutover freeze --yes",
    )
    @click.option(
        "--timeout",
        type=click.FloatRange(1.0),
        default=_TIMEOUT,
        show_default=True,
        metavar="SECONDS",
        help="NO-GO if it has not come to its end by then.",
    )
    @click.option("--with-cidaas", is_flag=True, help="Read everybody back at cidaas, too, which takes its time.")
    @click.option(
        "--rate",
        type=click.FloatRange(0.1, 1000),
        default=10.0,
        show_default=True,
        help="With --with-cidaas: calls a second that read there.",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def freeze(timeout: float, with_cidaas: bool, rate: float, yes: bool, as_json: bool) -> int:
        async with Controls(settings) as control:
            known = record.read(control.state)
            if known is not None and known.state in (record.FINISHING, record.FINISHED):
                base.fail(f"{known}: there is nothing to be frozen any more.")
            if known is not None and known.over:
                return await _again(settings, control, known, as_json=as_json)
            if not yes:
                consent.preview(_steps(), as_json=as_json)
                return base.OK
            settings.require(*_NEEDED)
            return await _freeze(settings, control, timeout, rate if with_cidaas else None, as_json=as_json)

    @click.command(
        "sign-off",
        help="Let a freeze pass although these users are refused, parked or set aside: each in its present version.  "
        "Example: faust -A streams.app cutover sign-off 42 --why 'the help desk calls him'",
    )
    @click.argument("users", nargs=-1, metavar="USER...")
    @click.option("--why", default="", help="The reason, which stands in the certificate.")
    @click.option("--take-back", is_flag=True, help="Take the sign-offs of these users back.")
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings, recording.one_named)
    async def sign_off(users: tuple[str, ...], why: str, take_back: bool, yes: bool, as_json: bool) -> int:
        if not users:
            base.fail("say whom: ids of users")
        yes = recording.one_named(users=users, yes=yes)
        if take_back:
            return await _take_back(settings, users, yes=yes, as_json=as_json)
        if not why.strip():
            base.fail("say why: it stands in the certificate, for whoever asks months later")
        return await _sign_off(settings, users, why, yes=yes, as_json=as_json)

    @click.command(
        "abort",
        help="Go back from a freeze, or a GO, to normal synchronisation.  "
        "Example: faust -A streams.app cutover abort --why 'the new login page is down' --yes",
    )
    @click.option("--why", default="by hand", show_default=True, help="A note for `status` and the audit.")
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def abort(why: str, yes: bool, as_json: bool) -> int:
        async with Controls(settings) as control:
            return await _abort(settings, control, why, yes=yes, as_json=as_json)

    @click.command(
        "certificate",
        help="Show the record of the GO; with --json the signed document, which `cutover verify` checks.  "
        "Example: faust -A streams.app cutover certificate --html certificate.html",
    )
    @files.html_option
    @base.json_option
    @base.run
    async def certificate_(file: Path | None, as_json: bool) -> int:
        files.assert_writable(file)
        document = _certified(await control_state(settings))
        found = paper.build(document)
        if file is not None:
            files.write(file, page(found))
        if as_json:
            base.show_json(document)
        else:
            click.echo(text.text(found, shutil.get_terminal_size((text.WIDEST, 24)).columns))
        return base.OK

    @click.command(
        "verify",
        help="Say whether a certificate is what was signed; 1 if not.  "
        "Example: faust -A streams.app cutover verify certificate.json",
    )
    @click.argument("file", type=click.Path(path_type=Path))
    @base.json_option
    @base.run
    async def verify(file: Path, as_json: bool) -> int:
        return _verify(settings, file, as_json=as_json)

    return [freeze, sign_off, abort, certificate_, verify]


# -- freeze -----------------------------------------------------------------------------------------------------------


def _steps() -> list[str]:
    return [
        "look at what is in the way: workers, source, cidaas, users who are refused, parked or set aside",
        "write a marker into the WAL of the legacy database, when no transaction is open there",
        "wait until every change before it is confirmed per user, and compare both sides",
        "hold all deliveries, and look once more whether anything was written since",
        "say GO, sign the certificate, and send nothing any more until `cutover abort`; or say NO-GO with the reasons, "
        "and go on as before",
    ]


async def _freeze(settings: Settings, control: Control, timeout: float, rate: float | None, *, as_json: bool) -> int:
    async with Evening(settings, control, timeout, rate) as evening:
        found = await Freeze(settings, evening, timeout).run()
    return _tell(found, as_json=as_json, changed=True)


def _tell(found: Verdict, *, as_json: bool, changed: bool, short: str = "") -> int:
    """Say how it ended; the exit code is 1 for NO-GO."""
    body: dict[str, Any] = {
        "verdict": "GO" if found.go else "NO-GO",
        "seconds": round(found.seconds, 1),
        "marker": None if found.marker is None else found.marker._asdict(),
        "reasons": [{**asdict(one), "state": one.state.value} for one in found.reasons],
        "certificate": found.certificate,
    }
    if found.go and not short and found.certificate is not None:
        short = paper.verdict(found.certificate)
        said = f"{short} Nothing is sent any more. `cutover certificate` prints the proof, `cutover abort` goes back."
    elif found.go:
        said = short
    else:
        short = f"NO-GO: {'; '.join(one.what for one in found.reasons)}"
        said = _listed(found.reasons)
    consent.done(said, as_json=as_json, changed=changed, short=short, **body)
    return base.OK if found.go else base.WRONG


def _listed(reasons: Sequence[Check]) -> str:
    number = len(reasons)
    lines = [f"NO-GO, for {number} reason{'s' * (number != 1)}:"]
    for one in reasons:
        lines += [f"! {one.slug}: {one.what}", *([f"  {one.remedy}"] if one.remedy else [])]
    return "\n".join(lines)


async def _again(settings: Settings, control: Control, known: Record, *, as_json: bool) -> int:
    """GO was said: whether it still holds. Nothing is changed."""
    assert known.certificate is not None and known.marker is not None
    began, line = time.monotonic(), Line()
    behind, passing, legacy = Behind(settings, known.ends), Passing(settings, control), Legacy(settings)
    try:
        line.say("waits until Kafka has what was written until now")
        await passing.streamed(int((await legacy.query(LSN))[0]["lsn"]))
        late = await behind.late(known.marker.lsn)
    finally:
        line.say("")
        await behind.close()
        await passing.close()
        await legacy.close()
    reasons = gate.judge_after(late, known.at)
    if control.paused(settings.delivery.start) is None:
        remedy = "Run `pause` at once, and find out who let it go on (`audit`)."
        reasons.append(fault("not_held", "GO was said, and delivery is not held any more", remedy))
    found = Verdict(reasons, known.marker, time.monotonic() - began, known.certificate)
    fine = f"{known}; nothing was written to the legacy database since, and nothing is sent."
    return _tell(found, as_json=as_json, changed=False, short=fine)


# -- sign-off ---------------------------------------------------------------------------------------------------------


async def _sign_off(settings: Settings, users: tuple[str, ...], why: str, *, yes: bool, as_json: bool) -> int:
    who, now, hidden = Actor.here().name, time.time(), Hiding.of(settings)(why)
    words: dict[str, SignOff] = {}
    for user in dict.fromkeys(users):
        body = await look_up(settings, user)
        if body["situation"] not in _SIGNED:
            base.fail(f"user {user} needs no sign-off: {body['sentence']} Nobody was signed off.", base.WRONG)
        epoch, offset = body["snapshot"]["version"]
        words[user] = SignOff((int(epoch), int(offset)), hidden, who, now)
    shown = [{"user": user, **word.body()} for user, word in words.items()]
    if not yes:
        would = f"{orders.many(shown)} would be signed off, each in its present version: {hidden}."
        consent.preview(would, as_json=as_json, users=shown)
        return base.OK
    async with Controls(settings) as control:
        for user, word in words.items():
            await control.put(record_name(user), word.body())
    said = f"signed off, each in its present version: {', '.join(words)}. With the next change of a user it is void."
    consent.done(said, as_json=as_json, short=f"signed off {orders.many(shown)}: {hidden}", users=shown)
    return base.OK


async def _take_back(settings: Settings, users: tuple[str, ...], *, yes: bool, as_json: bool) -> int:
    async with Controls(settings) as control:
        known = sign_offs(control.state)
        there = [user for user in dict.fromkeys(users) if user in known]
        if there and not yes:
            consent.preview(f"the sign-offs of {orders.many(there)} would be taken back.", as_json=as_json, users=there)
            return base.OK
        for user in there:
            await control.put(record_name(user), None)
    said = f"taken back: {', '.join(there)}" if there else "none of them is signed off"
    consent.done(said, as_json=as_json, changed=bool(there), users=there)
    return base.OK


# -- abort ------------------------------------------------------------------------------------------------------------


async def _abort(settings: Settings, control: Control, why: str, *, yes: bool, as_json: bool) -> int:
    known, ours = record.read(control.state), record.paused(control.state)
    if known is not None and known.state in (record.FINISHING, record.FINISHED):
        base.fail(f"{known}: that cannot be taken back. `cutover finish` goes on with it.")
    if not ours and (known is None or known.state in (record.NO_GO, record.ABORTED)):
        consent.done("nothing is frozen, and there is nothing to go back from", as_json=as_json, changed=False)
        return base.OK
    held = control.paused(settings.delivery.start)
    steps = [f"take back: {known}"] if known is not None else []
    if ours:
        steps.append("let delivery go on: what was written since is sent, over what users have changed at cidaas since")
    elif held is not None:
        steps.append("leave delivery paused, because a person has paused it since: `resume` ends that")
    if not yes:
        consent.preview(steps, as_json=as_json)
        return base.OK
    # The word first: a pause alone is ended by another abort.
    await record.write(control, record.ABORTED, why=Hiding.of(settings)(why))
    if ours:
        await control.put(DELIVERY, record.resume())
    goes_on = "delivery goes on" if ours or held is None else "delivery stays paused: `resume` ends that"
    consent.done(f"aborted: synchronisation is as before the freeze; {goes_on}", as_json=as_json)
    return base.OK


# -- certificate ------------------------------------------------------------------------------------------------------


def _certified(state: dict[str, Any]) -> dict[str, Any]:
    known = record.read(state)
    if known is None or known.certificate is None:
        why = "nobody has frozen yet" if known is None else str(known)
        base.fail(f"there is no certificate: {why}. A GO of `cutover freeze` makes one, and an abort ends it.")
    return known.certificate


def _verify(settings: Settings, file: Path, *, as_json: bool) -> int:
    settings.require("SYNC_CERTIFICATE_KEY")
    assert settings.certificate_key is not None
    try:
        document = orjson.loads(file.read_bytes())
    except OSError as error:
        base.fail(f"{file} cannot be read: {error.strerror}.")
    except orjson.JSONDecodeError:
        base.fail(f"{file} is not JSON: {_SAID[certificate.Signature.NONE]}.")
    found = certificate.check(document, settings.certificate_key)
    genuine = found is certificate.Signature.GENUINE
    said = f"genuine: {paper.verdict(document)} {document['time']}" if genuine else f"NOT genuine: {_SAID[found]}"
    if as_json:
        base.show_json({"genuine": genuine, "found": found.value, "said": said})
    else:
        click.echo(said)
    return base.OK if genuine else base.WRONG
