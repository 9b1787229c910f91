"""Endpoints that pause and resume the schedule and the watch of a connector."""

from typing import Any
from uuid import UUID

from fastapi import APIRouter, Response

from qanatix_api import audit
from qanatix_api.connector_answers import ConnectorAnswer
from qanatix_api.connectors import Writer, shown
from qanatix_api.failures import problem
from qanatix_api.preconditions import TAGGED
from qanatix_api.repeats import REPEATABLE
from qanatix_api.services import Given

router = APIRouter(prefix="/connectors/{connector_id}", tags=["connectors"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"headers": TAGGED},
    404: problem("There is no such connector."),
}


@router.post("/pause", summary="Pause a connector", dependencies=REPEATABLE, responses=_ANSWERS)
def pause_connector(given: Given, caller: Writer, connector_id: UUID, response: Response) -> ConnectorAnswer:
    """Suspend its schedule and its watch. A pull that is running or queued continues, and a pull that is asked for is
    still done.
    """
    changed = given.store.connectors.change(connector_id, {"paused": True})
    audit.record(caller, "connector.paused", connector_id)
    return shown(given, response, changed)


@router.post("/resume", summary="Resume a connector", dependencies=REPEATABLE, responses=_ANSWERS)
def resume_connector(given: Given, caller: Writer, connector_id: UUID, response: Response) -> ConnectorAnswer:
    """Resume its schedule and its watch from now on. Scheduled pulls that were missed are not made up for; a watched
    source that changed meanwhile is pulled.
    """
    changed = given.store.connectors.change(connector_id, {"paused": False})
    audit.record(caller, "connector.resumed", connector_id)
    return shown(given, response, changed)
