"""`topics`: creates what is missing, checks what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base
from streams.source import topics as source_topics

if TYPE_CHECKING:
    from streams.settings import Settings


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "topics",
        help="Make the topics that are missing and check the settings of the others.  "
        "Example: faust -A streams.app topics",
    )
    @base.json_option
    @base.run
    async def topics(as_json: bool) -> int:
        try:
            made = await source_topics.ensure(settings)
        except source_topics.TopicError as error:
            base.fail(str(error))
        table = source_topics.topic_table(settings)
        if as_json:
            base.show_json({"made": made, "topics": [topic.name for topic in table]})
        else:
            rows = [(t.name, "made" if t.name in made else "there, as it must be") for t in table]
            click.echo(base.table(rows))
        return base.OK

    return [topics]
