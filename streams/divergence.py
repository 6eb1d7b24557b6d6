"""What one mapping makes of the users that another one does not: counted by outcome and by field (pure)."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from streams.mapping import Mapped, Mapper, fingerprint
from streams.notes import explained

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from streams.newest import Credentials
    from streams.settings import Settings

#: How many ids stand for all users of a count.
EXAMPLES = 5

_ABSENT: Any = object()


class Tally:
    """Counts users by what happens to them, with some of their ids."""

    def __init__(self) -> None:
        self.users: Counter[Any] = Counter()
        self.examples: defaultdict[Any, list[str]] = defaultdict(list)

    def add(self, what: Hashable, user_id: str) -> None:
        """Count one user."""
        self.users[what] += 1
        if len(self.examples[what]) < EXAMPLES:
            self.examples[what].append(user_id)

    def rows(self, *names: str) -> list[dict[str, Any]]:
        """Return the counts, the largest first; what was counted are tuples with parts of these names."""
        return [
            {**dict(zip(names, what, strict=True)), "users": users, "examples": self.examples[what]}
            for what, users in sorted(self.users.items(), key=lambda item: (-item[1], item[0]))
        ]


class Divergence:
    """Maps each user twice, as `before` and as `after` say, and counts where the two differ."""

    def __init__(self, before: Settings, after: Settings) -> None:
        self._settings = before, after
        self._before, self._after = Mapper(before), Mapper(after)
        self._leave = tuple(_on_leave(settings) for settings in (before, after))
        self.read = self.differ = 0
        self.outcomes, self.fields = Tally(), Tally()
        self.notes: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def add(self, user_id: str, row: Mapping[str, Any], credentials: Credentials) -> None:
        """Compare one user; there may be more tables and columns than either mapping reads."""
        before, after = self._before.map(user_id, row, credentials), self._after.map(user_id, row, credentials)
        self.read += 1
        for counter, mapped in zip(self.notes, (before, after), strict=True):
            counter.update(set(mapped.notes))
        outcomes = _outcome(before, self._leave[0]), _outcome(after, self._leave[1])
        if outcomes[0] != outcomes[1]:
            self.differ += 1
            self.outcomes.add(outcomes, user_id)
        elif before.entity is None or after.entity is None or fingerprint(before.entity) == fingerprint(after.entity):
            return
        else:
            self.differ += 1
            for field, change in _changes(before.entity, after.entity):
                self.fields.add((field, change), user_id)

    @property
    def sent_again(self) -> int:
        """Users whose entity is another one, or who have none yet."""
        new = sum(users for (_, after), users in self.outcomes.users.items() if after == "sent")
        return self.differ - sum(self.outcomes.users.values()) + new

    def report(self) -> dict[str, Any]:
        """Return all counts."""
        names = sorted(self.notes[0].keys() | self.notes[1].keys())
        return {
            "read": self.read,
            "differ": self.differ,
            "same": self.read - self.differ,
            "sent_again": self.sent_again,
            "outcomes": self.outcomes.rows("before", "after"),
            "fields": self.fields.rows("field", "change"),
            "notes": [self._note(name) for name in names if self.notes[0][name] != self.notes[1][name]],
        }

    def _note(self, name: str) -> dict[str, Any]:
        before, after = self.notes[0][name], self.notes[1][name]
        # In the words of the mapping that makes it: the other one may have no such field.
        said = explained(name, self._settings[after > before])
        return {"note": name, "before": before, "after": after, "what": said.what, "remedy": said.remedy}


def _on_leave(settings: Settings) -> str:
    select = settings.mapping.select
    return select.on_leave if select is not None else "keep"


def _outcome(mapped: Mapped, on_leave: str) -> str:
    if mapped.status == "not_selected":
        return "left out" if on_leave == "keep" else "left out, and deleted if it was sent"
    return "sent" if mapped.status == "live" else "deleted"


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str]]:
    old, new = _flat(before), _flat(after)
    found = []
    for field in dict.fromkeys((*old, *new)):
        one, other = old.get(field, _ABSENT), new.get(field, _ABSENT)
        # A number and a truth value are equal in Python and are not in JSON, which the fingerprint is made of.
        if (type(one), one) != (type(other), other):
            found.append((field, _change(one, other)))
    return found


def _change(before: Any, after: Any) -> str:
    if after is _ABSENT:
        return "no longer sent"
    if before is _ABSENT:
        return "sent for the first time" if after is not None else "sent for the first time, as null"
    if after is None:
        return "null instead of a value"
    return "a value instead of null" if before is None else "another value"


def _flat(entity: Mapping[str, Any]) -> dict[str, Any]:
    """Name parts of the address and custom fields one by one; a password is one thing."""
    flat: dict[str, Any] = {}
    for name, value in entity.items():
        if name in ("address", "customFields"):
            flat |= {f"{name}.{part}": inner for part, inner in value.items()}
        else:
            flat[name] = value
    return flat
