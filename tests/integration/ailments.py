"""What can be wrong with a set-up, how doctor names it, and how its remedy is followed: by the remedy's own words."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.integration.ward import statements

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.integration.ward import Ward

    Wreck = Callable[[Ward], None]
    #: follows a remedy.
    Cure = Callable[[Ward, str], None]


@dataclass(frozen=True)
class Ailment:
    """How something is broken; the check that names it, and a word of it that nothing else makes it say; the cure."""

    slug: str
    what: str
    wreck: Wreck
    cure: Cure
    state: str = "fault"
    #: server_version_num from which on it can be had.
    since: int = 0


def treat(ward: Ward, *ailments: Ailment, words: Sequence[str] = ()) -> None:
    """Break these, one place each; doctor names exactly them; follow its remedies; it names nothing any more."""
    version = ward.value("SELECT current_setting('server_version_num')::int")
    known = [one for one in ailments if one.since <= version]
    for one in known:
        one.wreck(ward)
    found = ward.named(*words)
    assert {slug: named.state for slug, named in found.items()} == {one.slug: one.state for one in known}, found
    for one in known:
        named = found[one.slug]
        assert one.what in named.what
        one.cure(ward, named.remedy)
    ward.assert_green(*words)


# -- breaking ---------------------------------------------------------------------------------------------------------


def sql(*statements_: str) -> Wreck:
    """Run these as the administrator."""
    return lambda ward: ward.run(*statements_)


def system(**values: str) -> Wreck:
    """Set these settings of the server."""
    sets = [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in values.items()]
    return sql(*sets, "SELECT pg_reload_conf()")


def nothing(_: Ward) -> None:
    """It is so from the beginning, or by what breaks something else."""


# -- following a remedy -----------------------------------------------------------------------------------------------


def run_sql(ward: Ward, remedy: str) -> None:
    """Run the statements that it names."""
    ward.run(*statements(remedy))


def run_sql_in(database: str) -> Cure:
    """Run the statements that it names, in this database."""
    return lambda ward, remedy: ward.run(*statements(remedy), database=database)


def run_sql_and_restart(ward: Ward, remedy: str) -> None:
    """Run the statements that it names, and restart the server, as it says."""
    assert "then restart PostgreSQL" in remedy
    run_sql(ward, remedy)
    ward.restart_postgres()


def run_kafka_configs(ward: Ward, remedy: str) -> None:
    """Run the line that it is."""
    command, *words = shlex.split(remedy)
    assert command == "kafka-configs.sh"
    ward.kafka_configs(*words)


def command(*words: str) -> Cure:
    """Run a command of ours that it names."""

    def cure(ward: Ward, remedy: str) -> None:
        assert f"`{' '.join(words)}`" in remedy, remedy
        ward.command(*words)

    return cure


def by_hand(said: str, wreck: Wreck) -> Cure:
    """Do what it says in words."""

    def cure(ward: Ward, remedy: str) -> None:
        assert said in remedy, remedy
        wreck(ward)

    return cure


def in_turn(*cures: Cure) -> Cure:
    """Follow each part of it."""

    def cure(ward: Ward, remedy: str) -> None:
        for one in cures:
            one(ward, remedy)

    return cure


# -- addresses and secrets --------------------------------------------------------------------------------------------

_VARIABLE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)+\b")


@dataclass(frozen=True)
class Wrong:
    """A variable with a wrong value, and the check that names it."""

    slug: str
    what: str
    variable: str
    value: str


def assert_named(ward: Ward, *wrong: Wrong) -> None:
    """With all of these wrong at once, doctor names exactly them; setting what it names right makes all right."""
    env, right = {one.variable: one.value for one in wrong}, ward.pipeline.env
    assert all(right[variable] != value for variable, value in env.items())
    found = ward.named(**env)
    assert {slug: named.state for slug, named in found.items()} == {one.slug: "fault" for one in wrong}, found
    for one in wrong:
        named = found[one.slug]
        assert one.what in named.what
        said = _VARIABLE.findall(f"{named.what} {named.remedy}")
        env |= {variable: right[variable] for variable in said if variable in env}
    assert env == {variable: right[variable] for variable in env}, f"not all that is wrong is named: {found}"
