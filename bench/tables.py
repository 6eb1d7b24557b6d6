"""The tables of docs/figures.md, one for each scenario (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.contenders import OURS, PAIR
from bench.figures import Row, Spread, number, of, ratio, rows, spread, values

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bench.results import Results

TITLES = {
    OURS: "**this pipeline**",
    PAIR: "this pipeline, two workers",
    "plain": "plain aiokafka + rocksdict",
    "textbook": "textbook Faust",
    "kafka_streams": "Kafka Streams",
    "quix": "Quix Streams",
    "script": "one-time script",
}
_COST = (("CPU s", "cpu_seconds"), ("peak MB", "peak_mb"))


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    rules = " | ".join("---" for _ in head)
    return "\n".join([f"| {' | '.join(head)} |", f"| {rules} |", *(f"| {' | '.join(line)} |" for line in lines)])


def contenders(runs: Sequence[Row], columns: Sequence[tuple[str, str]], rate: str) -> str:
    """A line for each contender, with ours over it by the rate; what failed is said, and never left out."""
    lines: list[list[str]] = []
    failures: list[str] = []
    for name in dict.fromkeys(row["contender"] for row in runs):
        mine = [row for row in runs if row["contender"] == name]
        good = [row for row in mine if "problem" not in row]
        title = TITLES.get(name, name)
        failures += [
            f"* {title}, run {row.get('run', 0)}: **failed**: {row['problem']}" for row in mine if "problem" in row
        ]
        times = "" if name == OURS or not good else _cell(ratio(runs, name, rate))
        count = f"{len(good)}" if len(good) == len(mine) else f"**{len(good)} of {len(mine)}**"
        lines.append([title, count, *(_cell(of(good, key)) for _, key in columns), times])
    head = ["", "runs", *(title for title, _ in columns), "ours over it, same run"]
    return "\n".join([table(head, lines), *(["", *failures] if failures else [])])


def join(results: Results) -> list[str]:
    """Join."""
    runs = rows(results, "join")
    if not runs:
        return []
    columns = [("rows/s", "per_second"), ("from assignment", "per_second_from_assignment"), *_COST]
    text = (
        f"{_users(runs)} users, two records each, into durable snapshots; nothing is sent. Done when all snapshots are "
        "as they should be and all offsets committed. *From assignment*: without the time until the group has given "
        "out its partitions."
    )
    return ["## Join\n", text + "\n", contenders(runs, columns, "per_second")]


def deliver(results: Results) -> list[str]:
    """Deliver, for each latency."""
    parts: list[str] = []
    for latency in sorted({row["latency_ms"] for row in rows(results, "deliver") if "latency_ms" in row}):
        runs = rows(results, "deliver", latency_ms=latency)
        columns = [
            ("users/s", "per_second"),
            ("from the first call", "per_second_from_first_call"),
            ("first call after, s", "first_call_seconds"),
            *_COST,
            ("users a call", "users_per_call"),
            # Without latency the target answers a call before it reads the next one.
            *([("calls at a time, most", "most_in_flight")] if latency else []),
            ("sent again", "sent_twice"),
        ]
        text = f"{_users(runs)} users, from the start of the process to the last confirmation; outputs are equal."
        parts += [f"## Deliver, target at {latency} ms\n", text + "\n", contenders(runs, columns, "per_second")]
    return parts


def restart(results: Results) -> list[str]:
    """Restart with and without local state."""
    runs = rows(results, "restart")
    if not runs:
        return []
    columns = [
        ("kill → first change confirmed, s", "first_changed_seconds"),
        ("kill → assignment, s", "assigned_seconds"),
        ("assignment → ready, s", "ready_after_assignment_seconds"),
        ("assignment → first, s", "first_changed_after_assignment_seconds"),
        ("start → first, s", "first_changed_after_start_seconds"),
        ("CPU s", "cpu_seconds"),
    ]
    text = (
        f"SIGKILL with {_users(runs)} users in sync, a few changes of each partition while it is dead, and a new start "
        "at once. Until the assignment the broker waits for the dead member's session; plain aiokafka assigns its "
        "partitions itself and waits for nobody. Its state is in no changelog: without it everything is read and sent "
        "again."
    )
    parts = ["## Restart\n", text]
    for state, words in ((True, "with local state"), (False, "without local state")):
        some = [row for row in runs if row.get("local_state") is state or (state and "local_state" not in row)]
        if some:
            parts += [f"\n{words.capitalize()}:\n", contenders(some, columns, "first_changed_after_start_seconds")]
    return parts


def live(results: Results) -> list[str]:
    """Live, with stages."""
    runs = rows(results, "live")
    if not runs:
        return []
    head = [
        "changes/s",
        "runs",
        "",
        "all",
        "WAL → topic",
        "topic → snapshot",
        "snapshot → call",
        "call",
        "users a call",
    ]
    stages = ("", "wal_to_topic_", "topic_to_snapshot_", "snapshot_to_call_", "call_")
    lines = []
    for rate in sorted({row["rate"] for row in runs if "rate" in row}):
        mine = [row for row in runs if row.get("rate") == rate]
        good = [row for row in mine if "problem" not in row]
        for share in ("p50", "p99", "max"):
            cells = [_cell(of(good, f"{stage}{share}_ms")) for stage in stages]
            first = share == "p50"
            count = f"{len(good)}" if len(good) == len(mine) else f"**{len(good)} of {len(mine)}**"
            lines.append([f"{rate:,}" if first else "", count if first else "", share, *cells,
                          _cell(of(good, "users_per_call")) if first else ""])  # fmt: skip
    text = (
        "Milliseconds from the commit in PostgreSQL to the confirmation, by the whole path with Connect; the target "
        "answers at once. A user waits at least 20 ms on purpose, for further rows of its transaction."
    )
    return ["## Live\n", text + "\n", table(head, lines), *_failures(runs)]


def backlog(results: Results) -> list[str]:
    """Backlog."""
    runs = rows(results, "backlog")
    if not runs:
        return []
    good = [row for row in runs if "problem" not in row]
    seconds = next((row["away_seconds"] for row in runs if "away_seconds" in row), 0)
    lines = [
        [title, _cell(of(good, key))]
        for title, key in (
            ("users who waited when the target came back", "backlog"),
            ("seconds until the first of them was confirmed", "noticed_seconds"),
            ("seconds from then until 99 % were", "drain_seconds"),
            ("seconds from then until all were (users of calls that were cut off rest for 15 s)", "last_seconds"),
            ("users/s confirmed meanwhile", "drained_per_second"),
            ("users/s changed meanwhile", "arriving_per_second"),
            ("users a call", "users_per_call"),
        )
    ]
    text = f"The target closes its port for {number(seconds)} s, changes go on; {len(good)} of {len(runs)} runs."
    return ["## Backlog\n", text + "\n", table(["", "this pipeline"], lines), *_failures(runs)]


def cost(results: Results) -> list[str]:
    """CPU by stage, out of join and deliver."""
    joins, delivers = rows(results, "join"), rows(results, "deliver", latency_ms=0)
    lines = []
    for name in dict.fromkeys(row["contender"] for row in delivers):
        join_cost = _per_100k([row for row in joins if row["contender"] == name])
        whole = _per_100k([row for row in delivers if row["contender"] == name])
        if whole is not None:
            rest = number(whole.median - join_cost.median) if join_cost is not None else ""
            lines.append([TITLES.get(name, name), _cell(whole), _cell(join_cost), rest])
    if not lines:
        return []
    text = (
        "CPU seconds of the process for 100,000 users, its start included: of the whole delivery, of the join alone, "
        "and the difference, which is mapping, calls and the ledger. Broker and target are not in it."
    )
    return ["## Cost\n", text + "\n", table(["", "deliver, 0 ms", "join alone", "difference"], lines)]


def reconcile(results: Results) -> list[str]:
    """Reconcile."""
    runs = rows(results, "reconcile")
    if not runs:
        return []
    good = [row for row in runs if "problem" not in row]
    alarms = sum(row["false_alarms"] for row in good)
    rate = next((row["rate"] for row in runs), 0)
    lines = [
        ["seconds of the command, its start included", _cell(of(good, "seconds"))],
        ["seconds of the comparison", _cell(of(good, "compare_seconds"))],
        ["users named who do not differ, in all runs", f"{alarms:,}"],
    ]
    text = (
        f"`reconcile --without-cidaas` of {_users(runs)} users, while {rate:,} changes a second are committed and "
        f"delivered; {len(good)} of {len(runs)} runs."
    )
    return ["## Reconcile\n", text + "\n", table(["", "this pipeline"], lines), *_failures(runs)]


def census(results: Results) -> list[str]:
    """Census."""
    runs = rows(results, "census")
    if not runs:
        return []
    good = [row for row in runs if "problem" not in row]
    lines = [[f"{_users(runs)}", _cell(of(good, "seconds")), _cell(of(good, "per_second"))]]
    text = "`census` of everybody, without `--dns`; the whole command, its start included."
    return ["## Census\n", text + "\n", table(["users", "seconds", "users/s"], lines), *_failures(runs)]


def memory(results: Results) -> list[str]:
    """Memory."""
    runs = rows(results, "memory")
    if not runs:
        return []
    lines = [
        [f"{users:,}", _cell(of([row for row in runs if row.get("users") == users], "peak_mb"))]
        for users in sorted({row["users"] for row in runs if "users" in row})
    ]
    return ["## Memory\n", "Peak of the worker's resident memory in an initial delivery, MB.\n",
            table(["users", "peak MB"], lines), *_failures(runs)]  # fmt: skip


def growth(results: Results) -> list[str]:
    """Growth: each figure at each size."""
    runs = rows(results, "growth")
    if not runs:
        return []
    sizes = sorted({row["users"] for row in runs if "users" in row})
    asked: list[tuple[str, Callable[[Row], bool], str]] = [
        ("join, rows/s", lambda row: row.get("part") == "join", "per_second"),
        ("deliver, 0 ms, users/s", lambda row: row.get("part") == "deliver", "per_second"),
        ("deliver, CPU s", lambda row: row.get("part") == "deliver", "cpu_seconds"),
        ("deliver, peak MB", lambda row: row.get("part") == "deliver", "peak_mb"),
        ("restart with state, assignment → ready, s", lambda row: row.get("local_state") is True,
         "ready_after_assignment_seconds"),
        ("restart without, assignment → ready, s", lambda row: row.get("local_state") is False,
         "ready_after_assignment_seconds"),
    ]  # fmt: skip
    lines = [
        [title, *(_cell(of([row for row in runs if row.get("users") == users and fits(row)], key)) for users in sizes)]
        for title, fits, key in asked
    ]
    return ["## Growth\n", table(["", *(f"{users:,} users" for users in sizes)], lines), *_failures(runs)]


def whole(results: Results) -> list[str]:
    """The whole path."""
    runs = rows(results, "whole")
    if not runs:
        return []
    lines = [
        [f"{row['users']:,}", f"{row['latency_ms']} ms", number(row["whole_seconds"]),
         number(row["users"] / row["whole_seconds"]), number(row["cpu_seconds"]), number(row["peak_mb"]),
         number(row["users_per_call"])]
        for row in runs
        if "problem" not in row
    ]  # fmt: skip
    text = (
        "A filled database, an empty Kafka; from the registration of the connector and the start of the worker until "
        "everybody is confirmed."
    )
    head = ["users", "target at", "seconds", "users/s", "CPU s of the worker", "peak MB", "users a call"]
    return ["## Whole path\n", text + "\n", table(head, lines), *_failures(runs)]


SECTIONS: dict[str, Callable[[Results], list[str]]] = {
    "join": join,
    "deliver": deliver,
    "restart": restart,
    "live": live,
    "backlog": backlog,
    "cost": cost,
    "reconcile": reconcile,
    "census": census,
    "memory": memory,
    "growth": growth,
    "whole": whole,
}


def _cell(found: Spread | None) -> str:
    return "" if found is None else str(found)


def _users(runs: Sequence[Row]) -> str:
    return " and ".join(f"{users:,}" for users in sorted({row["users"] for row in runs if "users" in row}))


def _per_100k(runs: Sequence[Row]) -> Spread | None:
    users = next((row["users"] for row in runs if "users" in row), 1)
    return spread([seconds * 100_000 / users for seconds in values(runs, "cpu_seconds")])


def _failures(runs: Iterable[dict[str, Any]]) -> list[str]:
    found = [f"* run {row.get('run', 0)}: **failed**: {row['problem']}" for row in runs if "problem" in row]
    return ["", "\n".join(found)] if found else []
