"""Failures of a whole call to cidaas: one tree, and one table that says what to do.

    CidaasError
    ├── ContentRefused      what was sent is refused: halve until the guilty user stands alone
    │       BAD_REQUEST  TOO_LARGE  REFUSED
    ├── Trouble             cidaas or the way to it: the same users again, later
    │       SERVER  UNAVAILABLE  UNCLEAR  RATE_LIMITED
    └── Misconfigured       only a person cures it: say so, try once a minute
            UNAUTHORIZED  FORBIDDEN  NOT_FOUND_ENDPOINT  CREDENTIALS

What cidaas says of a single user inside a 200 is no failure of the call: see `answers`. Messages say what happened
and what to do now; they carry no payload, no token and no secret.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Kind(enum.Enum):
    """What went wrong with a whole call."""

    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    SERVER = "server"
    UNAVAILABLE = "unavailable"  # nothing was sent, or nothing that changes anything
    UNCLEAR = "unclear"  # it may have been applied, or be still on its way
    RATE_LIMITED = "rate_limited"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND_ENDPOINT = "not_found_endpoint"
    CREDENTIALS = "credentials"


class Halve(enum.Enum):
    """Whether the users of the call are sent again in two halves (C6)."""

    NEVER = "never"
    AT_ONCE = "at_once"
    SECOND_TIME = "second_time"  # when the same window fails twice while others succeed


class Wait(enum.Enum):
    """How long to wait before the users of the call are sent again."""

    NONE = "none"
    BACKOFF = "backoff"
    RETRY_AFTER = "retry_after"  # `retry_after` where it is given, else backoff
    MINUTE = "minute"


@dataclass(frozen=True, slots=True)
class Policy:
    """What to do after one kind of failure.

    `settle`: nothing goes out for these users for the call's time-out + 5 s (C4). `away`: counts for the breaker.
    """

    halve: Halve
    settle: bool
    wait: Wait
    person: bool
    away: bool
    remedy: str


_NEVER, _AT_ONCE, _SECOND = Halve.NEVER, Halve.AT_ONCE, Halve.SECOND_TIME

#: kind × what to do. Where `Retry-After` came with another kind it is a lower bound of the wait.
POLICY: dict[Kind, Policy] = {
    #                     halve      settle wait              person away
    Kind.BAD_REQUEST: Policy(
        _AT_ONCE, False, Wait.NONE, False, False, "The users go again in halves, until the guilty one stands alone."
    ),
    Kind.TOO_LARGE: Policy(
        _AT_ONCE, False, Wait.NONE, False, False, "The users go again in halves; lower delivery.window if it repeats."
    ),
    Kind.REFUSED: Policy(
        _AT_ONCE, False, Wait.NONE, False, False, "The users go again in halves, until the guilty one stands alone."
    ),
    Kind.SERVER: Policy(
        _SECOND, True, Wait.BACKOFF, False, False, "The call is repeated; tell cidaas support if it does not pass."
    ),
    Kind.UNAVAILABLE: Policy(
        _NEVER, False, Wait.BACKOFF, False, True, "It is tried again; check the network and cidaas' status if it lasts."
    ),
    Kind.UNCLEAR: Policy(
        _NEVER, True, Wait.BACKOFF, False, True, "It may have been applied: the users rest, then they are sent again."
    ),
    Kind.RATE_LIMITED: Policy(
        _NEVER, False, Wait.RETRY_AFTER, False, False, "It slows down by itself; ask cidaas for the tenant's limits."
    ),
    Kind.UNAUTHORIZED: Policy(
        _NEVER, False, Wait.MINUTE, True, False,
        "A renewed token is refused too: check that CIDAAS_BASE_URL and CIDAAS_CLIENT_ID belong to the same tenant.",
    ),
    Kind.FORBIDDEN: Policy(
        _NEVER, False, Wait.MINUTE, True, False,
        "Have the scopes of cidaas.upsert_scopes, delete_scopes and read_scopes enabled for the client of "
        "CIDAAS_CLIENT_ID.",
    ),
    Kind.NOT_FOUND_ENDPOINT: Policy(
        _NEVER, False, Wait.MINUTE, True, False,
        "Check CIDAAS_BASE_URL (the tenant's final address, without a path) and cidaas.delete.",
    ),
    Kind.CREDENTIALS: Policy(
        _NEVER, False, Wait.MINUTE, True, False,
        "Check CIDAAS_CLIENT_ID and CIDAAS_CLIENT_SECRET, that the app is NON_INTERACTIVE with the grant type "
        "client_credentials, and that it may have the scopes of cidaas.upsert_scopes, delete_scopes and read_scopes.",
    ),
}  # fmt: skip


class CidaasError(Exception):
    """A call failed as a whole; `kind` says how, `policy` what to do.

    `status` is the HTTP status (None: there was no answer), `code` cidaas' own error code, `retry_after` seconds.
    """

    def __init__(
        self,
        kind: Kind,
        what: str,
        *,
        status: int | None = None,
        code: str = "",
        retry_after: float | None = None,
        remedy: str = "",
    ) -> None:
        self.kind = kind
        self.status = status
        self.code = code
        self.retry_after = retry_after
        super().__init__(f"{what.rstrip('.')}. {remedy or POLICY[kind].remedy}")

    @property
    def policy(self) -> Policy:
        """The row of the table for this kind."""
        return POLICY[self.kind]


class ContentRefused(CidaasError):  # noqa: N818  read with the tree
    """You see it when cidaas refuses what was sent."""


class Trouble(CidaasError):  # noqa: N818  read with the tree
    """You see it when cidaas, or the way to it, is in trouble; time cures it."""


class Misconfigured(CidaasError):  # noqa: N818  read with the tree
    """You see it when a person has to change the configuration, here or at cidaas."""


def failure(
    kind: Kind,
    what: str,
    *,
    status: int | None = None,
    code: str = "",
    retry_after: float | None = None,
    remedy: str = "",
) -> CidaasError:
    """Make the error of the tree for this kind."""
    policy = POLICY[kind]
    branch = Misconfigured if policy.person else ContentRefused if policy.halve is Halve.AT_ONCE else Trouble
    return branch(kind, what, status=status, code=code, retry_after=retry_after, remedy=remedy)


#: HTTP status × kind. 502, 503 and 504 are unclear: a gateway says them too when it lost the connection *after* it had
#: passed the request on (C4). 507 is cidaas' "invalid email passed", if it is an HTTP status at all.
STATUS: dict[int, Kind] = {
    400: Kind.BAD_REQUEST,
    401: Kind.UNAUTHORIZED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND_ENDPOINT,
    405: Kind.NOT_FOUND_ENDPOINT,
    406: Kind.BAD_REQUEST,
    408: Kind.UNCLEAR,
    409: Kind.BAD_REQUEST,
    410: Kind.NOT_FOUND_ENDPOINT,
    413: Kind.TOO_LARGE,
    415: Kind.BAD_REQUEST,
    417: Kind.REFUSED,
    422: Kind.BAD_REQUEST,
    425: Kind.RATE_LIMITED,
    429: Kind.RATE_LIMITED,
    500: Kind.SERVER,
    501: Kind.NOT_FOUND_ENDPOINT,
    502: Kind.UNCLEAR,
    503: Kind.UNCLEAR,
    504: Kind.UNCLEAR,
    507: Kind.REFUSED,
}


def kind_of(status: int) -> Kind:
    """Say what kind of failure an HTTP status is; an unknown 4xx is left to a person rather than blamed on a user."""
    if status in STATUS:
        return STATUS[status]
    if 300 <= status < 400:
        return Kind.NOT_FOUND_ENDPOINT  # redirects are not followed: a token would go to another address
    if 400 <= status < 500:
        return Kind.FORBIDDEN
    if 520 <= status < 600:
        return Kind.UNCLEAR  # 520 and above are made by gateways
    return Kind.SERVER if status >= 500 else Kind.UNCLEAR
