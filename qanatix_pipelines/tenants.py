"""Tenants: every key, connector, receipt and entity is one tenant's, and nobody else comes to know of it."""

import re
from typing import NewType

Tenant = NewType("Tenant", str)

# Whose everything is until somebody says otherwise.
DEFAULT = Tenant("default")
_SHAPE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def tenant(name: str) -> Tenant:
    """The tenant of this name. Raises ValueError: it stands in asset keys and log lines."""
    if not _SHAPE.fullmatch(name):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    return Tenant(name)
