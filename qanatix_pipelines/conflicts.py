"""Errors of a request that contradicts an earlier request, or a connector as it is now."""

from typing import ClassVar
from uuid import UUID

from qanatix_pipelines.errors import QanatixError


class Conflict(QanatixError):
    """The root of these errors. Nothing was changed."""

    code: ClassVar[str]


class RepeatDiffers(Conflict):
    """An Idempotency-Key was sent before, with another request."""

    code = "idempotency_key_reused"
    sentence = "This Idempotency-Key was sent with another request within 24 hours. Send this one with a new key."


class RepeatInProgress(Conflict):
    """The first request with this Idempotency-Key has no answer yet."""

    code = "idempotency_in_progress"
    sentence = "The first request with this Idempotency-Key is still in progress. Send it again later."


class AnswerLost(Conflict):
    """No encryption key decrypts the answer that was kept."""

    code = "idempotency_answer_lost"
    sentence = (
        "The first request with this Idempotency-Key was answered, but its answer cannot be decrypted any more. See "
        "whether it did what it should, and send what is left with a new key."
    )


class KeyTaken(Conflict):
    """Another connector of the tenant has this key."""

    code = "key_taken"
    sentence = "Another connector has this key. Choose another one, or replace that connector by PUT."


class ConnectorChanged(Conflict):
    """The connector is not in a state that the request names."""

    code = "connector_changed"
    sentence = (
        "The connector is not as If-Match says. Read it again, and send the change with the ETag that it has now."
    )


class DryRunInProgress(Conflict):
    """The connector has a dry run that is not answered yet. `dry_run_id` says which."""

    code = "dry_run_in_progress"

    def __init__(self, connector_id: UUID, dry_run_id: UUID) -> None:
        self.dry_run_id = dry_run_id
        super().__init__(
            f"A dry run of this connector goes on. GET /connectors/{connector_id}/dry-runs/{dry_run_id} for its "
            "answer, or DELETE it, and ask again."
        )
