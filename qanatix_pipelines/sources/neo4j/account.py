"""Neo4j's administrators are refused. In the Community Edition, which has no roles, nobody is: each may do all."""

from collections.abc import Sequence

from qanatix_pipelines.errors import AccountTooStrong

RIGHTS = "SHOW CURRENT USER YIELD roles RETURN roles"
# How the code begins that a release answers if it does not know the question.
NOT_TOLD = "Neo.ClientError.Statement."
_ADMINISTRATOR = "admin"


def check(roles: Sequence[str] | None) -> None:
    """Raise AccountTooStrong for an administrator. `roles` are what `RIGHTS` returns: None if there are no roles."""
    if roles is not None and _ADMINISTRATOR in roles:
        raise AccountTooStrong("is an administrator (the role admin)")
