"""cidaas: the address, the token and its scopes, a harmless read, and, only when asked for, a test user (pure)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streams.cidaas import REMEDY, CidaasError, Kind, OutcomeKind, Reason
from streams.doctor.checks import fault, ok, todo, unknown, warning
from streams.quantities import duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from streams.cidaas import Outcome
    from streams.doctor.checks import Check
    from streams.settings import Settings

#: The user names of test users begin with it.
TEST_USER = "cidaas-sync-doctor-"
#: the checks that say what became of it.
WRITTEN = ("cidaas_write", "cidaas_migration_mode", "cidaas_delete")


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the test user `name`: upsert, upsert with another password, delete; None is *not come to*.

    Without `first`, `removed` is what became of deleting somebody who does not exist, which is tried before.
    """

    name: str = ""
    sub: str = ""
    first: Outcome | CidaasError | None = None
    second: Outcome | CidaasError | None = None
    removed: bool | CidaasError | None = None


@dataclass(frozen=True, slots=True)
class Tenant:
    """What the tenant answered: an error of the client's tree, or None where it went well.

    `scopes` are those that the token says it has; None: it does not say. `limited` is the longest `Retry-After` seen.
    """

    missing: tuple[str, ...] = ()  # variables that are not set
    probe: CidaasError | None = None
    token: CidaasError | None = None
    scopes: tuple[str, ...] | None = None
    read: CidaasError | None = None
    limited: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    trial: Trial | None = None

    def missing_scopes(self, settings: Settings) -> list[str]:
        """The scopes that are wanted and that the token says it does not have."""
        return [scope for scope in _wanted(settings) if self.scopes is not None and scope not in self.scopes]


def _wanted(settings: Settings) -> list[str]:
    cidaas = settings.cidaas
    return list(dict.fromkeys((*cidaas.upsert_scopes, *cidaas.delete_scopes, *cidaas.read_scopes)))


def judge(settings: Settings, tenant: Tenant) -> list[Check]:
    """Judge the tenant; a check that another one's fault makes impossible is left out."""
    if tenant.missing:
        return [todo("cidaas_address", f"{', '.join(tenant.missing)} not set", "Set it in the worker's environment.")]
    if tenant.probe is not None:
        return [_failed("cidaas_address", tenant.probe)]
    checks = [ok("cidaas_address", f"{settings.cidaas.base_url} answers")]
    if tenant.token is not None:
        return [*checks, _failed("cidaas_token", tenant.token)]
    checks.append(ok("cidaas_token", "a token is given for this client"))
    checks += _scopes(settings, tenant)
    if tenant.read is None:
        checks.append(ok("cidaas_read", "a user who does not exist is said not to exist"))
    else:
        checks.append(_failed("cidaas_read", tenant.read))
    checks.append(_limits(tenant))
    checks += _trial(tenant.trial)
    if tenant.missing_scopes(settings):  # then it has been said why these are forbidden
        trial = tenant.trial or Trial()
        forbidden: dict[str, object] = {"cidaas_read": tenant.read, "cidaas_write": trial.first}
        forbidden |= {} if trial.name else {"cidaas_delete": trial.removed}
        said = {slug for slug, one in forbidden.items() if isinstance(one, CidaasError) and one.kind is Kind.FORBIDDEN}
        checks = [check for check in checks if check.slug not in said]
    return checks


def _failed(slug: str, error: CidaasError) -> Check:
    what, _, remedy = str(error).partition(". ")
    if not error.policy.person:  # the worker's remedy is to try again; a person at doctor wants to know what to look at
        remedy = "Check CIDAAS_BASE_URL, the network in between, and cidaas' own status."
    return fault(slug, what, remedy)


def _scopes(settings: Settings, tenant: Tenant) -> Iterator[Check]:
    if tenant.scopes is None:
        why = "the token does not say which scopes it has"
        yield unknown("cidaas_scopes", why, "Run `doctor --write-test`: it tries them.")
    elif missing := tenant.missing_scopes(settings):
        remedy = "Have them enabled for the app of CIDAAS_CLIENT_ID."
        yield fault("cidaas_scopes", f"the token lacks the scopes {', '.join(missing)}", remedy)
    else:
        yield ok("cidaas_scopes", f"the token has {', '.join(_wanted(settings))}")


def _limits(tenant: Tenant) -> Check:
    said = ", ".join(f"{name}: {value}" for name, value in tenant.headers.items())
    if tenant.limited is not None:
        what = f"cidaas asked to wait {duration(tenant.limited)} (429){'; ' + said if said else ''}"
        return warning("cidaas_limits", what, "Ask cidaas for the tenant's limits before the initial load.")
    return ok("cidaas_limits", said or "no limit was seen in its answers")


def _trial(trial: Trial | None) -> Iterator[Check]:
    if trial is None:
        why = "whether users and passwords can be written was not tried"
        yield unknown("cidaas_write", why, "Run `doctor --write-test`: it makes a test user and deletes it again.")
        return
    if trial.first is None:
        yield unknown("cidaas_write", "no test user was made: a fault above is in the way, or cidaas is too slow")
        if isinstance(trial.removed, CidaasError):
            yield _failed("cidaas_delete", trial.removed)
        return
    yield _written("cidaas_write", trial.first, f"the test user {trial.name} was written")
    if _done(trial.first):
        yield _overwritten(trial.second)
    if not refused(trial.first):
        yield _removed(trial)


def refused(outcome: Outcome | CidaasError | None) -> bool:
    """Say whether the test user was certainly not written; an unclear end says nothing (C4)."""
    if isinstance(outcome, CidaasError):
        return outcome.kind not in (Kind.UNCLEAR, Kind.SERVER)
    return outcome is not None and outcome.kind is OutcomeKind.FAILED


def _done(outcome: Outcome | CidaasError | None) -> bool:
    return getattr(outcome, "kind", None) is OutcomeKind.DONE


def _written(slug: str, outcome: Outcome | CidaasError | None, fine: str) -> Check:
    if outcome is None:
        return unknown(slug, "there was no time left for it")
    if isinstance(outcome, CidaasError):
        return _failed(slug, outcome)
    if outcome.kind is OutcomeKind.DONE:
        return ok(slug, fine)
    remedy = REMEDY.get(outcome.reason, REMEDY[Reason.UNKNOWN])
    return fault(slug, f"cidaas refuses the test user: {outcome.message or outcome.reason.value}", remedy)


def _overwritten(outcome: Outcome | CidaasError | None) -> Check:
    """A refusal proves that migrationMode is off; a yes does not prove that it is on (facts: cidaas-api, 2)."""
    check = _written("cidaas_migration_mode", outcome, "")
    if not _done(outcome):
        return check
    why = "cidaas took a second password; that it counts, only a log-in shows"
    remedy = "With one user of yours: change the password in the database, then log in at cidaas."
    return unknown("cidaas_migration_mode", why, remedy)


def _removed(trial: Trial) -> Check:
    if trial.removed is True:
        return ok("cidaas_delete", "the test user was deleted again")
    remedy = f"Delete the user {trial.name} ({trial.sub}) by hand."
    if trial.removed is False or trial.removed is None:
        return fault("cidaas_delete", "the delete was accepted, or not come to; the test user is still there", remedy)
    return fault("cidaas_delete", str(trial.removed), remedy)
