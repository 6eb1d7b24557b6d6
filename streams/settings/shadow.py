"""The second pipeline of a rehearsal: it reads the same topic under another name, and tells nobody of it (pure).

It has a group, topics and a folder of its own (O5). Into `legacy.identity` it writes nothing: what its join would send
there (M5) the live pipeline has sent already, and what it would ask for there is the live pipeline's to ask.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .model import Topics

if TYPE_CHECKING:
    from .model import Settings

#: The variable that makes a worker the rehearsal of this name; `rehearse` sets it for the one that it starts.
VARIABLE = "SYNC_REHEARSAL"
#: Deletes that nobody has to answer for: those of weeks come within minutes.
_ALL = 1 << 30


def name_of(app_id: str, number: int) -> str:
    """The app id of a rehearsal: another one each time, because what a group has committed outlives its topics."""
    return f"{prefix_of(app_id)}{number:x}"


def prefix_of(app_id: str) -> str:
    """How the names of all topics of all rehearsals begin."""
    return f"{app_id}-rehearsal-"


def shadow(settings: Settings, name: str) -> Settings:
    """The same pipeline under this name; everybody is delivered, and no brake stops it."""
    delivery = replace(settings.delivery, start="running", only=None, refused_share=1.0)
    return replace(
        settings,
        app_id=name,
        topics=Topics.of(settings.source.prefix, name),
        delivery=delivery,
        brake=replace(settings.brake, floor=_ALL, ceiling=_ALL),
        certificate_key=None,
        archive=None,
        rehearsal=True,
    )
