"""Pausing connectors and resuming them: what they do by themselves rests meanwhile."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from qanatix_api import audit
from qanatix_api.connectors import ConnectorAnswer, Writer, get_connector
from qanatix_api.failures import problem
from qanatix_api.services import Given

router = APIRouter(prefix="/connectors/{connector_id}", tags=["connectors"])

_NOT_THERE: dict[int | str, dict[str, Any]] = {404: problem("There is no such connector.")}


@router.post("/pause", summary="Pause a connector", responses=_NOT_THERE)
def pause_connector(given: Given, caller: Writer, connector_id: UUID) -> ConnectorAnswer:
    """Let its schedule and its watch rest. A pull that is running or queued goes on, and a pull that is asked for is
    still done.
    """
    given.store.connectors.change(connector_id, {"paused": True})
    audit.record(caller, "connector.paused", connector_id)
    return get_connector(given, connector_id)


@router.post("/resume", summary="Resume a connector", responses=_NOT_THERE)
def resume_connector(given: Given, caller: Writer, connector_id: UUID) -> ConnectorAnswer:
    """Follow its schedule and its watch again, from now on: what fell due meanwhile is not made up for, but a source
    that changed meanwhile is pulled.
    """
    given.store.connectors.change(connector_id, {"paused": False})
    audit.record(caller, "connector.resumed", connector_id)
    return get_connector(given, connector_id)
