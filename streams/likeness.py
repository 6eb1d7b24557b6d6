"""What a user's rows look like to the mapping, so that two readings of them can be compared without showing a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.mapping import fingerprint, map_user, status_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streams.newest import Credentials
    from streams.settings import Settings


def likeness(
    settings: Settings, user_id: str, row: Mapping[str, Any] | None, credentials: Credentials
) -> dict[str, Any]:
    """`mapping`: the mapping's word for the row, None for no row; `entity`: a fingerprint, "" unless it is live.

    Without the lazy columns, which may differ for long.
    """
    status = None if row is None else status_of(row, settings)
    if row is None or status != "live":
        return {"mapping": status, "entity": ""}
    values = {name: value for name, value in row.items() if name not in settings.source.users.lazy}
    entity = map_user(user_id, values, credentials, settings).entity
    return {"mapping": status, "entity": fingerprint(entity) if entity is not None else ""}
