"""The audit trail: one line of JSON for each change that a key made. It has ids, and no content of requests."""

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
    "connector.dry_run",
    "connector.tested",
    "connector.watermark_set",
    "pull.cancelled",
    "key.created",
    "key.rotated",
    "key.revoked",
]


def record(caller: KeyRecord, action: Action, subject: UUID | str, pull_id: UUID | None = None) -> None:
    """Log that `caller` did this to the connector, pull or key with the id `subject`."""
    line = {
        "at": datetime.now(UTC).isoformat(),
        "action": action,
        "id": str(subject),
        "tenant": caller.tenant,
        "key_id": caller.id,
        "request_id": current_request_id(),
    }
    _log.info(json.dumps(line if pull_id is None else line | {"pull_id": str(pull_id)}))
