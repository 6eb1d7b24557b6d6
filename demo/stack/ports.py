"""Chooses free ports, and remembers them for each stack.

Ports lie below the range from which the system takes ports of outgoing connections, so that nobody else gets the port
of a service while it is down. A register in the cache folder keeps two stacks that start together apart.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

from demo.stack.errors import StackError
from demo.stack.places import cache_root, locked

USUAL = {
    "POSTGRES_PORT": 15432,
    "KAFKA_PORT": 9092,
    "KAFKA_CONTROLLER_PORT": 9093,
    "CONNECT_PORT": 8083,
    "CIDAAS_PORT": 8070,
    "WEB_PORT": 6066,
}
TRIES = 2000


def is_free(port: int) -> bool:
    """Tell whether a service could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose(run_dir: Path) -> dict[str, int]:
    """Return a free port for each service of a new stack and register it for `run_dir`."""
    register = cache_root() / "ports.json"
    with locked(cache_root() / "ports.lock"):
        taken = _still_there(register)
        chosen: dict[str, int] = {}
        for name, usual in USUAL.items():
            for port in range(usual, usual + TRIES):
                if str(port) not in taken and port not in chosen.values() and is_free(port):
                    chosen[name] = port
                    break
            else:
                raise StackError(f"no free port found for {name} from {usual} on; stop what listens there")
        taken |= {str(port): str(run_dir) for port in chosen.values()}
        register.write_text(json.dumps(taken, indent=1))
    return chosen


def release(run_dir: Path) -> None:
    """Forget the ports of a stack whose state was removed."""
    register = cache_root() / "ports.json"
    with locked(cache_root() / "ports.lock"):
        taken = {port: owner for port, owner in _still_there(register).items() if owner != str(run_dir)}
        register.write_text(json.dumps(taken, indent=1))


def _still_there(register: Path) -> dict[str, str]:
    try:
        taken = json.loads(register.read_text())
    except (OSError, ValueError):
        return {}
    return {port: owner for port, owner in taken.items() if Path(owner).is_dir()}
