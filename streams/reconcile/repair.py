"""What puts each difference right: control records, as a sweep and `resync` send them (pure).

A removal carries the position up to which the user was known when it was judged, so it is void if anything has come
since; it is counted by the delete brake, and its delete has a second look. Whoever only cidaas knows is left alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streams.reconcile.cases import CURES, Cure
from streams.rows import USERS, Removal, Resync, SetAside

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from streams.reconcile.cases import Case
    from streams.reconcile.run import Wrong
    from streams.rows import Control


def chosen(wrong: Iterable[Wrong], only: Collection[Case]) -> list[Wrong]:
    """Of those who differ whom a repair is for: all that can be cured, or those of these cases."""
    return [one for one in wrong if CURES[one.case] is not None and (not only or one.case in only)]


def order(one: Wrong, who: str) -> tuple[str, Control]:
    """The control record for one user; `who` asks for it."""
    match CURES[one.case]:
        case Cure.READ_AGAIN:
            return one.user, SetAside(f"reconcile found it {one.case.value}")
        case Cure.REMOVE:
            return one.user, Removal(USERS, one.user, one.epoch, None, one.applied)
        case _:
            return one.user, Resync(who, f"reconcile found it {one.case.value}")
