"""Moments that the legacy tables keep as numbers: what they count."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from .model import Epoch

if TYPE_CHECKING:
    from .section import Section


def read_epoch(section: Section) -> Epoch | None:
    """Read `epoch`: what a number counts since 1970; None if the column holds no numbers."""
    chosen = section.text("epoch", None, get_args(Epoch))
    return next((one for one in get_args(Epoch) if one == chosen), None)
