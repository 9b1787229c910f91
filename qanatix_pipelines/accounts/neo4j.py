"""Neo4j: its administrators. The Community Edition has no roles, and each user may do everything: none is refused."""

from collections.abc import Sequence

from qanatix_pipelines.errors import AccountTooStrong

RIGHTS = "SHOW CURRENT USER YIELD roles RETURN roles"
# What a release answers that does not know the question.
NOT_TOLD = "Neo.ClientError.Statement."
_ADMINISTRATOR = "admin"


def check(roles: Sequence[str] | None) -> None:
    """Raise AccountTooStrong for an administrator. `roles` are what `RIGHTS` returns: null where there are none."""
    if roles is not None and _ADMINISTRATOR in roles:
        raise AccountTooStrong("is an administrator (the role admin)")
