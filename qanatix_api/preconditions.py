"""ETag and If-Match: a change is made only to the state of a connector that its caller knows (RFC 9110, section 13)."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Self

from fastapi import Depends, Header, Request, Response
from pydantic.json_schema import SkipJsonSchema

from qanatix_api.failures import problem
from qanatix_pipelines.conflicts import ConnectorChanged
from qanatix_pipelines.connectors import Connector

HEADER = "ETag"
_TAG = re.compile(r'(?:W/)?"[^"]*"|\*')

# For the OpenAPI document.
TAGGED: dict[str, Any] = {
    HEADER: {"description": "The state of its settings, for If-Match.", "schema": {"type": "string"}}
}
CHANGED = problem("The connector is not in a state that If-Match names.")


def tag(connector: Connector) -> str:
    """The same until a caller changes the connector. Pulls do not change it."""
    return f'"{connector.id.hex[:8]}-{connector.version}"'


def set_tag(response: Response, connector: Connector) -> None:
    response.headers[HEADER] = tag(connector)


@dataclass(frozen=True)
class Condition:
    """The tags of If-Match; None if there is no such header. `*` is any state of a connector that exists."""

    tags: frozenset[str] | None

    @classmethod
    def of(cls, connector: Connector) -> Self:
        """That the connector is as it is here."""
        return cls(frozenset({tag(connector)}))

    def check(self, connector: Connector) -> None:
        """Raise ConnectorChanged unless it is in one of these states."""
        if self.tags is not None and not self.tags & {"*", tag(connector)}:
            raise ConnectorChanged

    def check_absent(self) -> None:
        """Raise ConnectorChanged if a connector must exist."""
        if self.tags is not None:
            raise ConnectorChanged


async def read_condition(
    request: Request,
    _if_match: Annotated[
        str | SkipJsonSchema[None],  # generators take no list in a header; each of several headers is read all the same
        Header(
            alias="If-Match",
            description="ETags. With another state of the connector the answer is 412. `*` is any state.",
        ),
    ] = None,
) -> Condition:
    """The condition of a request. A weak tag never matches."""
    given = request.headers.getlist("If-Match")
    return Condition(frozenset(_TAG.findall(", ".join(given))) if given else None)


IfMatch = Annotated[Condition, Depends(read_condition)]
