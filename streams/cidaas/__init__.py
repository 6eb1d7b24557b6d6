"""cidaas over HTTP: what to call, what the answers prove, what to do when a call fails. Knows nothing of Kafka."""

from streams.cidaas.answers import ANONYMOUS, Outcome, OutcomeKind, UnreadableAnswer, read_bulk
from streams.cidaas.client import Cidaas, DeleteOutcome
from streams.cidaas.errors import (
    POLICY,
    CidaasError,
    ContentRefused,
    Halve,
    Kind,
    Misconfigured,
    Policy,
    Trouble,
    Wait,
    kind_of,
)
from streams.cidaas.redaction import redact
from streams.cidaas.refusals import CURE, REMEDY, Cure, Reason, classify

__all__ = [
    "ANONYMOUS",
    "CURE",
    "POLICY",
    "REMEDY",
    "Cidaas",
    "CidaasError",
    "ContentRefused",
    "Cure",
    "DeleteOutcome",
    "Halve",
    "Kind",
    "Misconfigured",
    "Outcome",
    "OutcomeKind",
    "Policy",
    "Reason",
    "Trouble",
    "UnreadableAnswer",
    "Wait",
    "classify",
    "kind_of",
    "read_bulk",
    "redact",
]
