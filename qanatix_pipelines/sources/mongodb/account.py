"""MongoDB's accounts that have too many rights: those that write everywhere, make users, or administer the server.

A filter may run JavaScript without any right, if the server has it on. The list of operators stops that.
"""

from collections.abc import Mapping
from typing import Any

from qanatix_pipelines.errors import AccountTooStrong

RIGHTS = {"connectionStatus": 1, "showPrivileges": True}
# The codes of CommandNotFound and CommandNotSupported: not every server that speaks the protocol can answer.
NOT_TOLD = (59, 115)

_WRITES = {
    "insert",
    "update",
    "remove",
    "dropCollection",
    "dropDatabase",
    "createCollection",
    "bypassDocumentValidation",
}
_MAKES_USERS = {"createUser", "createRole", "grantRole", "changePassword"}
_ADMINISTERS = {
    "addShard",
    "applyOps",
    "hostManager",
    "impersonate",
    "internal",
    "replSetConfigure",
    "setParameter",
    "shutdown",
}


def check(answer: Mapping[str, Any]) -> None:
    """Raise AccountTooStrong if the answer to `RIGHTS` names such rights. Root, dbOwner and userAdmin have them."""
    privileges = answer.get("authInfo", {}).get("authenticatedUserPrivileges", [])
    found = [(privilege["resource"], set(privilege["actions"])) for privilege in privileges]
    if any("anyAction" in actions for _, actions in found):
        raise AccountTooStrong("may do everything (anyAction)")
    if any(actions & _ADMINISTERS for _, actions in found):
        raise AccountTooStrong("may administer the source")
    if any(actions & _MAKES_USERS for _, actions in found):
        raise AccountTooStrong("may make users or give them roles, and so have any right")
    if any(actions & _WRITES and _everywhere(resource) for resource, actions in found):
        raise AccountTooStrong("may write in every database")


def _everywhere(resource: Mapping[str, Any]) -> bool:
    return bool(resource.get("anyResource")) or resource.get("db") == ""
