"""Registers and changes connectors, for the endpoints that do."""

import json
from collections.abc import Mapping
from typing import Any

from fastapi import BackgroundTasks
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from qanatix_api import audit
from qanatix_api.checking import apart, checked
from qanatix_api.preconditions import Condition
from qanatix_api.services import Services
from qanatix_pipelines.connectors import Connector, NewConnector
from qanatix_pipelines.credentials import REDACTED
from qanatix_pipelines.errors import InvalidConnector
from qanatix_pipelines.keys import KeyRecord
from qanatix_pipelines.sources import check_config, check_query, check_watch
from qanatix_pipelines.store.answers import Sent


async def register(
    given: Services, caller: KeyRecord, later: BackgroundTasks, new: NewConnector, sent: Sent | None = None
) -> tuple[Connector, bool]:
    """A new connector and True. Or the one that a request like `sent` has just registered, and False.

    Connects to nothing. Raises InvalidConnector and KeyTaken.
    """
    identity = await checked(new)
    connector, created = await run_in_threadpool(
        given.store.connectors.add_once,
        new,
        identity.digest,
        sent,
        connection=identity.connection,
        tls=identity.tls,
    )
    if created:
        audit.record(caller, "connector.created", connector.id)
        later.add_task(given.runs.add_partition, connector)
        given.lineage.expect(connector)
    return connector, created


async def change(
    given: Services,
    caller: KeyRecord,
    later: BackgroundTasks,
    kept: Connector,
    *,
    settings: Mapping[str, Any],
    config: Any,
    condition: Condition,
) -> Connector:
    """Change these settings of a connector, and its connection_config unless that is REDACTED.

    Connects to nothing. Raises InvalidConnector, RequestValidationError, NotFound, KeyTaken and ConnectorChanged.
    """
    if config is None:
        raise InvalidConnector(("connection_config",), "must be an object; leave it out to keep it as it is")
    identity = None if config == REDACTED else check_config(kept.connector_type, config)
    told: dict[str, Any] = {}
    if identity is not None:
        told = {"identity_digest": identity.digest, "connection": identity.connection, "tls": identity.tls}
    live = await run_in_threadpool(given.store.pulls.live, kept.id)
    try:
        wanted = Connector.model_validate(kept.model_dump() | dict(settings))
        await apart(check_query, wanted.connector_type, wanted.query, wanted.cursor_column)
        await apart(check_watch, wanted.connector_type, wanted.query, wanted.watch)
        # Validated again inside: another change may have been made meanwhile, which this one contradicts.
        changed = await run_in_threadpool(
            given.store.connectors.change,
            kept.id,
            settings,
            None if identity is None else config,
            check=condition.check,
            **told,
        )
    except ValidationError as error:
        raise RequestValidationError([part | {"loc": ("body", *part["loc"])} for part in error.errors()]) from None
    audit.record(caller, "connector.changed", kept.id)
    given.lineage.expect(changed)
    if live is not None and live.run_id is not None and changed.generation != kept.generation:
        later.add_task(given.runs.terminate, live.run_id)
    return changed


def alike(given: Services, caller: KeyRecord, new: NewConnector) -> Sent:
    """By what an equal request to register a connector is recognized."""
    asked = json.dumps(new.model_dump(mode="json"), sort_keys=True).encode()
    return Sent(caller.id, given.keys.keyed(b"register", asked), given.keys.keyed(asked))
