"""The audit trail: a line of JSON for whatever a key has changed. It holds ids, and nothing that a request said."""

import json
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

from qanatix_api.logs import AUDIT, logger
from qanatix_api.request_ids import current_request_id
from qanatix_pipelines.keys import KeyRecord

_log = logger(AUDIT)

Action = Literal[
    "connector.created",
    "connector.changed",
    "connector.deleted",
    "connector.paused",
    "connector.resumed",
    "connector.pulled",
    "pull.cancelled",
    "key.created",
    "key.rotated",
    "key.revoked",
]


def record(caller: KeyRecord, action: Action, subject: UUID | str, pull_id: UUID | None = None) -> None:
    """Say that `caller` has done this to the connector, pull or key of this id."""
    line = {
        "at": datetime.now(UTC).isoformat(),
        "action": action,
        "id": str(subject),
        "tenant": caller.tenant,
        "key_id": caller.id,
        "request_id": current_request_id(),
    }
    _log.info(json.dumps(line if pull_id is None else line | {"pull_id": str(pull_id)}))
