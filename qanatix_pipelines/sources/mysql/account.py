"""What a MySQL or MariaDB account may do beyond reading: use the server's files, or administer it.

LOAD_FILE and INTO OUTFILE need FILE, and no read-only transaction stops them. SUPER is the administrator's. Both are
global. PROCESS only shows what others do, and the watermark needs it. All other rights are for statements, not queries.
"""

from collections.abc import Iterable

from qanatix_pipelines.accounts import Sight
from qanatix_pipelines.errors import AccountTooStrong

# The rights of the account and of its active roles. A query cannot take on another role: that takes a statement.
RIGHTS = "SHOW GRANTS"

_GLOBAL = "*.* TO "
_MEANINGS = {
    "ALL PRIVILEGES": "has all privileges on everything (ALL ON *.*)",
    "SUPER": "may administer the source (SUPER)",
    "FILE": "may read and write files of the source's machine (FILE)",
}


def check(grants: Iterable[str]) -> None:
    """Raise AccountTooStrong for the greatest right in the rows of `RIGHTS`."""
    found = set[str]()
    for grant in grants:
        rights, _, place = grant.removeprefix("GRANT ").partition(" ON ")
        if place.startswith(_GLOBAL):
            found.update(rights.split(", "))
    for right, meaning in _MEANINGS.items():
        if right in found:
            raise AccountTooStrong(meaning)


def sight(user: str, *, sees: bool) -> Sight:
    """`sees` is whether the account called `user` sees others' open transactions."""
    named = "'" + user.replace("\\", "\\\\").replace("'", "''") + "'"
    return Sight(
        None if sees else f"Run GRANT PROCESS ON *.* TO {named}@'%' at the source, with the account's own host."
    )
