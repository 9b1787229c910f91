"""Tenants: every API key, connector, receipt and entity belongs to one tenant and is invisible to all others."""

import re
from typing import NewType

Tenant = NewType("Tenant", str)

# The tenant if none is named. It also owns everything created before tenants existed.
DEFAULT = Tenant("default")
_SHAPE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def tenant(name: str) -> Tenant:
    """The tenant of this name. Raises ValueError for a name that asset keys and log lines should not have."""
    if not _SHAPE.fullmatch(name):
        raise ValueError("must be 1 to 63 of a-z, 0-9 and -, and not begin with -")
    return Tenant(name)
