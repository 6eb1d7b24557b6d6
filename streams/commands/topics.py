"""`topics`: creates what is missing, checks what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from streams.commands import base, consent, recording
from streams.source import topics as source_topics

if TYPE_CHECKING:
    from streams.settings import Settings

_THERE = "there, as it must be"


def commands(settings: Settings) -> list[click.Command]:
    """The commands of this file."""

    @click.command(
        "topics",
        help="Make the missing topics, check the others.  Example: faust -A streams.app topics --yes",
    )
    @consent.yes_option
    @base.json_option
    @base.run
    @recording.recorded(settings)
    async def topics(yes: bool, as_json: bool) -> int:
        try:
            missing = await source_topics.missing(settings)
            made = await source_topics.ensure(settings) if yes else []
        except source_topics.TopicError as error:
            base.fail(str(error))
        names = [topic.name for topic in source_topics.topic_table(settings)]
        if (missing.topics or missing.births) and not yes:
            steps = [f"make the topic {name}" for name in missing.topics]
            if missing.births:
                steps.append(f"write the first records of {settings.topics.identity}, whose maker did not end")
            consent.preview(steps, as_json=as_json, missing=missing.topics, topics=names)
            return base.OK
        said = base.table([(name, "made" if name in made else _THERE) for name in names])
        changed = bool(made) or missing.births
        short = f"made {', '.join(made)}" if made else "all topics are there"
        consent.done(said, as_json=as_json, changed=changed, short=short, made=made, topics=names)
        return base.OK

    return [topics]
