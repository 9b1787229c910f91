"""What callers are shown of a connector."""

from datetime import datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from qanatix_api.codes import Code
from qanatix_api.receipts import PullFailure
from qanatix_pipelines.connectors import Connector, Watch
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.receipts import PullStatus
from qanatix_pipelines.reports import Advice
from qanatix_pipelines.schedules import Schedule
from qanatix_pipelines.store.connector_lists import LastPull
from qanatix_pipelines.tls import Tls


class WatchError(BaseModel):
    """Why the last check of the source failed."""

    code: Code
    detail: str


class ConnectorAnswer(BaseModel):
    """A connector. Of its connection_config, only what `connection` has is ever shown."""

    id: UUID
    name: str
    key: str | None = Field(description="The caller's own name for it, unique.")
    connector_type: str
    vertical: str
    entity_type: str
    collection: str = Field(description="The same as `vertical`.")
    record_type: str = Field(description="The same as `entity_type`.")
    connection_config: str = Field(REDACTED, examples=[REDACTED])
    connection: dict[str, str | int] | None = Field(
        description=(
            "What of the connection_config is no secret: the server and the user. Null if an older release stored the "
            "connection_config."
        ),
        examples=[{"host": "db.internal", "port": 5432, "database": "shop", "user": "reader"}],
    )
    tls: Tls | None = Field(
        description=(
            "How TLS protects pulls, at the least: the connection_config demands it, and no server can weaken it. "
            "`verified`: encrypted, and the certificate is checked to be this host's. `encrypted`: encrypted, but the "
            "certificate or its host name is not checked. `none`: encryption is not demanded. Null if an older release "
            "stored the connection_config."
        )
    )
    query: str
    name_column: str | None
    id_column: str | None
    batch_size: int
    cursor_column: str | None
    overlap: int | None
    schedule: Schedule | None
    next_due_at: datetime | None = Field(
        description="When the schedule asks for the next pull. Null without a schedule, and while paused."
    )
    watch: Watch | None
    watched_at: datetime | None = Field(description="When the source last answered a check of the watch.")
    watch_failures: int = Field(description="How many checks of the watch have failed since.")
    watch_error: WatchError | None
    paused: bool = Field(description="Whether its schedule and its watch are suspended.")
    effective_key_column: str | None = Field(
        description=(
            "The column that has the rows' keys: the one that `id_column` names, else the one that the last completed "
            "pull found. Null if it found none, or if no pull has completed since the query changed."
        )
    )
    effective_name_column: str | None = Field(description="The same for the entities' names and `name_column`.")
    last_pull_at: datetime | None = Field(description="When the last pull ended, or began if it has not ended yet.")
    last_pull_status: PullStatus | None
    last_pull_id: UUID | None
    last_pull_error: PullFailure | None = Field(
        description="Why the last pull failed or was given up, at `last_pull_at`. Null if it completed or is live."
    )
    created_at: datetime

    @classmethod
    def of(cls, connector: Connector, last: LastPull | None) -> Self:
        """The answer for a connector. `last` is None if it has never been pulled."""
        return cls(
            **connector.model_dump(include=set(cls.model_fields)),
            collection=connector.vertical,
            record_type=connector.entity_type,
            watch_error=(
                None
                if connector.watch_error_code is None
                else WatchError(code=connector.watch_error_code, detail=connector.watch_error_detail or "")
            ),
            effective_key_column=(None if last is None else last.roles.key) or connector.id_column,
            effective_name_column=(None if last is None else last.roles.name) or connector.name_column,
            last_pull_at=None if last is None else last.at,
            last_pull_status=None if last is None else last.status,
            last_pull_id=None if last is None else last.id,
            last_pull_error=None if last is None else PullFailure.of(last),
        )


class ConnectorKept(ConnectorAnswer):
    """A connector that was created or changed just now."""

    warnings: list[Advice] = Field(description="What of its settings is probably not intended, or could be cheaper.")
